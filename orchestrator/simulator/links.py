"""The URLs a job's answers carry: where to put its files, where to get them."""

from collections.abc import Callable
from random import Random

from orchestrator.simulator.assets import ASSETS, AUDIO, MULTIPART, SINGLE, Asset, object_key
from orchestrator.simulator.jobs import Job
from orchestrator.simulator.objects import ObjectStore
from orchestrator.simulator.options import SimulatorOptions
from orchestrator.simulator.persistence import Document
from orchestrator.simulator.urls import StoreKeys, presign


class Links:
    """Signs URLs of one bucket at one endpoint."""

    def __init__(
        self,
        options: SimulatorOptions,
        store: ObjectStore,
        endpoint: Callable[[], str],
        clock: Callable[[], float],
    ) -> None:
        self._options = options
        self._store = store
        self._endpoint = endpoint
        self._clock = clock
        self._random = Random(options.seed)
        self._keys = StoreKeys(options.store_ak, options.store_sk)

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
        if self._options.is_url_order_shuffled:
            self._random.shuffle(numbers)
        upload_id = job.upload_ids[asset.kind]
        return [
            self._put_url(job.job_id, asset, parameters={"partNumber": str(number), "uploadId": upload_id})
            for number in numbers[: self._options.cap_urls]
        ]

    def _put_url(
        self, job_id: str, asset: Asset, *, later: int = 0, parameters: dict[str, str] | None = None
    ) -> str:
        return presign(
            self._keys,
            self._endpoint(),
            "PUT",
            f"/{self._options.bucket}/{object_key(job_id, asset)}",
            self._expires() + later,
            content_type=asset.content_type,
            parameters=parameters,
        )

    def downloads(self, job: Job, assets: tuple[Asset, ...] = ASSETS) -> Document:
        """Return the download URL fields of those assets that can be read."""
        return {
            asset.download_field: self._get_url(job.job_id, asset) for asset in assets if self.has(job, asset)
        }

    def has(self, job: Job, asset: Asset) -> bool:
        """Whether the job's object is in the store."""
        return object_key(job.job_id, asset) in self._store.objects

    def _get_url(self, job_id: str, asset: Asset) -> str:
        path = f"/{self._options.bucket}/{object_key(job_id, asset)}"
        return presign(self._keys, self._endpoint(), "GET", path, self._expires())

    def _expires(self) -> int:
        return int(self._clock() + self._options.url_lifetime_seconds)


def wanted_uploads(options: SimulatorOptions, is_action_asked_for: bool) -> tuple[Asset, ...]:
    """Return the multipart assets a job gets URLs for."""
    return MULTIPART if is_action_asked_for or not options.can_omit_urls else (MULTIPART[0],)
