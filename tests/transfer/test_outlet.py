"""How bytes get into a connection: by whom they are copied, who waits for the disk, and in whose memory."""

from __future__ import annotations

import os
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from orchestrator.domain.segments import Segment
from orchestrator.transfer.buffers import Buffers
from orchestrator.transfer.outlet import PIECE_BYTES, CopyingOutlet
from orchestrator.transfer.reader import SegmentReader
from orchestrator.transfer.session import open_session
from tests.transfer.conftest import Body, MakeAsset, MakeSender, content_of, ignore
from tests.transfer.store import serving, store_it

LENGTH = 5 * 1024 * 1024 + 3


@pytest.fixture
def threads_of_calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """The names of the threads in which sendfile and posix_fadvise were called, by the function."""
    called: dict[str, set[str]] = {"sendfile": set(), "posix_fadvise": set()}
    for name, threads in called.items():
        really_call = getattr(os, name)

        def call(*arguments: Any, _call: Any = really_call, _threads: set[str] = threads) -> Any:
            _threads.add(threading.current_thread().name)
            return _call(*arguments)

        monkeypatch.setattr(os, name, call)
    return called


@pytest.mark.parametrize("is_verifying", [True, False])
async def test_the_kernel_copies_into_plain_connections(
    make_asset: MakeAsset,
    make_sender: MakeSender,
    threads_of_calls: dict[str, set[str]],
    is_verifying: bool,
) -> None:
    """With and without a digest the bytes go from the system's memory to the socket."""
    asset = make_asset(LENGTH)

    async with serving(store_it) as store:
        await make_sender(is_verifying=is_verifying).put(asset, Segment(1, 0, LENGTH), store.url(), ignore)

    assert threads_of_calls["sendfile"] == {"MainThread"}
    assert bytes(store.requests[0].body) == content_of(asset)


async def test_small_segments_go_in_one_packet_with_their_headers(
    make_asset: MakeAsset, make_sender: MakeSender, threads_of_calls: dict[str, set[str]]
) -> None:
    """Below the size at which it pays, the kernel is not asked."""
    asset = make_asset(1000)

    async with serving(store_it) as store:
        await make_sender().put(asset, Segment(1, 0, 1000), store.url(), ignore)

    assert threads_of_calls["sendfile"] == set()


async def test_encrypted_connections_are_written_to(
    make_asset: MakeAsset,
    make_sender: MakeSender,
    threads_of_calls: dict[str, set[str]],
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
) -> None:
    """What has to be encrypted passes through this process."""
    asset = make_asset(LENGTH)

    async with serving(store_it, server_tls) as store, open_session(ssl_context=client_tls) as session:
        sender = make_sender(session=session)
        receipt = await sender.put(asset, Segment(1, 0, LENGTH), store.url(host="localhost"), ignore)

    assert threads_of_calls["sendfile"] == set()
    assert receipt.is_verified


@pytest.mark.parametrize("body", [Body.COLD_SENDFILE])
async def test_a_thread_waits_for_a_cold_disk(
    make_asset: MakeAsset, make_sender: MakeSender, threads_of_calls: dict[str, set[str]]
) -> None:
    """What is not in memory is brought there by a reader thread before the kernel is told to send it."""
    asset = make_asset(LENGTH)

    async with serving(store_it) as store:
        sender = make_sender(is_verifying=False)
        await sender.put(asset, Segment(1, 0, LENGTH), store.url(), ignore)

    assert threads_of_calls["sendfile"] == {"MainThread"}
    assert threads_of_calls["posix_fadvise"]
    assert "MainThread" not in threads_of_calls["posix_fadvise"]


class KeepingConnection:
    """Writer and transport in one that, as newer Pythons do, keeps what it is given instead of copying it."""

    def __init__(self, *, is_stuck: bool) -> None:
        self.pieces: list[memoryview] = []
        self._is_stuck = is_stuck

    async def write(self, piece: memoryview, *, drain: bool) -> None:
        """Keep *piece*, or what it holds now when it could be sent."""
        assert not drain
        self.pieces.append(piece if self._is_stuck else memoryview(bytes(piece)))

    async def drain(self) -> None:
        """Make nobody wait."""

    def get_write_buffer_size(self) -> int:
        """How many bytes are still to be sent."""
        return sum(map(len, self.pieces)) if self._is_stuck else 0


@pytest.mark.parametrize(("is_stuck", "buffers_made"), [(True, 20), (False, 1)])
async def test_a_buffer_that_the_transport_keeps_is_not_used_again(
    make_asset: MakeAsset, readers: ThreadPoolExecutor, is_stuck: bool, buffers_made: int
) -> None:
    """What waits to be sent stays as it was read; else one buffer is enough."""
    asset = make_asset(20 * PIECE_BYTES)
    connection: Any = KeepingConnection(is_stuck=is_stuck)
    reader = SegmentReader(asset, Segment(1, 0, asset.size), readers, hash_pool=None)
    addresses: set[int] = set()

    class CountedBuffers(Buffers):
        def take(self) -> memoryview:
            buffer = super().take()
            addresses.add(id(buffer.obj))
            return buffer

    outlet = CopyingOutlet(reader, connection, connection, CountedBuffers(PIECE_BYTES), ignore)
    while span := await reader.next_span():
        await outlet.send(span)
    reader.close()

    assert b"".join(connection.pieces) == content_of(asset)
    assert len(addresses) == buffers_made
