"""Cancelling entries: deleting their jobs where the service allows it, and reporting why where it does not."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.domain.entries import BatchKey
from orchestrator.domain.errors import RequestRejectedError, StaleEpochError
from orchestrator.domain.states import EntryState
from orchestrator.engine.events import EntryTransitioned
from orchestrator.engine.job_ownership import JobFinder, contents_of
from orchestrator.journal.journal import Journal
from orchestrator.journal.records import EntryRecord, ErrorRecord
from orchestrator.metastudio.client import MetaStudioClient

if TYPE_CHECKING:
    from orchestrator.engine.events import EventBus

#: States of entries that cannot be cancelled: finished, or already cancelled.
LEFT_ALONE = frozenset({EntryState.TRAINED, EntryState.CANCELLED})
#: A worker writes to an entry many times, but seldom twice between our read of it and our claim.
_CLAIMS = 5


@dataclass(frozen=True, slots=True)
class Cancellation:
    """The outcome for one entry: its job is deleted, or *refusal* gives the reason why not.

    *remark* names jobs that were left alone: they may be the entry's but are not proved to be, or may hold files.
    """

    entry_id: str
    job_id: str | None
    refusal: str | None
    remark: str | None = None


class Canceller:
    """Cancels entries of a batch whose lock the caller holds; fleet workers that hold one of them are fenced off."""

    def __init__(self, journal: Journal, client: MetaStudioClient, events: EventBus) -> None:
        self._journal = journal
        self._client = client
        self._events = events
        self._finder = JobFinder(journal, client)

    async def cancel(self, batch: BatchKey, entry_ids: Collection[str] | None) -> list[Cancellation]:
        """Cancel the entries of *batch*, or only those named; they need not be in the manifest.

        Trained and cancelled entries are left alone. Raises StaleEpochError when a worker keeps writing to an entry.
        """
        if entry_ids is None:
            records = [record async for record in self._journal.entries(batch.digest)]
        else:
            records = list((await self._journal.entries_named(batch.digest, entry_ids)).values())
        cancellations = []
        for known in records:
            if known.state in LEFT_ALONE:
                continue
            record = await self._claimed(known)
            if record is None:
                continue
            try:
                job_ids, remark = await self._jobs_of(record)
                for job_id in job_ids:
                    await self._client.delete_job(job_id, app_user_id=record.avatar.app_user_id)
            except RequestRejectedError as error:
                reason = ErrorRecord(
                    error.kind,
                    error.code,
                    f"the service does not let this job be deleted: {error.message}",
                    error.request_id,
                    "a job that has passed its first review stays; follow it with watch",
                )
                await self._journal.set_facts(record, **reason.columns())
                cancellations.append(Cancellation(record.entry_id, record.job_id, error.message))
                continue
            await self._journal.transition(record, EntryState.CANCELLED, "cancelled; its job was deleted")
            self._events.publish(
                EntryTransitioned(
                    batch=batch.name,
                    entry=record.entry_id,
                    job_id=record.job_id,
                    from_state=record.state,
                    to_state=EntryState.CANCELLED,
                    reason="cancelled",
                )
            )
            cancellations.append(Cancellation(record.entry_id, record.job_id, None, remark))
        return cancellations

    async def _claimed(self, known: EntryRecord) -> EntryRecord | None:
        """Claim the entry from a fleet worker that may be writing to it; return None when it finishes first."""
        record: EntryRecord | None = known
        for tries_left in reversed(range(_CLAIMS)):
            if record is None or record.state in LEFT_ALONE:
                break
            try:
                return await self._journal.claim(record)
            except StaleEpochError:
                if not tries_left:
                    raise
            record = await self._journal.entry(known.batch, known.entry_id)
        return None

    async def _jobs_of(self, record: EntryRecord) -> tuple[list[str], str | None]:
        """Return the entry's job, or the jobs its lost create is proved to have made, and a remark for people."""
        if record.job_id is not None:
            return [record.job_id], None
        if record.create_tag is None:
            return [], None
        found = await self._finder.find(record)
        app_user_id = record.avatar.app_user_id
        remarks = [found.about_suspects()]
        job_ids = []
        for job in found.ours:
            contents = await contents_of(self._client, job.job_id, app_user_id)
            if contents is None or contents.is_seen_empty:
                job_ids.append(job.job_id)
            else:
                remarks.append(f"job {job.job_id} was kept: it may hold files that another journal sent")
        return job_ids, "; ".join(filter(None, remarks)) or None
