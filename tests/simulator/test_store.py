"""The object store takes what is signed, whole and in time."""

import asyncio
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest

from orchestrator.simulator import World
from orchestrator.simulator.persistence import Records
from orchestrator.simulator.put import UsedUrls
from orchestrator.simulator.requests import StoreError
from orchestrator.simulator.urls import SignedTarget, StoreKeys, presign

OCTET_STREAM = "application/octet-stream"


async def test_a_stored_part_is_answered_with_its_quoted_md5(client: Any) -> None:
    """200, no body, ETag, request id."""
    created = await client.create()

    answer = await client.put(created["training_video_upload_url"][0], b"1\n")

    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["etag"] == '"b026324c6904b2a9cb4b88d6d61c81d1"'
    assert answer.headers["x-obs-request-id"]


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [("cover_upload_url", OCTET_STREAM, "image/png"), ("audio_upload_url", "application/zip", OCTET_STREAM)],
)
async def test_the_content_type_is_inside_the_signature(client: Any, field: str, good: str, bad: str) -> None:
    """Audio is a zip, all else an octet stream; anything else does not match."""
    created = await client.create()

    refused = await client.put(created[field], b"content", bad)
    stored = await client.put(created[field], b"content", good)

    assert (refused.status, b"<Code>SignatureDoesNotMatch</Code>" in refused.body) == (403, True)
    assert stored.status == 200
    assert client.simulator.stats.refusals["put SignatureDoesNotMatch"] == 1


@pytest.mark.parametrize("status", [403, 400])
async def test_an_expired_url_is_refused_before_its_body(start: Any, status: int) -> None:
    """AccessDenied, "Request has expired"; some stores say 400."""
    client = await start(url_lifetime_seconds=10, expired_status=status)
    created = await client.create()
    client.clock.now += 11

    answer = await client.put(created["cover_upload_url"], b"late")

    assert answer.status == status
    assert b"<Code>AccessDenied</Code><Message>Request has expired</Message>" in answer.body
    assert client.simulator.stats.put_bytes_received == 0


async def test_an_error_never_repeats_the_query(client: Any) -> None:
    """The XML's Resource is the path; the signature stays out."""
    created = await client.create()

    answer = await client.put(created["cover_upload_url"], b"content", "image/png")

    assert b"_cover</Resource>" in answer.body
    assert b"Signature=" not in answer.body
    assert answer.headers["x-obs-request-id"].encode() in answer.body


async def test_a_chunked_body_is_a_411(client: Any) -> None:
    """OBS wants to know the length first."""
    created = await client.create()

    answer = await client.raw_put(
        created["cover_upload_url"],
        "Connection: close\r\nTransfer-Encoding: chunked",
        b"4\r\nabcd\r\n0\r\n\r\n",
    )

    assert answer.startswith(b"HTTP/1.1 411 ")
    assert b"MissingContentLength" in answer


async def test_a_body_shorter_than_announced_is_not_stored(client: Any) -> None:
    """The connection ends in the middle of the body; nothing is left of it and the URL stays good."""
    created = await client.create()
    await client.raw_put(created["cover_upload_url"], "Content-Length: 100", b"half", is_cut=True)

    answer = await client.put(created["cover_upload_url"], b"whole")

    assert answer.status == 200
    assert client.simulator.stats.refusals["put IncompleteBody"] == 1
    assert client.job(created["job_id"]).objects["cover"].read_bytes() == b"whole"


async def test_an_empty_body_is_an_empty_object(client: Any) -> None:
    """Length 0 is a length."""
    created = await client.create()

    answer = await client.put(created["cover_upload_url"], b"")

    assert answer.headers["etag"] == f'"{md5(b"").hexdigest()}"'
    assert client.job(created["job_id"]).objects["cover"].read_bytes() == b""


async def test_a_one_time_url_that_stored_refuses_the_next_put(client: Any) -> None:
    """403 AccessDenied before its body; what was stored stays."""
    created = await client.create()
    url = created["training_video_upload_url"][0]
    await client.put(url, b"first")

    answer = await client.put(url, b"second")

    assert (answer.status, b"<Code>AccessDenied</Code>" in answer.body) == (403, True)
    assert client.job(created["job_id"]).parts["training_video"] == {1: md5(b"first").hexdigest()}
    assert client.simulator.stats.put_bytes_received == len(b"first")


async def test_a_url_is_used_up_only_by_what_was_stored(tmp_path: Path) -> None:
    """When storing fails, a full disk for one, the URL may be tried again."""
    target = SignedTarget("/b/k", "k", 0.0, "signature", None, None)
    records = Records(tmp_path / "state.db")
    await records.open()
    used = UsedUrls(records)

    with pytest.raises(OSError, match="full"):
        async with used.claimed(target):
            raise OSError("full")
    async with used.claimed(target):
        pass

    with pytest.raises(StoreError, match="only once"):
        used.check(target)
    await records.close()


async def test_an_upload_takes_parts_of_its_own_key_only(client: Any) -> None:
    """A well-signed part of another object is NoSuchUpload."""
    options = client.simulator.options
    created = await client.create()
    upload_id = created["training_video_upload_url"][0].partition("uploadId=")[2].partition("&")[0]
    url = presign(
        StoreKeys(options.store_ak, options.store_sk),
        client.simulator.endpoint,
        "PUT",
        f"/{options.bucket}/p/another_trainingVideo",
        int(client.clock.now) + 60,
        content_type=OCTET_STREAM,
        parameters={"partNumber": "1", "uploadId": upload_id},
    )

    answer = await client.put(url, b"film")

    assert (answer.status, b"<Code>NoSuchUpload</Code>" in answer.body) == (404, True)


async def test_a_one_time_url_that_stored_nothing_may_be_used_again(client: Any) -> None:
    """A failed PUT does not use it up."""
    client.simulator.faults.script("put", ["error-500", None])
    created = await client.create()

    statuses = [(await client.put(created["training_video_upload_url"][0], b"film")).status for _ in range(2)]

    assert statuses == [500, 200]


async def test_otherwise_the_last_write_wins(start: Any) -> None:
    """As plain OBS does it with parts and objects."""
    client = await start(world=World(put_again="overwrite"))
    created = await client.create()

    for body in (b"first", b"second"):
        await client.put(created["training_video_upload_url"][0], body)
        await client.put(created["cover_upload_url"], body)
    await client.command(created["job_id"], "CONFIRM_MULTIPART_UPLOADED")

    objects = client.job(created["job_id"]).objects
    assert {objects[kind].read_bytes() for kind in ("training_video", "cover")} == {b"second"}
    assert client.simulator.stats.puts[f"p/{created['job_id']}_cover"] == 2


async def test_a_part_after_confirm_is_no_such_upload(start: Any) -> None:
    """404, and the object stays as it was joined."""
    client = await start(world=World(put_again="overwrite"))
    created = await client.create()
    await client.put(created["training_video_upload_url"][0], b"film")
    await client.command(created["job_id"], "CONFIRM_MULTIPART_UPLOADED")

    answer = await client.put(created["training_video_upload_url"][0], b"late")

    assert (answer.status, b"<Code>NoSuchUpload</Code>" in answer.body) == (404, True)
    assert client.job(created["job_id"]).objects["training_video"].read_bytes() == b"film"


async def test_a_big_part_arrives_whole(client: Any) -> None:
    """Several buffers' worth of different bytes, stored in their order."""
    body = b"".join(number.to_bytes(4, "big") * 1024 for number in range(1500))
    created = await client.create()

    answer = await client.put(created["training_video_upload_url"][0], body)
    await client.command(created["job_id"], "CONFIRM_MULTIPART_UPLOADED")

    assert answer.headers["etag"] == f'"{md5(body).hexdigest()}"'
    assert client.job(created["job_id"]).objects["training_video"].read_bytes() == body
    assert client.simulator.stats.put_bytes_stored == len(body)


async def test_download_urls_serve_the_object(client: Any) -> None:
    """HEAD tells length and ETag, GET the bytes, a range its part; they appear with the object."""
    created = await client.create()
    before = await client.show(created["job_id"])
    await client.put(created["training_video_upload_url"][0], b"0123456789")
    await client.command(created["job_id"], "CONFIRM_MULTIPART_UPLOADED")
    url = (await client.show(created["job_id"]))["training_video_download_url"]

    head = await client.request("HEAD", url)
    whole = await client.request("GET", url)
    part = await client.request("GET", url, headers={"Range": "bytes=2-4"})
    beyond = await client.request("GET", url, headers={"Range": "bytes=10-"})

    etag = f'"{md5(md5(b"0123456789").digest()).hexdigest()}-1"'
    assert "training_video_download_url" not in before
    assert (head.status, head.headers["content-length"], head.headers["etag"]) == (200, "10", etag)
    assert (whole.body, part.status, part.body) == (b"0123456789", 206, b"234")
    assert (part.headers["content-range"], beyond.status) == ("bytes 2-4/10", 416)


async def test_what_is_not_there_is_a_404_and_other_methods_a_405(client: Any) -> None:
    """NoSuchBucket and MethodNotAllowed, in XML."""
    endpoint = client.simulator.endpoint

    bucket = await client.request("GET", f"{endpoint}/elsewhere/key")
    method = await client.request("POST", f"{endpoint}/digitalhuman/key", data=b"")

    assert (bucket.status, b"NoSuchBucket" in bucket.body) == (404, True)
    assert (method.status, b"MethodNotAllowed" in method.body) == (405, True)


async def test_a_slow_store_has_one_cap_for_all_bodies(start: Any) -> None:
    """Two bodies at once take as long as both one after the other."""
    client = await start(store_bytes_per_second=1_000_000)
    created = await client.create()
    loop = asyncio.get_running_loop()
    started = loop.time()

    await asyncio.gather(
        client.put(created["cover_upload_url"], bytes(100_000)),
        client.put(created["grant_file_upload_url"], bytes(100_000)),
    )

    assert loop.time() - started >= 0.19
    assert client.simulator.stats.puts_in_flight.maximum == 2
