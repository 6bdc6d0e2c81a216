"""Tidying up: finished batches in the journal, and jobs of ours that nobody owns."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from orchestrator.domain.avatar import TAG_PREFIX
from orchestrator.domain.service_states import WAIT_FILE_UPLOAD
from orchestrator.domain.states import AFTER_SUBMIT, EntryState
from orchestrator.journal.journal import Journal
from orchestrator.journal.records import BatchRecord
from orchestrator.metastudio.client import MetaStudioClient
from orchestrator.metastudio.requests import JobQuery

_FINISHED = frozenset(
    {EntryState.CONFIRMED, EntryState.CANCELLED, *AFTER_SUBMIT} - {EntryState.REVIEW_FAILED}
)


@dataclass(frozen=True, slots=True)
class Orphan:
    """A job with tags of one of our batches, *batch* its digest, that no entry of the journal owns."""

    batch: str
    tags: tuple[str, ...]
    job_id: str
    name: str
    batch_name: str | None
    create_time: str | None
    app_user_id: str | None


async def finished_batches(journal: Journal, *, run_before: float) -> list[BatchRecord]:
    """The batches whose last run was before *run_before* (epoch seconds) and in which nothing is left to do."""
    old = [batch for batch in await journal.batches() if (batch.last_run_at or 0.0) < run_before]
    return [batch for batch in old if await is_finished(journal, batch)]


async def is_finished(journal: Journal, batch: BatchRecord) -> bool:
    """True when a run of the batch would have nothing left to do, for removed entries neither."""
    return set(await journal.counts(batch.batch, with_removed=True)) <= _FINISHED


async def orphans(journal: Journal, client: MetaStudioClient) -> AsyncIterator[Orphan]:
    """Jobs that wait for files, carry the tag of a batch in this journal, and belong to no entry of it.

    Jobs of batches that another journal keeps are not ours to judge. A create whose answer is outstanding is
    no orphan: the next run settles it.
    """
    batches = {batch.batch for batch in await journal.batches()}
    async for job in client.iterate_jobs(JobQuery(state=(WAIT_FILE_UPLOAD,))):
        tags = tuple(tag for tag in job.tags if tag_batch(tag) in batches)
        if tags and not await journal.owns_job(job.job_id, tags):
            batch = tag_batch(tags[0]) or ""
            yield Orphan(batch, tags, job.job_id, job.name, job.batch_name, job.create_time, job.app_user_id)


def tag_batch(tag: str) -> str | None:
    """The batch digest in a tag that `create_tag` made; None for anybody else's tag."""
    if not tag.startswith(TAG_PREFIX):
        return None
    return tag.removeprefix(TAG_PREFIX).partition(":")[0]


async def delete_orphan(journal: Journal, client: MetaStudioClient, orphan: Orphan) -> bool:
    """Delete the job, whose batch's lock the caller holds; False when an entry has come to own it.

    Raises RequestRejectedError when the service keeps it.
    """
    if await journal.owns_job(orphan.job_id, orphan.tags):
        return False
    await client.delete_job(orphan.job_id, app_user_id=orphan.app_user_id)
    return True
