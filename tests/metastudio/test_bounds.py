"""Answers without an end: none is read past its bound, and what comes of it is an error that says what to do."""

from __future__ import annotations

import json
import tracemalloc
import zlib
from collections.abc import Iterator

import pytest
from aiohttp import web

from orchestrator.domain.errors import (
    ConfigurationError,
    InterruptedTransferError,
    OrchestratorError,
    RequestRejectedError,
    ThrottledError,
)
from orchestrator.metastudio import client as client_module
from orchestrator.metastudio.answers import MAX_ANSWER_BYTES, MAX_JSON_ITEMS, read_object
from orchestrator.metastudio.wire import Command, JobQuery
from tests.metastudio.scripted import Reply, says

#: Blanks, which JSON allows anywhere: a thousandth of them on the wire.
BOMB_BYTES = 128 * 1024**2
#: Several times what an answer may have, far less than what these inflate to.
MEMORY_BYTES = 8 * MAX_ANSWER_BYTES


def compressed(coding: str) -> bytes:
    """A JSON object of BOMB_BYTES, as *coding* sends it."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31 if coding == "gzip" else 15)
    blanks = b" " * 1024**2
    pieces = [packer.compress(b"{"), *(packer.compress(blanks) for _ in range(BOMB_BYTES // len(blanks)))]
    return b"".join([*pieces, packer.compress(b"}"), packer.flush()])


BOMBS = {coding: compressed(coding) for coding in ("gzip", "deflate")}


def bomb(coding: str, status: int = 200) -> Reply:
    """Answer with one, asked for or not."""

    async def reply(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=BOMBS[coding], headers={"Content-Encoding": coding})

    return reply


def endless(status: int = 200) -> Reply:
    """Send blanks for as long as somebody reads."""

    async def reply(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status)
        await response.prepare(request)
        while True:
            await response.write(b" " * 65536)

    return reply


@pytest.fixture(autouse=True)
def _bounded_memory() -> Iterator[None]:
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MEMORY_BYTES


@pytest.mark.parametrize(
    "reply", [bomb("gzip"), bomb("deflate"), endless()], ids=["gzip", "deflate", "endless"]
)
async def test_an_answer_without_end_is_told_by_what_was_asked(make_client, service, reply):
    """The whole run for a list, one entry for its job; what acts may have been carried out, and is not repeated."""
    service.script = [reply]
    client = make_client(attempts_allowed=2)
    said = {}

    for name, call in (
        ("list", client.list_jobs(JobQuery(name="Anna"))),
        ("show", client.show_job("j")),
        ("create", client.create_job({"name": "Anna"})),
        ("confirm", client.command("j", Command.CONFIRM_MULTIPART_UPLOADED)),
    ):
        with pytest.raises(OrchestratorError, match="is longer than 8 MiB") as caught:
            await call
        said[name] = caught.value

    assert isinstance(said["list"], ConfigurationError)
    assert isinstance(said["show"], RequestRejectedError)
    assert isinstance(said["create"], InterruptedTransferError)
    assert isinstance(said["confirm"], InterruptedTransferError)
    assert "--endpoint" in (said["list"].hint or "")
    assert len(service.requests) == 2 + 2 + 1 + 1


async def test_one_answer_without_end_is_asked_for_again(make_client, service):
    """Something in between may have sent it."""
    service.script = [bomb("gzip"), says(200, {"count": 0, "jobs": []})]

    assert (await make_client().list_jobs(JobQuery())).jobs == ()


@pytest.mark.parametrize("reply", [bomb("gzip", 429), endless(429)], ids=["gzip", "endless"])
async def test_a_refusal_without_end_counts_by_its_status(make_client, service, reply):
    """What it says after some hundred kilobytes is not read."""
    service.script = [reply]

    with pytest.raises(ThrottledError, match="429"):
        await make_client(attempts_allowed=1).list_jobs(JobQuery())


async def test_nothing_compressed_is_asked_for(make_client, service):
    """A few kilobytes need it not."""
    service.script = [says(200, {"count": 0, "jobs": []})]

    await make_client().list_jobs(JobQuery())

    assert service.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"jobs": [' + b"{}," * MAX_JSON_ITEMS + b"{}]}",
        b'{"count": ' + b"9" * 5000 + b"}",
    ],
    ids=["deep", "deeper", "many", "long number"],
)
def test_a_document_that_only_costs_is_none(body):
    """It is refused as one that is not JSON."""
    assert read_object(body) is None


def test_half_a_character_and_a_nul_are_replaced_as_they_are_read():
    """Neither journal, log nor terminal would take them; a whole pair stays."""
    body = json.dumps({"\ud83d": "a\udc00b\x00", "pair": "\U0001f600"}).encode()

    assert read_object(body) == {"\ufffd": "a\ufffdb\ufffd", "pair": "\U0001f600"}
    assert read_object(b'{"a": "\xed\xa0\xbd\xff"}') == {"a": "\ufffd\ufffd\ufffd\ufffd"}


async def test_a_list_that_goes_on_for_ever_ends_in_an_error(make_client, service, monkeypatch):
    """Every page full of jobs that were not on the one before."""
    monkeypatch.setattr(client_module, "MAX_LISTED_JOBS", 1000)
    pages = iter(range(1_000_000))

    async def page(request: web.Request) -> web.StreamResponse:
        first = next(pages) * 100
        jobs = [{"job_id": f"j{first + each}", "name": "n", "state": "s"} for each in range(100)]
        return web.json_response({"count": 10**9, "jobs": jobs})

    service.script = [page]

    with pytest.raises(ConfigurationError, match="past 1000 jobs"):
        async for _ in make_client().iterate_jobs(JobQuery()):
            pass

    assert len(service.requests) == 11


@pytest.mark.parametrize(
    "answer",
    [
        {"job_id": "j", "cover_upload_url": "https://h/o?\r\nX: y"},
        {"job_id": "j", "cover_upload_url": "https://h/" + "o" * 10_000},
        {"job_id": "j", "training_video_upload_url": ["https://h/o"] * 10_001},
        {"job_id": "j" * 1000},
        {"job_id": "\x1b[31mj"},
    ],
)
async def test_a_create_answer_with_urls_or_ids_that_are_none_may_have_been_carried_out(
    make_client, service, answer
):
    """They are not used, not kept and not repeated."""
    service.script = [says(200, answer)]

    with pytest.raises(InterruptedTransferError, match="create call cannot be used") as caught:
        await make_client().create_job({"name": "Anna"})

    assert len(str(caught.value)) < 300


async def test_a_part_number_of_thousands_of_digits_is_none(make_client, service):
    """Python would not read it, and SQLite not keep it."""
    parts = [{"part_number": "9" * 5000, "etag": "e"}, {"part_number": "2", "etag": "e"}]
    service.script = [says(200, {"commond_result": "EXCUTE_SUCCESS", "multipart_data": parts})]

    result = await make_client().command("j", Command.GET_MULTIPART_UPLOADED)

    assert [part.part_number for part in result.parts] == [2]


@pytest.mark.parametrize("request_id", ["a\x9bb", "caf\udce9", "x" * 1000])
async def test_a_request_id_that_is_none_is_left_out(make_client, service, request_id):
    """It is shown and kept as it is."""

    async def reply(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        head = f"HTTP/1.1 400 Bad\r\nX-Request-Id: {request_id}\r\nContent-Length: 2\r\n\r\n{{}}"
        request.transport.write(head.encode("utf-8", "surrogateescape"))
        return web.Response()

    service.script = [reply]

    with pytest.raises(RequestRejectedError) as caught:
        await make_client().show_job("j")

    assert caught.value.request_id is None
