"""Finding the job of a create whose answer was lost: what is proved ours, and what only looks like it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from orchestrator.domain.entries import (
    SeenJob,
    instant,
    listed_since,
    may_be_ours,
    proves_ours,
)
from orchestrator.journal.reading import JournalReader
from orchestrator.journal.records import EntryRecord
from orchestrator.metastudio.client import MetaStudioClient
from orchestrator.metastudio.wire import JobQuery, JobSummary

#: Jobs looked through for a tag: more only come where the service pays no attention to any filter.
MAX_LISTED_JOBS = 2000
#: Jobs that are shown for one tag, where the list keeps tags to itself.
MAX_SHOWN_JOBS = 20


@dataclass(slots=True)
class Found:
    """Jobs that a create is proved to have made, and those that cannot be told apart from them."""

    ours: list[SeenJob] = field(default_factory=list)
    suspects: list[SeenJob] = field(default_factory=list)
    #: True for the job of another journal that got our tag by an update.
    is_takeover: bool = False

    def about_suspects(self) -> str | None:
        """A sentence that names the jobs which may be ours; None when there are none."""
        if not self.suspects:
            return None
        named = ", ".join(f"{job.job_id} ({job.name})" for job in self.suspects)
        return (
            f"the answer to a create was lost, and the service shows no tags to identify the job: job {named} "
            "may be left over from it and was not touched; delete it in the console if it holds no files"
        )


class JobFinder:
    """Asks the service for the jobs of creates that this journal made."""

    def __init__(self, journal: JournalReader, client: MetaStudioClient) -> None:
        self._journal = journal
        self._client = client

    async def find(self, record: EntryRecord) -> Found:
        """The jobs of the entry's last create; none that another entry owns."""
        tag = record.create_tag
        create = (await self._journal.creates_tagged([tag])).get(tag) if tag is not None else None
        if create is None:
            return Found()
        query = JobQuery(tag=create.tag, create_since=listed_since(create.made_at), sort_dir="desc")
        app_user_id = record.avatar.app_user_id
        jobs = limited(self._client.iterate_jobs(query, app_user_id=app_user_id), MAX_LISTED_JOBS)
        listed = [seen async for job in jobs if may_be_ours(create, seen := seen_job(job))]
        found, shown = Found(), 0
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
    """What a job's list or show answer says of whose it is."""
    return SeenJob(
        job_id=job.job_id,
        name=job.name,
        batch_name=job.batch_name,
        tags=job.tags,
        created_at=instant(job.create_time),
    )


async def limited(jobs: AsyncIterator[JobSummary], limit: int) -> AsyncIterator[JobSummary]:
    """The first *limit* of *jobs*."""
    count = 0
    async for job in jobs:
        yield job
        count += 1
        if count == limit:
            return
