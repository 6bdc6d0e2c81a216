"""Ownership of jobs: finding the job of a create whose answer was lost, its contents, and taking a job over.

A job that this journal did not fill itself and that already holds its films stays as it is. Its files are compared as
far as the service shows them.

Tested by tests/engine/test_existing_jobs.py and tests/engine/test_lost_creates.py.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.domain.assets import Asset, AssetKind, plan_segments
from orchestrator.domain.entries import (
    SeenJob,
    instant,
    listed_since,
    may_be_ours,
    normal,
    proves_ours,
)
from orchestrator.domain.errors import DecisionNeededError, RequestRejectedError
from orchestrator.domain.evidence import VERIFIED, expected_etag, is_md5
from orchestrator.domain.states import WAIT_FILE_UPLOAD, EntryState
from orchestrator.engine.events import Point
from orchestrator.journal.reading import JournalReader
from orchestrator.journal.records import EntryRecord
from orchestrator.metastudio.client import MetaStudioClient
from orchestrator.metastudio.wire import Command, JobDetail, JobQuery, JobSummary

if TYPE_CHECKING:
    from orchestrator.engine.context import Run
    from orchestrator.engine.entry import ClaimedEntry

#: The most jobs searched for a tag; more are only listed by a service that ignores every filter.
MAX_LISTED_JOBS = 2000
#: The most show calls for one tag, when the list does not include tags.
MAX_SHOWN_JOBS = 20
ADOPTED = "unverified (adopted)"
#: The number of parts, 1 to 10000, that ends the ETag of a joined object (metastudio-protocol section 5.2).
_PART_COUNT = re.compile(r"([1-9][0-9]{0,3}|10000)?")


@dataclass(slots=True)
class JobSearch:
    """The jobs that a create is proved to have made, and those that it may have made."""

    ours: list[SeenJob] = field(default_factory=list)
    suspects: list[SeenJob] = field(default_factory=list)
    #: True when the job was made by another journal and got our tag by an update.
    is_takeover: bool = False

    def about_suspects(self) -> str | None:
        """Return a message that names the jobs which may be ours; None when there are none."""
        if not self.suspects:
            return None
        named = ", ".join(f"{job.job_id} ({job.name})" for job in self.suspects)
        return (
            f"the answer to a create was lost, and the service shows no tags to identify the job: job {named} "
            "may be left over from it and was not touched; delete it in the console if it holds no files"
        )


class JobFinder:
    """Finds the jobs made by the creates of this journal."""

    def __init__(self, journal: JournalReader, client: MetaStudioClient) -> None:
        self._journal = journal
        self._client = client

    async def find(self, record: EntryRecord) -> JobSearch:
        """Return the jobs of the entry's last create, without those that an entry owns."""
        tag = record.create_tag
        create = (await self._journal.creates_tagged([tag])).get(tag) if tag is not None else None
        if create is None:
            return JobSearch()
        query = JobQuery(tag=create.tag, create_since=listed_since(create.made_at), sort_dir="desc")
        app_user_id = record.avatar.app_user_id
        jobs = limited(self._client.iterate_jobs(query, app_user_id=app_user_id), MAX_LISTED_JOBS)
        listed = [seen async for job in jobs if may_be_ours(create, seen := seen_job(job))]
        found, shown = JobSearch(), 0
        for job in listed:
            known = job
            if not job.tags and shown < MAX_SHOWN_JOBS:
                shown += 1
                detail = await self._client.find_job(job.job_id, app_user_id=app_user_id)
                if detail is None:
                    continue
                known = seen_job(detail)
            is_ours = proves_ours(create, known)
            if (is_ours or not known.tags) and not await self._journal.owns_job(known.job_id):
                (found.ours if is_ours else found.suspects).append(known)
        found.is_takeover = bool(found.ours) and create.job_id is not None
        return found


def seen_job(job: JobSummary) -> SeenJob:
    """Return the facts of a list or show answer that identify a job's owner."""
    return SeenJob(
        job_id=job.job_id,
        name=job.name,
        batch_name=job.batch_name,
        tags=job.tags,
        created_at=instant(job.create_time),
    )


async def limited(jobs: AsyncIterator[JobSummary], limit: int) -> AsyncIterator[JobSummary]:
    """Yield the first *limit* of *jobs*."""
    count = 0
    async for job in jobs:
        yield job
        count += 1
        if count == limit:
            return


@dataclass(frozen=True, slots=True)
class JobContents:
    """A job and the parts of the training video it holds; `parts` is None when the service refuses to list them."""

    job: JobDetail
    parts: Mapping[int, str] | None = field(default_factory=dict)

    @property
    def is_seen_joined(self) -> bool:
        """True when the service shows that the training video is joined: its object, or a state after the upload."""
        is_shown = self.job.download_urls.of(AssetKind.TRAINING_VIDEO) is not None
        return is_shown or self.job.state != WAIT_FILE_UPLOAD

    @property
    def is_marked_joined(self) -> bool:
        """True when a job that waits for files shows joined parts, by its film or a refused list of parts."""
        return self.job.state == WAIT_FILE_UPLOAD and (self.is_seen_joined or self.parts is None)

    @property
    def is_seen_empty(self) -> bool:
        """True when the service lists no part and shows no film, so that the job can be deleted without loss.

        A refused list proves nothing: the service may refuse it after the join (metastudio-protocol section 5.2).
        """
        return not self.is_seen_joined and self.parts is not None and not self.parts

    @property
    def shows_other_files(self) -> bool:
        """True when any single file is shown: a service that shows files would also show the joined film."""
        urls = self.job.download_urls
        return any(urls.of(kind) is not None for kind in AssetKind if not kind.is_multipart)


async def contents_of(client: MetaStudioClient, job_id: str, app_user_id: str | None) -> JobContents | None:
    """Return the job's contents from the service; None when it has no such job."""
    job = await client.find_job(job_id, app_user_id=app_user_id)
    if job is None or job.state != WAIT_FILE_UPLOAD:
        return None if job is None else JobContents(job)
    # A refusal may be temporary, but its consequences are not, so the list is requested twice.
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
    """Takes over a job that another journal filled, for an entry of this one."""

    def __init__(self, run: Run) -> None:
        self._run = run

    async def contents(self, entry: ClaimedEntry, job_id: str) -> JobContents | None:
        """Return the job's contents from the service; None when it has no such job."""
        with entry.step(Point.SHOW):
            return await contents_of(self._run.client, job_id, entry.avatar.app_user_id)

    async def keep(self, entry: ClaimedEntry, contents: JobContents) -> None:
        """Journal the job as it stands.

        Raises DecisionNeededError when the job holds a file that differs from the entry's.
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

    async def _is_same(self, entry: ClaimedEntry, asset: Asset, contents: JobContents) -> bool | None:
        """True when the stored object equals the local file, False when not; None when that cannot be seen."""
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
