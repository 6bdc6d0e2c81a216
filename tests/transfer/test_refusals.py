"""Stores that refuse, early or late, lie, or cannot finish a sentence."""

from __future__ import annotations

import hashlib

import anyio
import pytest

from orchestrator.domain.assets import Segment
from orchestrator.domain.errors import (
    ETagMismatchError,
    InterruptedTransferError,
    RefusedUploadError,
    ThrottledError,
    UrlExpiredError,
)
from tests.transfer.conftest import EVERY_BODY, Failure, MakeAsset, MakeSender, content_of, ignore
from tests.transfer.store import Conduct, Connection, error_document, serving

#: More than all buffers between a client and a store that does not read.
LARGE = 24 * 1024 * 1024
SMALL = 1000


def segment_of(length: int) -> Segment:
    """The one segment of a file."""
    return Segment(1, 0, length)


def refuse(status: int, code: str, message: str = "") -> Conduct:
    """Answer in the middle of the body and go on reading."""

    async def conduct(connection: Connection) -> None:
        request = await connection.head()
        await connection.take(request, 65536)
        await connection.answer(status, error_document(code, message), Retry_After="3")
        await connection.until_closed()

    return conduct


@EVERY_BODY
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


@EVERY_BODY
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
    await connection.until_closed()


async def wait_for_body(connection: Connection) -> None:
    """Know nothing of probes."""
    await connection.until_closed()


async def believe(connection: Connection) -> None:
    """Claim success without a body."""
    await connection.answer(200, x_obs_request_id="R1")


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
        await store.ended()

    assert isinstance(error, InterruptedTransferError)
    assert not error.is_body_sent
    assert len(store.requests) == 2
    assert store.requests[1].body == b""


@EVERY_BODY
async def test_success_before_the_body_is_not_believed(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure
) -> None:
    """A store that answers 200 to the headers holds nothing."""
    asset = make_asset(LARGE)

    async def answer_at_once(connection: Connection) -> None:
        await connection.head()
        await connection.answer(200, x_obs_request_id="R1")
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
        await anyio.sleep(0.2)  # most of the idle timeout: it must not go on counting
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
        sender = make_sender(idle_timeout=30)
        with anyio.fail_after(3):
            error = await failure(sender.put(asset, segment_of(SMALL), store.url(), ignore))

    assert isinstance(error, InterruptedTransferError)
    assert error.status == 500


def answer_with(status: int, body: bytes = b"", **headers: str) -> Conduct:
    """Take everything and give the same answer each time."""

    async def conduct(connection: Connection) -> None:
        while True:
            await connection.request()
            await connection.answer(status, body, **headers)

    return conduct


async def test_other_bytes_in_the_store_are_a_mismatch(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure
) -> None:
    """An ETag that is another MD5 makes the caller send again."""
    asset = make_asset(SMALL)

    async with serving(answer_with(200, ETag=f'"{"0" * 32}"', x_amz_request_id="R2")) as store:
        error = await failure(make_sender().put(asset, segment_of(SMALL), store.url(), ignore))

    assert isinstance(error, ETagMismatchError)
    assert error.request_id == "R2"


async def test_an_encrypting_store_is_warned_of_once(
    make_asset: MakeAsset, make_sender: MakeSender, warnings_heard: list[str]
) -> None:
    """Thousands of segments do not make thousands of warnings."""
    asset = make_asset(SMALL)
    conduct = answer_with(200, ETag=f'"{"0" * 32}"', x_obs_server_side_encryption="kms")

    async with serving(conduct) as store:
        sender = make_sender()
        receipts = [await sender.put(asset, segment_of(SMALL), store.url(), ignore) for _ in range(3)]

    assert not any(receipt.is_verified for receipt in receipts)
    assert len(warnings_heard) == 1


async def test_an_etag_may_be_upper_case(make_asset: MakeAsset, make_sender: MakeSender) -> None:
    """Case and quotes say nothing about bytes."""
    asset = make_asset(SMALL)
    md5 = hashlib.md5(content_of(asset)).hexdigest()

    async with serving(answer_with(200, ETag=md5.upper())) as store:
        receipt = await make_sender().put(asset, segment_of(SMALL), store.url(), ignore)

    assert receipt.is_verified


async def test_success_with_an_error_inside_is_an_error(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure
) -> None:
    """S3-type stores may find out after the status line."""
    asset = make_asset(SMALL)

    async with serving(answer_with(200, error_document("SlowDown"))) as store:
        error = await failure(make_sender().put(asset, segment_of(SMALL), store.url(), ignore))

    assert isinstance(error, ThrottledError)
    assert error.code == "SlowDown"


@pytest.mark.parametrize(("now", "kind"), [(2000.0, UrlExpiredError), (999.0, RefusedUploadError)])
async def test_a_refusal_after_the_urls_time_means_that_it_expired(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure, now: float, kind: type[Exception]
) -> None:
    """What the store leaves open, the URL's own date tells."""
    asset = make_asset(SMALL)

    async with serving(answer_with(403)) as store:
        sender = make_sender(clock=lambda: now)
        error = await failure(sender.put(asset, segment_of(SMALL), store.url(expires=1000), ignore))

    assert type(error) is kind
