"""One run of a batch: workers bring entries to their end until none is left or the run drains."""

from __future__ import annotations

import logging

import anyio

from orchestrator.domain.errors import (
    OrchestratorError,
    RunError,
    StaleEpochError,
    StoppedError,
)
from orchestrator.domain.states import is_done
from orchestrator.engine.breaker import Breaker
from orchestrator.engine.context import Collaborators
from orchestrator.engine.entry import HeldEntry
from orchestrator.engine.events import EntryFinished, EntryStarted
from orchestrator.engine.lifecycle import Lifecycle
from orchestrator.engine.queue import EntryQueue
from orchestrator.journal.records import EntryRecord

#: The standard library's, since most runs log nothing and need not load more.
log = logging.getLogger(__name__)


class BatchRun:
    """Works on the entries of one batch; one entry's failure never stops the others."""

    def __init__(self, collaborators: Collaborators, queue: EntryQueue) -> None:
        """Take entries from *queue*."""
        self._with = collaborators
        self._queue = queue
        self._lifecycle = Lifecycle(collaborators)
        self._breaker = Breaker(collaborators.settings.breaker_entries)
        #: Entries that another worker took over while this run had them.
        self.lost_entries = 0

    async def run(self) -> None:
        """Work until the queue is empty or the run drains; what stopped it is in the drain's cause."""
        try:
            async with anyio.create_task_group() as group:
                for _ in range(self._with.settings.jobs):
                    group.start_soon(self._work)
        finally:
            with anyio.CancelScope(shield=True):
                await self._queue.close()

    async def _work(self) -> None:
        while not self._with.drain.is_draining:
            record = await self._take()
            if record is None:
                return
            with self._with.slots.part(record.entry_id):
                await self._bring_to_its_end(record)

    async def _take(self) -> EntryRecord | None:
        try:
            return await self._queue.take()
        except RunError as error:
            self._with.drain.begin(error.message, error)
            return None

    async def _bring_to_its_end(self, record: EntryRecord) -> None:
        """The boundary at which an entry's failure stays its own."""
        entry: HeldEntry | None = None
        try:
            entry = await self._claim(record)
            await self._advance(entry)
        except StoppedError:
            pass
        except StaleEpochError as error:
            self.lost_entries += 1
            log.warning(
                "entry.taken_over", extra={"told": {"entry": record.entry_id, "reason": error.message}}
            )
        except RunError as error:
            self._with.drain.begin(error.message, error)
        except OrchestratorError as error:
            await self._fail(entry, error)
        except Exception:
            log.exception(
                "entry.crashed", extra={"told": {"entry": record.entry_id, "job_id": record.job_id}}
            )
            await self._fail(entry, _bug(record))

    async def _claim(self, record: EntryRecord) -> HeldEntry:
        claimed = HeldEntry(record, self._with)
        with claimed.step("journal.claim"):
            claimed.record = await self._with.journal.claim(record)
        return claimed

    async def _advance(self, entry: HeldEntry) -> None:
        await entry.load_segments()
        self._with.events.publish(
            EntryStarted(
                entry=entry.entry_id,
                job_id=entry.record.job_id,
                state=entry.record.state,
                bytes_total=entry.record.bytes,
                bytes_left=entry.record.bytes - entry.stored_bytes(),
            )
        )
        await self._lifecycle.advance(entry)
        self._breaker.passed()
        self._let_go(entry)

    async def _fail(self, entry: HeldEntry | None, error: OrchestratorError) -> None:
        if entry is None:
            return
        try:
            await entry.failed(error)
        except (RunError, StaleEpochError) as failure:
            self._with.drain.begin(failure.message, failure if isinstance(failure, RunError) else None)
            return
        self._let_go(entry)
        cause = self._breaker.failed(error)
        if cause is not None:
            self._with.drain.begin(cause.message, cause)
        elif self._with.settings.is_fail_fast:
            self._with.drain.begin(f"--fail-fast: entry {entry.entry_id} failed")

    def _let_go(self, entry: HeldEntry) -> None:
        state = entry.record.state
        self._with.events.publish(
            EntryFinished(
                entry=entry.entry_id,
                job_id=entry.record.job_id,
                state=state,
                is_done=is_done(state, with_submit=self._with.settings.is_submit_wanted),
            )
        )


def _bug(record: EntryRecord) -> OrchestratorError:
    return OrchestratorError(
        f"an unexpected error stopped entry {record.entry_id}",
        code="Internal",
        hint="the log has the details (-v, --log-file); please report it",
    )
