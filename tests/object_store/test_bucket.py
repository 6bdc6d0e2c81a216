"""What a simulator asks of a real bucket, and how it takes a no."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from hashlib import md5
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from orchestrator.simulator import ObjectStoreOptions, Simulator, SimulatorOptions
from orchestrator.simulator.bucket import Validity
from orchestrator.simulator.requests import StoreError
from orchestrator.simulator.s3 import S3Bucket, signer_of
from tests.object_store.scripted import store_that_says
from tests.object_store.seaweed import Seaweed

KEY = "p/job_trainingVideo"


class Uploader:
    """Puts parts where a signed URL says."""

    def __init__(self, options: ObjectStoreOptions, session: aiohttp.ClientSession) -> None:
        self._signer = signer_of(options)
        self._session = session

    async def put(self, upload_id: str, number: int, body: bytes) -> None:
        """Send one part."""
        await self._put(KEY, body, {"partNumber": str(number), "uploadId": upload_id})

    async def put_object(self, key: str) -> None:
        """Send an object."""
        await self._put(key, b"content", {})

    async def _put(self, key: str, body: bytes, parameters: dict[str, str]) -> None:
        url = self._signer.sign("PUT", key, Validity(time.time(), 60.0), parameters=parameters)
        async with self._session.put(URL(url, encoded=True), data=body) as answer:
            assert answer.status == 200


@pytest.fixture
async def uploader(weed: Seaweed) -> AsyncIterator[Uploader]:
    """Somebody who has the URLs."""
    async with aiohttp.ClientSession() as session:
        yield Uploader(weed.options(), session)


@pytest.fixture
async def bucket(weed: Seaweed, tmp_path: Path) -> AsyncIterator[S3Bucket]:
    """A bucket that lists two at a time."""
    async with S3Bucket(weed.options(), tmp_path, page_entries=2) as bucket:
        yield bucket


async def test_parts_are_listed_page_by_page(bucket: S3Bucket, uploader: Uploader) -> None:
    """All of them come, with the MD5 of each."""
    upload_id = await bucket.initiate(KEY)
    bodies = {number: f"part {number}".encode() for number in range(1, 6)}
    for number, body in bodies.items():
        await uploader.put(upload_id, number, body)

    assert await bucket.parts(upload_id, KEY) == {
        number: md5(body).hexdigest() for number, body in bodies.items()
    }


async def test_a_part_that_was_put_again_counts_once(bucket: S3Bucket, uploader: Uploader) -> None:
    """The store lists every PUT of it, here over the end of a page, and none is overlooked."""
    upload_id = await bucket.initiate(KEY)
    puts = [(1, b"one"), (2, b"old"), (2, b"new"), (3, b"three")]
    for number, body in puts:
        await uploader.put(upload_id, number, body)

    listed = {(part.number, part.etag) async for part in bucket.listed(upload_id, KEY)}
    parts = await bucket.parts(upload_id, KEY)

    assert listed == {(number, md5(body).hexdigest()) for number, body in puts}
    assert set(parts.items()) < listed
    assert list(parts) == [1, 2, 3]


async def test_objects_are_found_page_by_page(bucket: S3Bucket, uploader: Uploader) -> None:
    """Those that are asked for, and no others that begin alike."""
    keys = [f"p/job_{number}" for number in range(6)]
    for key in [*keys[1:], "p/job_10", "p/other_1"]:
        await uploader.put_object(key)

    assert await bucket.held(keys) == set(keys[1:])
    assert await bucket.held(keys[:1]) == set()
    assert await bucket.held(["p/job_1"]) == {"p/job_1"}


async def test_a_store_is_not_asked_for_nothing(tmp_path: Path) -> None:
    """It would list all it has."""
    options = ObjectStoreOptions(url="http://127.0.0.1:1", bucket="footage", ak="AK", sk="SK")

    assert await S3Bucket(options, tmp_path).held([]) == set()


async def test_what_is_gone_can_be_dropped_again(bucket: S3Bucket) -> None:
    """Abort and delete mean that it is not there afterwards; parts of it are NoSuchUpload."""
    upload_id = await bucket.initiate(KEY)

    for _ in range(2):
        await bucket.abort(upload_id, KEY)
        await bucket.delete(KEY)

    assert not await bucket.held([KEY])
    with pytest.raises(StoreError) as caught:
        await bucket.parts(upload_id, KEY)
    assert caught.value.code == "NoSuchUpload"


async def test_a_store_may_say_that_what_is_dropped_is_not_there(tmp_path: Path) -> None:
    """SeaweedFS does not mind a second abort, others answer NoSuchUpload."""
    async with (
        store_that_says(404, "NoSuchUpload") as url,
        S3Bucket(ObjectStoreOptions(url=url, bucket="footage", ak="AK", sk="SK"), tmp_path) as bucket,
    ):
        await bucket.abort("upload", KEY)


async def test_a_redirect_takes_no_signature_along(tmp_path: Path) -> None:
    """It is for this server alone."""
    seen: list[Mapping[str, str]] = []
    async with (
        store_that_says(404, "NoSuchKey", seen=seen) as elsewhere,
        store_that_says(307, "TemporaryRedirect", {"Location": f"{elsewhere}/footage/{KEY}"}) as url,
        S3Bucket(ObjectStoreOptions(url=url, bucket="footage", ak="AK", sk="SK"), tmp_path) as bucket,
    ):
        with pytest.raises(StoreError) as caught:
            await bucket.initiate(KEY)

    assert caught.value.code in {"TemporaryRedirect", "NoSuchKey"}
    assert not any("Authorization" in headers for headers in seen)


async def test_a_success_that_is_an_error_is_no_success(tmp_path: Path) -> None:
    """A completion may fail after its 200 was sent: then the body is the error."""
    async with (
        store_that_says(200, "InternalError") as url,
        S3Bucket(ObjectStoreOptions(url=url, bucket="footage", ak="AK", sk="SK"), tmp_path) as bucket,
    ):
        with pytest.raises(StoreError) as caught:
            await bucket.initiate(KEY)

    assert (caught.value.status, caught.value.code) == (500, "InternalError")


async def test_a_completion_with_missing_parts_joins_nothing(bucket: S3Bucket, uploader: Uploader) -> None:
    """The store itself would join what is there."""
    upload_id = await bucket.initiate(KEY)
    await uploader.put(upload_id, 2, b"end")

    with pytest.raises(StoreError, match="1 of 2 parts are missing, the first is 1"):
        await bucket.complete(upload_id, KEY, 2)

    assert not await bucket.held([KEY])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"bucket": "elsewhere"}, "NoSuchBucket"),
        ({"sk": "wrong"}, "SignatureDoesNotMatch"),
        ({"ak": "NOBODY"}, "InvalidAccessKeyId"),
        ({"url": "http://127.0.0.1:1"}, "cannot be reached"),
    ],
)
async def test_a_store_that_is_no_good_is_known_at_the_start(
    weed: Seaweed, changes: dict[str, Any], reason: str
) -> None:
    """A sentence says why the simulator does not start; no key is in it."""
    simulator = Simulator(SimulatorOptions(object_store=weed.options(**changes)))

    with pytest.raises(OSError, match=reason) as caught:
        await simulator.start()

    assert weed.options(**changes).sk not in str(caught.value)
