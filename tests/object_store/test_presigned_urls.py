"""Presigned URLs, ours and the vendor's, at a real object store."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import md5
from pathlib import Path

import pytest

from orchestrator.domain.assets import Asset, AssetKind, Fingerprint, Segment
from orchestrator.domain.errors import RequestRejectedError, UrlExpiredError
from orchestrator.domain.presigned import PresignedUrl
from orchestrator.network.http_session import open_http_session
from orchestrator.simulator.bucket import Validity
from orchestrator.simulator.s3 import S3Bucket, signer_of
from orchestrator.transfer.sender import SegmentSender
from tests.object_store.seaweed import AK, BUCKET, SK, Seaweed

KEY = "p/film_trainingVideo"
FILM = b"film" * 50_000
WHOLE = Segment(1, 0, len(FILM))


@pytest.fixture
async def bucket(weed: Seaweed, tmp_path: Path) -> AsyncIterator[S3Bucket]:
    """The bucket as the simulator reaches it."""
    async with S3Bucket(weed.options(), tmp_path) as bucket:
        yield bucket


@pytest.fixture
def readers() -> Iterator[ThreadPoolExecutor]:
    """The reader threads of a run."""
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture
async def sender(readers: ThreadPoolExecutor) -> AsyncIterator[SegmentSender]:
    """What a run sends segments with."""
    async with open_http_session() as session:
        yield SegmentSender(
            session,
            readers=readers,
            idle_timeout=5.0,
            is_verifying=True,
            on_warning=pytest.fail,
        )


@pytest.fixture
def film(tmp_path: Path) -> Asset:
    """A planned training video."""
    path = tmp_path / "film.mp4"
    path.write_bytes(FILM)
    status = path.stat()
    return Asset(AssetKind.TRAINING_VIDEO, str(path), Fingerprint.of(status))


def vendor_url(weed: Seaweed, signature: str, upload_id: str) -> str:
    """Have esdk-obs-python presign a part."""
    from obs import ObsClient

    client = ObsClient(
        access_key_id=AK, secret_access_key=SK, server=weed.url, signature=signature, path_style=True
    )
    signed = client.createSignedUrl(
        "PUT",
        BUCKET,
        KEY,
        expires=300,
        headers={"Content-Type": "application/octet-stream"},
        queryParams={"partNumber": "1", "uploadId": upload_id},
    )
    return str(signed.signedUrl)


@pytest.mark.parametrize("signature", ["v2", "v4"])
async def test_parts_go_to_urls_that_the_vendors_client_presigned(
    weed: Seaweed, bucket: S3Bucket, sender: SegmentSender, film: Asset, signature: str
) -> None:
    """V4 has host and Content-Type signed there, V2 the Content-Type: what is sent fits both."""
    upload_id = await bucket.initiate(KEY)
    url = vendor_url(weed, signature, upload_id)

    receipt = await sender.put(film, WHOLE, PresignedUrl(url), lambda _: None)

    assert receipt.is_verified
    assert await bucket.parts(upload_id, KEY) == {1: md5(FILM).hexdigest()}
    await bucket.abort(upload_id, KEY)


@pytest.mark.parametrize("signature", ["v2", "v4"])
async def test_an_expired_url_is_known_by_the_stores_answer(
    weed: Seaweed, sender: SegmentSender, film: Asset, signature: str
) -> None:
    """The code is AccessDenied, as for any other refusal; the message tells."""
    validity = Validity(time.time() - 100.0, 50.0)
    url = signer_of(weed.options(signature=signature)).sign(
        "PUT", KEY, validity, content_type=film.kind.content_type
    )

    with pytest.raises(UrlExpiredError):
        await sender.put(film, WHOLE, PresignedUrl(url), lambda _: None)


async def test_a_v2_url_is_good_for_its_content_type_only(
    weed: Seaweed, sender: SegmentSender, film: Asset
) -> None:
    """Signed for a zip, a film is refused for good."""
    signer = signer_of(weed.options(signature="v2"))
    url = signer.sign("PUT", KEY, Validity(time.time(), 60.0), content_type="application/zip")

    with pytest.raises(RequestRejectedError) as caught:
        await sender.put(film, WHOLE, PresignedUrl(url), lambda _: None)

    assert (caught.value.status, caught.value.code) == (403, "SignatureDoesNotMatch")
