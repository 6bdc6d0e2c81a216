"""Taking jobs back: deleting them where the service allows it, saying why where it does not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass

from orchestrator.domain.errors import RequestRejectedError
from orchestrator.domain.states import EntryState
from orchestrator.engine.events import EntryTransitioned, EventBus
from orchestrator.journal.journal import Journal
from orchestrator.journal.records import EntryRecord, ErrorRecord
from orchestrator.metastudio.client import MetaStudioClient
from orchestrator.metastudio.requests import JobQuery

#: Finished, or cancelled already.
LEFT_ALONE = frozenset({EntryState.TRAINED, EntryState.CANCELLED})


@dataclass(frozen=True, slots=True)
class Cancellation:
    """What became of one entry: its job is gone, or *refusal* says why it is not."""

    entry_id: str
    job_id: str | None
    refusal: str | None


class Canceller:
    """Cancels entries of a batch whose lock the caller holds."""

    def __init__(self, journal: Journal, client: MetaStudioClient, events: EventBus) -> None:
        """Delete through *client*."""
        self._journal = journal
        self._client = client
        self._events = events

    async def cancel(self, batch: str, entry_ids: Collection[str] | None) -> list[Cancellation]:
        """Cancel the entries of *batch* that are not finished, or those named, which the manifest need not have."""
        return [
            await self._cancel(await self._journal.claim(record))
            async for record in self._meant(batch, entry_ids)
            if record.state not in LEFT_ALONE
        ]

    async def _meant(self, batch: str, entry_ids: Collection[str] | None) -> AsyncIterator[EntryRecord]:
        if entry_ids is None:
            async for record in self._journal.entries(batch):
                yield record
            return
        for record in (await self._journal.entries_named(batch, entry_ids)).values():
            yield record

    async def _cancel(self, record: EntryRecord) -> Cancellation:
        try:
            for job_id in await self._job_ids(record):
                await self._client.delete_job(job_id, app_user_id=record.avatar.app_user_id)
        except RequestRejectedError as error:
            await self._refused(record, error)
            return Cancellation(record.entry_id, record.job_id, error.message)
        await self._journal.transition(record, EntryState.CANCELLED, "cancelled; its job was deleted")
        self._events.publish(
            EntryTransitioned(
                entry=record.entry_id,
                job_id=record.job_id,
                from_state=record.state,
                to_state=EntryState.CANCELLED,
                reason="cancelled",
            )
        )
        return Cancellation(record.entry_id, record.job_id, None)

    async def _job_ids(self, record: EntryRecord) -> list[str]:
        """The entry's job; or, when the answer to its create was lost, whatever carries its tag."""
        if record.job_id is not None:
            return [record.job_id]
        tag = record.create_tag
        if tag is None:
            return []
        listed = self._client.iterate_jobs(JobQuery(tag=tag), app_user_id=record.avatar.app_user_id)
        return [job.job_id async for job in listed if not job.tags or tag in job.tags]

    async def _refused(self, record: EntryRecord, error: RequestRejectedError) -> None:
        reason = ErrorRecord(
            error.kind,
            error.code,
            f"the service does not let this job be deleted: {error.message}",
            error.request_id,
            "a job that has passed its first review stays; follow it with watch",
        )
        await self._journal.set_facts(record, **reason.columns())
