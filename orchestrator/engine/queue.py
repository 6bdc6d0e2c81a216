"""Which entry a worker takes next: started ones first, so that URLs are used while they are fresh."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection

import anyio

from orchestrator.domain.states import AFTER_SUBMIT, EntryState
from orchestrator.journal.journal import Journal
from orchestrator.journal.records import EntryRecord

#: Nothing a run could do for these.
_LEFT_ALONE = frozenset({EntryState.CANCELLED, *AFTER_SUBMIT})


class EntryQueue:
    """The unfinished entries of a batch, read page by page and shared by all workers."""

    def __init__(
        self,
        journal: Journal,
        batch: str,
        *,
        is_submit_wanted: bool,
        excluded: Collection[str],
        run_began_at: float,
    ) -> None:
        """Leave out *excluded* ids; *run_began_at* keeps what failed in this run from coming again."""
        done = {EntryState.CONFIRMED} if not is_submit_wanted else set()
        self._states = [state for state in EntryState if state not in _LEFT_ALONE | done]
        self._journal = journal
        self._batch = batch
        self._excluded = excluded
        self._run_began_at = run_began_at
        self._records = self._read()
        self._lock = anyio.Lock()

    async def take(self) -> EntryRecord | None:
        """The next entry; None when there is none left."""
        async with self._lock:
            return await anext(self._records, None)

    async def close(self) -> None:
        """Let go of the journal."""
        await self._records.aclose()

    async def _read(self) -> AsyncGenerator[EntryRecord]:
        for has_job in (True, False):
            async for record in self._journal.entries(self._batch, states=self._states, has_job=has_job):
                if record.entry_id not in self._excluded and not self._has_failed_now(record):
                    yield record

    def _has_failed_now(self, record: EntryRecord) -> bool:
        return record.state is EntryState.FAILED and record.updated_at >= self._run_began_at
