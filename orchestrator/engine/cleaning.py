"""Cleanup: finished batches in the journal, and jobs made by this program that no entry owns."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.entries import BatchKey, SeenJob, normal, parse_tag, proves_ours
from orchestrator.domain.states import AFTER_SUBMIT, WAIT_FILE_UPLOAD, EntryState
from orchestrator.engine.job_ownership import contents_of, seen_job
from orchestrator.journal.journal import Journal
from orchestrator.journal.records import BatchRecord
from orchestrator.metastudio.client import MetaStudioClient
from orchestrator.metastudio.wire import JobQuery, JobSummary

_FINISHED = frozenset(
    {EntryState.CONFIRMED, EntryState.CANCELLED, *AFTER_SUBMIT} - {EntryState.REVIEW_FAILED}
)


class Origin(StrEnum):
    """The origin of a leftover job."""

    ORPHAN = "orphan"  #: a create of this journal made it
    FOREIGN = "foreign"  #: another journal made it, or its origin is unknown


@dataclass(frozen=True, slots=True)
class LeftoverJob:
    """A job of one of our batches that waits for files and that no entry of the journal owns.

    *batch* is the digest of the batch, *batch_name* the name that the service shows; *tags* are those of our batches.
    """

    origin: Origin
    batch: str
    tags: tuple[str, ...]
    job_id: str
    name: str
    batch_name: str | None
    create_time: str | None
    app_user_id: str | None


async def finished_batches(journal: Journal, *, run_before: float) -> list[BatchRecord]:
    """Return the batches whose last run was before *run_before* (epoch seconds) and that are finished."""
    old = [batch for batch in await journal.batches() if (batch.last_run_at or 0.0) < run_before]
    return [batch for batch in old if await is_finished(journal, batch)]


async def is_finished(journal: Journal, batch: BatchRecord) -> bool:
    """True when a run of the batch would have nothing left to do, even for entries removed from the manifest."""
    return set(await journal.counts(batch.batch, with_removed=True)) <= _FINISHED


async def leftover_jobs(journal: Journal, client: MetaStudioClient) -> AsyncIterator[LeftoverJob]:
    """Yield the leftover jobs of our batches, whichever journal made them.

    The job of a create whose answer is outstanding is not left over: the next run settles it.
    """
    keys = {
        batch.batch: BatchKey(batch.endpoint, batch.project_id, batch.name)
        for batch in await journal.batches()
    }
    batches = {digest: known for known, key in keys.items() for digest in (known, *key.digests)}
    classifier = _LeftoverClassifier(journal, client, batches)
    await classifier.load()
    async for job in client.iterate_jobs(JobQuery(state=(WAIT_FILE_UPLOAD,))):
        # It is not documented whether the service applies the filter.
        leftover = await classifier.classify(job) if job.state == WAIT_FILE_UPLOAD else None
        if leftover is not None:
            yield leftover


class _LeftoverClassifier:
    """Classifies jobs by the creates of one journal; *batches* maps each digest of a batch to the journal's."""

    def __init__(self, journal: Journal, client: MetaStudioClient, batches: Mapping[str, str]) -> None:
        self._journal = journal
        self._client = client
        self._batches = batches
        #: The batches of the creates, by the names of batch and job.
        self._created: dict[tuple[str, str], str] = {}

    async def load(self) -> None:
        """Read the job names of this journal's creates: without tags, only they show which jobs to check."""
        async for create in self._journal.creates():
            for name in create.names:
                self._created[normal(create.batch_name), normal(name)] = create.batch

    async def classify(self, job: JobSummary) -> LeftoverJob | None:
        """Return the job with its origin; None for a job of another batch, or one that an entry owns."""
        batch = self._created.get((normal(job.batch_name or ""), normal(job.name)))
        if not job.tags and batch is not None and not await self._journal.owns_job(job.job_id):
            job = await self._client.find_job(job.job_id, app_user_id=job.app_user_id) or job
        tags = tuple(tag for tag in job.tags if tag_batch(tag) in self._batches)
        if job.tags:
            batch = self._batches[tag_batch(tags[0]) or ""] if tags else None
        if batch is None or await self._journal.owns_job(job.job_id, tags):
            return None
        origin = Origin.ORPHAN if await is_ours(self._journal, seen_job(job), tags) else Origin.FOREIGN
        return LeftoverJob(
            origin, batch, tags, job.job_id, job.name, job.batch_name, job.create_time, job.app_user_id
        )


async def is_ours(journal: Journal, job: SeenJob, tags: Collection[str]) -> bool:
    """True when one of *tags* proves that this journal made the job."""
    creates = await journal.creates_tagged(tags) if tags else {}
    return any(proves_ours(create, job) for create in creates.values())


def tag_batch(tag: str) -> str | None:
    """Return the batch digest in a tag of this program; None for any other tag."""
    parsed = parse_tag(tag)
    return None if parsed is None else parsed.batch


async def delete_orphan(journal: Journal, client: MetaStudioClient, orphan: LeftoverJob) -> str | None:
    """Delete *orphan* and return None, or return the reason why it stays; the caller holds its batch's lock.

    Raises RequestRejectedError when the service refuses to delete it.
    """
    contents = await contents_of(client, orphan.job_id, orphan.app_user_id)
    if contents is None:
        return None
    if not contents.is_seen_empty:
        return "it may hold files"
    if await journal.owns_job(orphan.job_id, orphan.tags):
        return "an entry has taken it over"
    await client.delete_job(orphan.job_id, app_user_id=orphan.app_user_id)
    return None
