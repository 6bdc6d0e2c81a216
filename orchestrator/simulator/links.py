"""The files of a job, and the upload and download URLs in the service's responses.

Object names, URL fields and content types are as in metastudio-protocol section 1.1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from orchestrator.simulator.bucket import Bucket, Signer, Validity
from orchestrator.simulator.jobs import Job
from orchestrator.simulator.options import SimulatorOptions
from orchestrator.simulator.persistence import Document

OCTET_STREAM = "application/octet-stream"
ZIP = "application/zip"


@dataclass(frozen=True)
class Asset:
    """One file of a job, with the service's names for it."""

    kind: str
    suffix: str
    upload_field: str
    download_field: str
    content_type: str = OCTET_STREAM


TRAINING_VIDEO = Asset(
    "training_video", "trainingVideo", "training_video_upload_url", "training_video_download_url"
)
ACTION_VIDEO = Asset("action_video", "actionVideo", "action_video_upload_url", "action_video_download_url")
AUDIO = Asset("audio", "audio", "audio_upload_url", "audio_file_download_url", ZIP)
COVER = Asset("cover", "cover", "cover_upload_url", "cover_download_url")
ID_CARD_IMAGE1 = Asset(
    "id_card_image1", "idCardImage1_tmp", "id_card_image1_upload_url", "id_card_image1_download_url"
)
ID_CARD_IMAGE2 = Asset(
    "id_card_image2", "idCardImage2_tmp", "id_card_image2_upload_url", "id_card_image2_download_url"
)
GRANT_FILE = Asset("grant_file", "grantFile_tmp", "grant_file_upload_url", "grant_file_download_url")
PRE_BEAUTY_IMAGE = Asset(
    "pre_beauty_image", "preBeautyImage_tmp", "pre_beauty_image_upload_url", "pre_beauty_image_download_url"
)
POST_BEAUTY_IMAGE = Asset(
    "post_beauty_image",
    "postBeautyImage_tmp",
    "post_beauty_image_upload_url",
    "post_beauty_image_download_url",
)

MULTIPART = (TRAINING_VIDEO, ACTION_VIDEO)
SINGLE = (AUDIO, COVER, ID_CARD_IMAGE1, ID_CARD_IMAGE2, GRANT_FILE, PRE_BEAUTY_IMAGE, POST_BEAUTY_IMAGE)
ASSETS = MULTIPART + SINGLE


def object_key(job_id: str, asset: Asset) -> str:
    """Return the object's key in the bucket."""
    return f"p/{job_id}_{asset.suffix}"


class Links:
    """A source of a job's URLs: decides which ones it gets and has them signed."""

    def __init__(
        self, options: SimulatorOptions, *, bucket: Bucket, signer: Signer, clock: Callable[[], float]
    ) -> None:
        self._options = options
        self._bucket = bucket
        self._signer = signer
        self._clock = clock
        self._random = Random(options.seed)

    def uploads(self, job: Job) -> Document:
        """Return the upload URL fields of a create or update response."""
        fields: Document = {}
        for asset in MULTIPART:
            if asset.kind in job.upload_ids:
                fields[asset.upload_field] = self._parts(job, asset)
        for asset in SINGLE:
            if (
                asset is not AUDIO
                or not self._options.can_omit_urls
                or job.fields["audio_source_type"] == "AUDIO"
            ):
                # One-time URLs are identified by signature: a new one must differ from one of the same second.
                fields[asset.upload_field] = self._put_url(job.job_id, asset, later=job.updates)
        return fields

    def _parts(self, job: Job, asset: Asset) -> list[str]:
        numbers = list(range(1, job.parts_expected(asset.kind) + 1))
        if self._options.world.url_order == "shuffled":
            self._random.shuffle(numbers)
        upload_id = job.upload_ids[asset.kind]
        return [
            self._put_url(
                job.job_id,
                asset,
                later=job.updates,
                parameters={"partNumber": str(number), "uploadId": upload_id},
            )
            for number in numbers[: self._options.cap_urls]
        ]

    def _put_url(
        self, job_id: str, asset: Asset, *, later: int = 0, parameters: dict[str, str] | None = None
    ) -> str:
        return self._signer.sign(
            "PUT",
            object_key(job_id, asset),
            self._validity(later),
            content_type=asset.content_type,
            parameters=parameters,
        )

    async def downloads(self, job: Job, assets: tuple[Asset, ...] = ASSETS) -> Document:
        """Return the download URL fields of those assets that exist and may be read in this world and state."""
        since = self._options.world.download_urls
        if since != "joined" and not (since == "after-review" and job.is_reviewed):
            return {}
        keys = {asset: object_key(job.job_id, asset) for asset in assets}
        held = await self._bucket.held(keys.values())
        return {
            asset.download_field: self._signer.sign("GET", key, self._validity())
            for asset, key in keys.items()
            if key in held
        }

    async def has(self, job: Job, asset: Asset) -> bool:
        """Return True if the job's object is in the store."""
        return bool(await self._bucket.held([object_key(job.job_id, asset)]))

    def _validity(self, later: int = 0) -> Validity:
        return Validity(self._clock(), self._options.url_lifetime_seconds + later)


def wanted_uploads(options: SimulatorOptions, is_action_asked_for: bool) -> tuple[Asset, ...]:
    """Return the multipart assets for which a job gets URLs."""
    return MULTIPART if is_action_asked_for or not options.can_omit_urls else (MULTIPART[0],)
