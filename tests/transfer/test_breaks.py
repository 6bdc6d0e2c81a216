"""Stores and networks that misbehave: each ends within a bounded time in the error that says what to do."""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import anyio
import pytest

from orchestrator.domain.assets import Segment
from orchestrator.domain.errors import (
    InterruptedTransferError,
)
from orchestrator.network.http_session import open_http_session
from tests.transfer.conftest import EVERY_BODY, Body, Failure, MakeAsset, MakeSender, ignore
from tests.transfer.store import Conduct, Connection, serving

#: More than all buffers between a client and a store that does not read.
LARGE = 24 * 1024 * 1024
SMALL = 1000


def segment_of(length: int) -> Segment:
    """The one segment of a file."""
    return Segment(1, 0, length)


async def never_read(connection: Connection) -> None:
    """Accept, and read nothing."""
    await anyio.sleep_forever()


async def never_answer(connection: Connection) -> None:
    """Take everything, answer nothing."""
    await connection.request()
    await anyio.sleep_forever()


async def hang_up(connection: Connection) -> None:
    """Take everything and close without an answer."""
    await connection.request()


async def reset_early(connection: Connection) -> None:
    """Reset the connection under the body, and under a probe."""
    request = await connection.head()
    if not request.is_probe:
        await connection.take(request, 65536)
    connection.reset()


async def reset_late(connection: Connection) -> None:
    """Take everything, then reset."""
    await connection.request()
    connection.reset()


@dataclass(frozen=True)
class Break:
    """A way to break, and what must be known of it."""

    conduct: Conduct
    length: int
    is_body_sent: bool
    words: str


@EVERY_BODY
@pytest.mark.parametrize(
    "broken",
    [
        Break(never_read, LARGE, is_body_sent=False, words="took no byte for 0.3 s"),
        Break(never_answer, SMALL, is_body_sent=True, words="did not answer for 0.3 s"),
        Break(hang_up, SMALL, is_body_sent=True, words="closed the connection"),
        Break(reset_early, LARGE, is_body_sent=False, words="broke"),
        Break(reset_late, SMALL, is_body_sent=True, words="broke before the answer"),
    ],
    ids=lambda broken: broken.conduct.__name__,
)
async def test_a_transfer_that_breaks_says_whether_the_body_was_sent(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure, broken: Break
) -> None:
    """Stalls, hang-ups and resets are interruptions, found in about the idle timeout."""
    asset = make_asset(broken.length)
    started = time.monotonic()

    async with serving(broken.conduct) as store:
        error = await failure(make_sender().put(asset, segment_of(broken.length), store.url(), ignore))

    assert isinstance(error, InterruptedTransferError)
    assert error.is_body_sent is broken.is_body_sent
    assert broken.words in error.message
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("conduct", [hang_up, reset_late])
async def test_a_broken_put_is_not_repeated_behind_the_callers_back(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure, conduct: Conduct
) -> None:
    """aiohttp would send an idempotent request again; with one-time URLs that is the caller's decision."""
    asset = make_asset(SMALL)

    async with serving(conduct) as store:
        await failure(make_sender().put(asset, segment_of(SMALL), store.url(), ignore))

    assert len(store.requests) == 1


async def test_a_keep_alive_connection_closed_by_the_store_interrupts_the_next_put(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure
) -> None:
    """The second request on a connection meets its end; the caller retries."""
    asset = make_asset(SMALL)

    async def answer_once(connection: Connection) -> None:
        await connection.request()
        await connection.answer(200, x_obs_request_id="R1")
        await connection.head()

    async with serving(answer_once) as store:
        sender = make_sender(is_verifying=False)
        await sender.put(asset, segment_of(SMALL), store.url(), ignore)
        error = await failure(sender.put(asset, segment_of(SMALL), store.url(), ignore))

    assert isinstance(error, InterruptedTransferError)
    assert len(store.requests) == 2
    assert store.connections == 1


@pytest.fixture
async def either_way(
    request: pytest.FixtureRequest, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> AsyncIterator[tuple[ssl.SSLContext | None, aiohttp.ClientSession]]:
    """The store's TLS, or none, and a session to fit."""
    async with open_http_session(ssl_context=client_tls) as session:
        yield server_tls if request.param == "https" else None, session


@pytest.mark.parametrize(
    ("either_way", "body"),
    [("http", Body.SENDFILE), ("http", Body.COPY), ("https", Body.COPY)],
    indirect=["either_way"],
)
async def test_a_slow_store_is_not_cut(
    make_asset: MakeAsset,
    make_sender: MakeSender,
    either_way: tuple[ssl.SSLContext | None, aiohttp.ClientSession],
) -> None:
    """Bytes that keep moving, if only out of the kernel's buffers, keep the transfer alive."""
    length = 3 * 1024 * 1024
    asset = make_asset(length)
    tls, session = either_way
    started = time.monotonic()

    async def read_slowly(connection: Connection) -> None:
        request = await connection.head()
        while len(request.body) < request.length:
            await anyio.sleep(0.02)
            await connection.take(request, min(65536, request.length - len(request.body)))
        await connection.answer(200, x_obs_request_id="R1")

    async with serving(read_slowly, tls) as store:
        sender = make_sender(session=session, is_verifying=False, idle_timeout=0.5)
        await sender.put(asset, segment_of(length), store.url(host="localhost"), ignore)

    assert time.monotonic() - started > 0.9


async def test_a_stall_over_tls_is_cut_too(
    make_asset: MakeAsset,
    make_sender: MakeSender,
    failure: Failure,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
) -> None:
    """Encrypted bytes waiting in this process are not taken for progress."""
    asset = make_asset(LARGE)

    async with serving(never_read, server_tls) as store, open_http_session(ssl_context=client_tls) as session:
        sender = make_sender(session=session)
        error = await failure(sender.put(asset, segment_of(LARGE), store.url(host="localhost"), ignore))

    assert isinstance(error, InterruptedTransferError)
    assert not error.is_body_sent


async def test_an_answer_that_is_not_http_is_an_interruption(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure
) -> None:
    """Garbage says nothing about what was stored."""
    asset = make_asset(SMALL)

    async def mumble(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"\x00\x01 not HTTP\r\n\r\n")

    async with serving(mumble) as store:
        error = await failure(make_sender().put(asset, segment_of(SMALL), store.url(), ignore))

    assert isinstance(error, InterruptedTransferError)
    assert error.is_body_sent
    assert "not HTTP" in error.message


@pytest.mark.parametrize("body", [Body.COPY])
async def test_bytes_still_in_this_process_do_not_count_as_sent(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body that waits in the transport's buffer as a whole cannot be in the store."""
    monkeypatch.setattr("orchestrator.transfer.reader.SPAN_BYTES", LARGE)
    monkeypatch.setattr("orchestrator.transfer.sender.PIECE_BYTES", LARGE)
    asset = make_asset(LARGE)

    async with serving(never_read) as store:
        error = await failure(make_sender().put(asset, segment_of(LARGE), store.url(), ignore))

    assert isinstance(error, InterruptedTransferError)
    assert not error.is_body_sent
