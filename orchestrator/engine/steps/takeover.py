"""Jobs that this journal did not fill itself: what one holds, and taking one over that holds its films already.

Such a job stays as it is, and its files are compared as far as the service shows them.

Tested by tests/engine/test_existing_jobs.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.domain.assets import Asset, AssetKind
from orchestrator.domain.entries import normal
from orchestrator.domain.errors import DecisionNeededError, RequestRejectedError
from orchestrator.domain.evidence import VERIFIED, expected_etag, is_md5
from orchestrator.domain.segments import plan_segments
from orchestrator.domain.states import WAIT_FILE_UPLOAD, EntryState
from orchestrator.engine.events import Point
from orchestrator.metastudio.client import MetaStudioClient
from orchestrator.metastudio.wire import Command, JobDetail

if TYPE_CHECKING:
    from orchestrator.engine.context import Run
    from orchestrator.engine.entry import HeldEntry

ADOPTED = "unverified (adopted)"
#: The number of parts, 1 to 10000, that ends the ETag of a joined object (metastudio-protocol section 5.2).
_PART_COUNT = re.compile(r"([1-9][0-9]{0,3}|10000)?")


@dataclass(frozen=True, slots=True)
class JobContents:
    """A job with the parts of the training video it holds; None when the service refuses to list them."""

    job: JobDetail
    parts: Mapping[int, str] | None = field(default_factory=dict)

    @property
    def is_seen_joined(self) -> bool:
        """True when the service shows that the training video is whole: the object, or a job that was handed in."""
        is_shown = self.job.download_urls.of(AssetKind.TRAINING_VIDEO) is not None
        return is_shown or self.job.state != WAIT_FILE_UPLOAD

    @property
    def is_marked_joined(self) -> bool:
        """True when the job, which still waits, shows by its film or its refused list that the parts are joined."""
        return self.job.state == WAIT_FILE_UPLOAD and (self.is_seen_joined or self.parts is None)

    @property
    def is_seen_empty(self) -> bool:
        """True when the service lists no part and shows no film: the job may go without a loss.

        A list that is refused proves nothing: it is what may follow on the join (metastudio-protocol section 5.2).
        """
        return not self.is_seen_joined and self.parts is not None and not self.parts

    @property
    def shows_other_files(self) -> bool:
        """True when a single file is shown: a service that shows files would show the joined film as well."""
        urls = self.job.download_urls
        return any(urls.of(kind) is not None for kind in AssetKind if not kind.is_multipart)


async def contents_of(client: MetaStudioClient, job_id: str, app_user_id: str | None) -> JobContents | None:
    """Ask what the job holds; None when the service has no such job."""
    job = await client.find_job(job_id, app_user_id=app_user_id)
    if job is None or job.state != WAIT_FILE_UPLOAD:
        return None if job is None else JobContents(job)
    # One refusal may pass; what follows from it does not.
    parts = await _listed_parts(client, job_id, app_user_id)
    return JobContents(job, await _listed_parts(client, job_id, app_user_id) if parts is None else parts)


async def _listed_parts(
    client: MetaStudioClient, job_id: str, app_user_id: str | None
) -> dict[int, str] | None:
    try:
        result = await client.command(job_id, Command.GET_MULTIPART_UPLOADED, app_user_id=app_user_id)
    except RequestRejectedError:
        return None
    return {part.part_number: part.etag.lower() for part in result.parts}


class Takeover:
    """Makes a job that another journal filled an entry's own."""

    def __init__(self, run: Run) -> None:
        self._run = run

    async def contents(self, entry: HeldEntry, job_id: str) -> JobContents | None:
        """Ask what the job holds; None when the service has no such job."""
        with entry.step(Point.SHOW):
            return await contents_of(self._run.client, job_id, entry.avatar.app_user_id)

    async def keep(self, entry: HeldEntry, contents: JobContents) -> None:
        """Write the job down as it stands.

        Raises DecisionNeededError when it shows a file that is not the entry's.
        """
        job = contents.job
        compared = [await self._is_same(entry, asset, contents) for asset in entry.record.assets]
        for asset, is_same in zip(entry.record.assets, compared, strict=True):
            if is_same is False:
                raise DecisionNeededError(
                    f"job {job.job_id} holds another {asset.kind} than {asset.path}",
                    code="Integrity",
                    hint="check the file; --on-existing create makes a new job beside it",
                )
        delivered = VERIFIED if all(compared) else ADOPTED
        if normal(job.name) != normal(entry.avatar.name):
            entry.warn(f"job {job.job_id} is called {job.name!r} on the service and keeps that name")
        target = EntryState.CONFIRMED if job.state == WAIT_FILE_UPLOAD else EntryState.SUBMITTED
        await entry.adopt_job(job.job_id, target, f"job taken over as it is ({job.state})", delivered)
        if delivered != VERIFIED:
            entry.warn(f"job {job.job_id} was taken over as it is; not all of its files could be compared")

    async def _is_same(self, entry: HeldEntry, asset: Asset, contents: JobContents) -> bool | None:
        """Whether the stored object is the local file; None when that cannot be seen."""
        url = contents.job.download_urls.of(asset.kind)
        facts = None if url is None else await self._run.probe(url)
        if facts is None or facts.length is None:
            return None
        if facts.length != asset.size:
            return False
        md5, _, count = (facts.etag or "").partition("-")
        if not is_md5(md5) or not _PART_COUNT.fullmatch(count):
            return None
        segments = plan_segments(asset.size, int(count or 1))
        digests = [await self._run.sender.digest(asset, segment) for segment in segments]
        return facts.etag == expected_etag(digests, is_multipart=bool(count))
