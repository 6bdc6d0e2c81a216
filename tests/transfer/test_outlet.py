"""How bytes get into a connection: by whom they are copied, who waits for the disk, and in whose memory."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import ssl
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from orchestrator.domain.assets import Asset, Segment
from orchestrator.domain.errors import ETagMismatchError
from orchestrator.network.http_session import open_http_session
from orchestrator.network.tls import TransferLoop
from orchestrator.transfer.payload import TransportOutlet
from orchestrator.transfer.reader import Span
from orchestrator.transfer.sender import SegmentSender
from tests.transfer.conftest import Body, Failure, MakeAsset, MakeSender, content_of, ignore
from tests.transfer.store import Store, serving, store_it

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


@pytest.mark.parametrize("body", [Body.SENDFILE, Body.HASHED, Body.LONE_HASHED_SENDFILE])
async def test_the_kernel_copies_into_plain_connections(
    make_asset: MakeAsset, make_sender: MakeSender, threads_of_calls: dict[str, set[str]]
) -> None:
    """What it has in memory goes to the socket without passing through this process."""
    asset = make_asset(LENGTH)

    async with serving(store_it) as store:
        await make_sender().put(asset, Segment(1, 0, LENGTH), store.url(), ignore)

    assert threads_of_calls["sendfile"] == {"MainThread"}
    assert bytes(store.requests[0].body) == content_of(asset)


@pytest.fixture
async def link(
    encryption: str,
    make_sender: MakeSender,
    monkeypatch: pytest.MonkeyPatch,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
) -> AsyncIterator[tuple[Store, SegmentSender]]:
    """A store, and a sender that encrypts as *encryption* says: not at all, itself, or as through a proxy."""
    if encryption == "asyncio's":
        monkeypatch.setattr(TransferLoop, "create_connection", asyncio.SelectorEventLoop.create_connection)
    tls = None if encryption == "none" else server_tls
    async with serving(store_it, tls) as store, open_http_session(ssl_context=client_tls) as session:
        yield store, make_sender(session=session)


@pytest.fixture
def spoiled_asset(make_asset: MakeAsset, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asset]:
    """A file of LENGTH bytes which are written over once a thread has read them, without a trace in its times."""
    asset = make_asset(LENGTH)
    writer = os.open(asset.path, os.O_WRONLY)
    really_read = os.preadv

    def read(descriptor: int, buffers: list[memoryview], offset: int, flags: int = 0) -> int:
        count = really_read(descriptor, buffers, offset, flags)
        if not flags:
            os.pwrite(writer, bytes(count), offset)
            os.utime(writer, ns=(asset.fingerprint.mtime_ns, asset.fingerprint.mtime_ns))
        return count

    monkeypatch.setattr(os, "preadv", read)
    yield asset
    os.close(writer)


@pytest.mark.parametrize("body", [body for body in Body if body.is_hashed], ids=str)
async def test_what_is_sent_and_is_not_what_was_hashed_counts_as_damaged(
    spoiled_asset: Asset, make_sender: MakeSender, failure: Failure
) -> None:
    """Bytes are read once to be hashed and once to be sent; the store's ETag tells that they differ."""
    content = content_of(spoiled_asset)

    async with serving(store_it) as store:
        error = await failure(make_sender().put(spoiled_asset, Segment(1, 0, LENGTH), store.url(), ignore))

    assert isinstance(error, ETagMismatchError)
    assert hashlib.md5(content).hexdigest() in error.message
    assert bytes(store.requests[0].body) == bytes(LENGTH)


async def test_small_segments_go_in_one_packet_with_their_headers(
    make_asset: MakeAsset, make_sender: MakeSender, threads_of_calls: dict[str, set[str]]
) -> None:
    """Below the size at which it pays, the kernel is not asked."""
    asset = make_asset(1000)

    async with serving(store_it) as store:
        await make_sender().put(asset, Segment(1, 0, 1000), store.url(), ignore)

    assert threads_of_calls["sendfile"] == set()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere packets go as they come")
@pytest.mark.parametrize("body", [Body.COPY, Body.HASHED_COPY], ids=str)
@pytest.mark.parametrize("encryption", ["none", "ours", "asyncio's"])
async def test_tls_records_leave_in_full_packets(
    make_asset: MakeAsset,
    link: tuple[Store, SegmentSender],
    monkeypatch: pytest.MonkeyPatch,
    encryption: str,
) -> None:
    """Until the last one, which waits for nothing more."""
    asset, (store, sender) = make_asset(LENGTH), link
    seen: list[int] = []

    class WatchedOutlet(TransportOutlet):
        def __init__(self, reader: Any, writer: Any, transport: Any, on_taken: Any) -> None:
            super().__init__(reader, writer, transport, on_taken)
            self.socket = transport.get_extra_info("socket")

        async def send(self, span: Span) -> None:
            await super().send(span)
            self.note()

        def close(self) -> None:
            super().close()
            self.note()

        def note(self) -> None:
            seen.append(self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_CORK))

    monkeypatch.setattr("orchestrator.transfer.payload.TransportOutlet", WatchedOutlet)
    await sender.put(asset, Segment(1, 0, LENGTH), store.url(host="localhost"), ignore)

    *during, after = seen
    assert set(during) == {0 if encryption == "none" else 1}
    assert after == 0


@pytest.mark.parametrize("encryption", ["ours"])
async def test_encrypted_connections_are_written_to(
    make_asset: MakeAsset, link: tuple[Store, SegmentSender], threads_of_calls: dict[str, set[str]]
) -> None:
    """What has to be encrypted passes through this process."""
    asset, (store, sender) = make_asset(LENGTH), link

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
        sender = make_sender()
        await sender.put(asset, Segment(1, 0, LENGTH), store.url(), ignore)

    assert threads_of_calls["sendfile"] == {"MainThread"}
    assert threads_of_calls["posix_fadvise"]
    assert "MainThread" not in threads_of_calls["posix_fadvise"]


@pytest.mark.parametrize("body", [Body.COPY, Body.HASHED_COPY], ids=str)
@pytest.mark.parametrize("encryption", ["none", "ours", "asyncio's"])
async def test_no_piece_is_read_while_the_transport_holds_another(
    make_asset: MakeAsset, link: tuple[Store, SegmentSender], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transport may keep what it is given until it is sent, and readers use their memory again."""
    asset, (store, sender) = make_asset(4 * LENGTH), link
    held: list[int] = []

    class WatchedOutlet(TransportOutlet):
        def __init__(self, reader: Any, writer: Any, transport: Any, on_taken: Any) -> None:
            super().__init__(reader, writer, transport, on_taken)
            really_view = reader.view

            async def view(piece: Span) -> memoryview:
                held.append(transport.get_write_buffer_size())
                found: memoryview = await really_view(piece)
                return found

            monkeypatch.setattr(reader, "view", view)

    monkeypatch.setattr("orchestrator.transfer.payload.TransportOutlet", WatchedOutlet)
    await sender.put(asset, Segment(1, 0, asset.size), store.url(host="localhost"), ignore)

    assert set(held) == {0}
    assert bytes(store.requests[0].body) == content_of(asset)
