"""Inspection of the simulator for tests and people, without credentials, on loopback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from aiohttp import web

from orchestrator.simulator.faults import Faults
from orchestrator.simulator.jobs import Job
from orchestrator.simulator.links import ASSETS, object_key
from orchestrator.simulator.objects import ObjectStore
from orchestrator.simulator.stats import Stats


@dataclass(frozen=True)
class JobView:
    """A job with its objects on disk."""

    job_id: str
    name: str
    state: str
    batch_name: str | None
    tags: tuple[str, ...]
    app_user_id: str | None
    is_deleted: bool
    confirmations: dict[str, int]
    """Accepted confirms by asset kind."""
    submissions: int
    updates: int
    letters_confirmed: int
    objects: dict[str, Path]
    """The finished objects by asset kind; the objects and parts of a real object store are not read."""
    etags: dict[str, str]
    parts: dict[str, dict[int, str]]
    """ETags by part number of unconfirmed uploads, by asset kind."""


def view(job: Job, store: ObjectStore) -> JobView:
    """Return the job's current view."""
    keys = {asset.kind: object_key(job.job_id, asset) for asset in ASSETS}
    stored = {kind: store.objects[key] for kind, key in keys.items() if key in store.objects}
    return JobView(
        job_id=job.job_id,
        name=job.fields["name"],
        state=job.state,
        batch_name=job.fields["batch_name"],
        tags=tuple(job.fields["tags"] or ()),
        app_user_id=job.app_user_id,
        is_deleted=job.is_deleted,
        confirmations=dict(job.confirmations),
        submissions=job.submissions,
        updates=job.updates,
        letters_confirmed=job.letters_confirmed,
        objects={kind: store.path(found.key) for kind, found in stored.items()},
        etags={kind: found.etag for kind, found in stored.items()},
        parts={
            kind: {number: etag for number, (etag, _) in store.uploads[upload_id].parts.items()}
            for kind, upload_id in job.upload_ids.items()
            if upload_id in store.uploads
        },
    )


class InspectionApi:
    """The API for GET /_simulator/stats and GET /_simulator/jobs."""

    def __init__(self, stats: Stats, faults: Faults, jobs: Callable[[], list[JobView]]) -> None:
        self._stats = stats
        self._faults = faults
        self._jobs = jobs

    def routes(self) -> list[web.RouteDef]:
        """Return the inspection routes."""
        return [web.get("/_simulator/stats", self._show_stats), web.get("/_simulator/jobs", self._show_jobs)]

    async def _show_stats(self, _: web.Request) -> web.Response:
        return web.json_response({**self._stats.to_document(), "faults": dict(self._faults.counts)})

    async def _show_jobs(self, _: web.Request) -> web.Response:
        objects = (({kind: str(path) for kind, path in job.objects.items()}, job) for job in self._jobs())
        return web.json_response({"jobs": [{**asdict(job), "objects": paths} for paths, job in objects]})
