"""The URLs a job's answers carry: where to put its files, where to get them."""

from collections.abc import Callable
from random import Random

from orchestrator.simulator.assets import ASSETS, AUDIO, MULTIPART, SINGLE, Asset, object_key
from orchestrator.simulator.bucket import Bucket, Signer, Validity
from orchestrator.simulator.jobs import Job
from orchestrator.simulator.options import SimulatorOptions
from orchestrator.simulator.persistence import Document


class Links:
    """Decides which URLs a job gets and has them signed."""

    def __init__(
        self, options: SimulatorOptions, *, bucket: Bucket, signer: Signer, clock: Callable[[], float]
    ) -> None:
        self._options = options
        self._bucket = bucket
        self._signer = signer
        self._clock = clock
        self._random = Random(options.seed)

    def uploads(self, job: Job) -> Document:
        """Return the upload URL fields of a create or update answer."""
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
                # One-time URLs go by signature: a fresh one must differ from that of the same second.
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
        """Return the download URL fields of those assets that exist and may be read here and now."""
        if not self._is_readable(job):
            return {}
        keys = {asset: object_key(job.job_id, asset) for asset in assets}
        held = await self._bucket.held(keys.values())
        return {
            asset.download_field: self._signer.sign("GET", key, self._validity())
            for asset, key in keys.items()
            if key in held
        }

    def _is_readable(self, job: Job) -> bool:
        since = self._options.world.download_urls
        return since == "joined" or (since == "after-review" and job.is_reviewed)

    async def has(self, job: Job, asset: Asset) -> bool:
        """Whether the job's object is in the store."""
        return bool(await self._bucket.held([object_key(job.job_id, asset)]))

    def _validity(self, later: int = 0) -> Validity:
        return Validity(self._clock(), self._options.url_lifetime_seconds + later)


def wanted_uploads(options: SimulatorOptions, is_action_asked_for: bool) -> tuple[Asset, ...]:
    """Return the multipart assets a job gets URLs for."""
    return MULTIPART if is_action_asked_for or not options.can_omit_urls else (MULTIPART[0],)
