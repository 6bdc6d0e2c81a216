"""Stores and networks that misbehave: each ends within a bounded time in the error that says what to do."""

from __future__ import annotations

import errno
import socket
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import anyio
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from orchestrator.domain.errors import (
    InterruptedTransferError,
    NotSentError,
    RefusedUploadError,
    RequestRejectedError,
    ThrottledError,
    UrlExpiredError,
)
from orchestrator.domain.segments import Segment
from orchestrator.transfer.session import open_session
from tests.transfer.conftest import Failure, MakeAsset, MakeSender, ignore
from tests.transfer.store import Conduct, Connection, error_document, serving, store_it

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
        await connection.answer(200)
        await connection.head()

    async with serving(answer_once) as store:
        sender = make_sender(is_verifying=False)
        await sender.put(asset, segment_of(SMALL), store.url(), ignore)
        error = await failure(sender.put(asset, segment_of(SMALL), store.url(), ignore))

    assert isinstance(error, InterruptedTransferError)
    assert len(store.requests) == 2
    assert store.connections == 1


@pytest.fixture(params=["http", "https"])
async def either_way(
    request: pytest.FixtureRequest, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> AsyncIterator[tuple[ssl.SSLContext | None, aiohttp.ClientSession]]:
    """The store's TLS, or none, and a session to fit."""
    async with open_session(ssl_context=client_tls) as session:
        yield server_tls if request.param == "https" else None, session


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
        await connection.answer(200)

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

    async with serving(never_read, server_tls) as store, open_session(ssl_context=client_tls) as session:
        sender = make_sender(session=session)
        error = await failure(sender.put(asset, segment_of(LARGE), store.url(host="localhost"), ignore))

    assert isinstance(error, InterruptedTransferError)
    assert not error.is_body_sent


def refuse(status: int, code: str, message: str = "") -> Conduct:
    """Answer in the middle of the body and go on reading."""

    async def conduct(connection: Connection) -> None:
        request = await connection.head()
        await connection.take(request, 65536)
        await connection.answer(status, error_document(code, message), Retry_After="3")
        await connection.until_closed()

    return conduct


async def test_an_early_refusal_ends_the_sending(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure
) -> None:
    """A 403 in the middle of the body is the answer; the rest is not sent."""
    asset = make_asset(LARGE)
    sent: list[int] = []

    async with serving(refuse(403, "AccessDenied", "Request has expired")) as store:
        error = await failure(make_sender().put(asset, segment_of(LARGE), store.url(), sent.append))

    assert isinstance(error, UrlExpiredError)
    assert error.request_id == "0A1B"
    assert sum(sent) < LARGE


async def test_throttling_tells_how_long_to_wait(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure
) -> None:
    """Retry-After reaches the retry decision."""
    asset = make_asset(LARGE)

    async with serving(refuse(503, "SlowDown")) as store:
        error = await failure(make_sender().put(asset, segment_of(LARGE), store.url(), ignore))

    assert isinstance(error, ThrottledError)
    assert error.retry_after == 3.0


def reset_then(probed: Conduct) -> Conduct:
    """Reset the connection under the body as a store does whose refusal gets lost; act *probed* on a probe."""

    async def conduct(connection: Connection) -> None:
        request = await connection.head()
        if request.is_probe:
            await probed(connection)
        else:
            await connection.take(request, 65536)
            connection.reset()

    return conduct


async def refuse_probe(connection: Connection) -> None:
    """Say on the probe what got lost."""
    await connection.answer(403, error_document("AccessDenied"))


async def test_a_lost_refusal_is_asked_for(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure
) -> None:
    """After a break under the body one question without a body gets the refusal, with the same headers."""
    asset = make_asset(LARGE)

    async with serving(reset_then(refuse_probe)) as store:
        error = await failure(make_sender().put(asset, segment_of(LARGE), store.url(), ignore))

    assert isinstance(error, RefusedUploadError)
    attempt, probe = store.requests
    assert probe.line == attempt.line
    assert probe.headers == [*attempt.headers, ("Expect", "100-continue")]
    assert probe.body == b""


async def invite(connection: Connection) -> None:
    """Ask for the body of a probe."""
    await connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    connection.store.requests[-1].body += await connection.until_closed()


async def wait_for_body(connection: Connection) -> None:
    """Know nothing of probes."""
    connection.store.requests[-1].body += await connection.until_closed()


async def believe(connection: Connection) -> None:
    """Claim success without a body."""
    await connection.answer(200)


async def not_expect(connection: Connection) -> None:
    """Refuse the question rather than the upload."""
    await connection.answer(417)


@pytest.mark.parametrize("probed", [invite, wait_for_body, believe, not_expect])
async def test_a_probe_without_a_refusal_leaves_an_interruption_and_sends_nothing(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure, probed: Conduct
) -> None:
    """Whatever the store says but a refusal, the probe can neither store nor use up anything."""
    asset = make_asset(LARGE)

    async with serving(reset_then(probed)) as store:
        error = await failure(make_sender().put(asset, segment_of(LARGE), store.url(), ignore))

    assert isinstance(error, InterruptedTransferError)
    assert not error.is_body_sent
    assert len(store.requests) == 2
    assert store.requests[1].body == b""


async def test_success_before_the_body_is_not_believed(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure
) -> None:
    """A store that answers 200 to the headers holds nothing."""
    asset = make_asset(LARGE)

    async def answer_at_once(connection: Connection) -> None:
        await connection.head()
        await connection.answer(200)
        await connection.until_closed()

    async with serving(answer_at_once) as store:
        sender = make_sender(is_verifying=False)
        error = await failure(sender.put(asset, segment_of(LARGE), store.url(), ignore))

    assert isinstance(error, InterruptedTransferError)
    assert not error.is_body_sent


@pytest.mark.parametrize("ending", ["closes", "stalls"])
async def test_a_truncated_answer_is_judged_by_what_came(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure, ending: str
) -> None:
    """The status is enough when the document breaks off."""
    asset = make_asset(SMALL)

    async def truncate(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 500\r\n\r\n<Error><Co")
        if ending == "stalls":
            await connection.until_closed()

    async with serving(truncate) as store:
        error = await failure(make_sender().put(asset, segment_of(SMALL), store.url(), ignore))

    assert isinstance(error, ThrottledError)


async def test_an_endless_error_document_is_not_read_to_its_end(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure
) -> None:
    """A store cannot fill our memory with its complaint."""
    asset = make_asset(SMALL)

    async def complain(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 500 No\r\nContent-Length: 99999999999\r\n\r\n<Error>")
        while True:
            await connection.send(b" " * 65536)

    async with serving(complain) as store:
        error = await failure(make_sender().put(asset, segment_of(SMALL), store.url(), ignore))

    assert isinstance(error, InterruptedTransferError)
    assert error.status == 500


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


async def test_a_refused_connection_sends_nothing(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure
) -> None:
    """Nobody listens: provably not sent."""
    asset = make_asset(SMALL)
    async with serving(store_it) as store:
        url = store.url()

    error = await failure(make_sender().put(asset, segment_of(SMALL), url, ignore))

    assert isinstance(error, NotSentError)
    assert "refused" in error.message.lower()


async def test_a_connection_that_never_gets_ready_sends_nothing(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure
) -> None:
    """A TLS handshake without an answer ends with the connect timeout."""
    asset = make_asset(SMALL)

    async with serving(never_read) as store:
        store.scheme = "https"
        error = await failure(make_sender().put(asset, segment_of(SMALL), store.url(), ignore))

    assert isinstance(error, NotSentError)


class Resolver(AbstractResolver):
    """Knows store.test and nothing else."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Answer without any traffic."""
        if host != "store.test":
            raise OSError(errno.ENOENT, "Name or service not known")
        return [
            ResolveResult(hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0)
        ]

    async def close(self) -> None:
        """Hold nothing."""


async def test_a_name_that_cannot_be_resolved_sends_nothing(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure
) -> None:
    """DNS failures are told apart from refused connections."""
    asset = make_asset(SMALL)

    async with serving(store_it) as store, aiohttp.ClientSession(connector=_resolving()) as session:
        sender = make_sender(session=session, is_insecure_http_allowed=True)
        error = await failure(sender.put(asset, segment_of(SMALL), store.url(host="nowhere.test"), ignore))

    assert isinstance(error, NotSentError)
    assert "cannot be resolved" in error.message


def _resolving() -> aiohttp.TCPConnector:
    return aiohttp.TCPConnector(resolver=Resolver())


async def test_plain_http_is_for_loopback_unless_allowed(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure
) -> None:
    """A URL that would travel readable is refused before anything is sent."""
    asset = make_asset(SMALL)

    async with serving(store_it) as store, aiohttp.ClientSession(connector=_resolving()) as session:
        url = store.url(host="store.test")
        error = await failure(make_sender(session=session).put(asset, segment_of(SMALL), url, ignore))
        assert store.connections == 0
        sender = make_sender(session=session, is_insecure_http_allowed=True)
        receipt = await sender.put(asset, segment_of(SMALL), url, ignore)

    assert isinstance(error, RequestRejectedError)
    assert receipt.is_verified


async def test_an_untrusted_certificate_is_a_refusal_with_a_hint(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure, server_tls: ssl.SSLContext
) -> None:
    """Trying again would not help: a person must look."""
    asset = make_asset(SMALL)

    async with serving(store_it, server_tls) as store:
        url = store.url(host="localhost")
        error = await failure(make_sender().put(asset, segment_of(SMALL), url, ignore))

    assert isinstance(error, RequestRejectedError)
    assert "certificate" in error.message
    assert error.hint is not None
    assert store.requests == []


async def test_tls_to_a_server_without_it_sends_nothing(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure
) -> None:
    """A failed handshake is no connection."""
    asset = make_asset(SMALL)

    async def answer_plainly(connection: Connection) -> None:
        await connection.reader.read(10)
        await connection.answer(400)

    async with serving(answer_plainly) as store:
        store.scheme = "https"
        error = await failure(make_sender().put(asset, segment_of(SMALL), store.url(), ignore))

    assert isinstance(error, NotSentError)
    assert "TLS" in error.message
