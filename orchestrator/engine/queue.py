"""Which entry a worker takes next: started ones first, so that URLs are used while they are fresh."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection

import anyio

from orchestrator.domain.states import AFTER_SUBMIT, EntryState
from orchestrator.journal.journal import Journal
from orchestrator.journal.records import EntryRecord

#: States in which nothing is left to do without a person, unless a change is wanted.
_AT_REST = frozenset({EntryState.CANCELLED, *AFTER_SUBMIT})

Selection = Callable[[EntryRecord], bool]


def unfinished(*, is_submit_wanted: bool, undecided: Collection[str] = ()) -> Selection:
    """What `run` works on: all that is not done, but for the entries a person must decide on."""

    def is_selected(record: EntryRecord) -> bool:
        if record.entry_id in undecided:
            return False
        if record.change_wanted is not None:
            return True
        is_submit_left = is_submit_wanted or record.is_submit_wanted
        if record.state is EntryState.CONFIRMED:
            return is_submit_left
        return record.state not in _AT_REST

    return is_selected


def failed(entry_ids: Collection[str] | None) -> Selection:
    """What `retry` works on: what failed, or has changes that a review asked for; *entry_ids* when given."""

    def is_selected(record: EntryRecord) -> bool:
        if entry_ids is not None and record.entry_id not in entry_ids:
            return False
        return record.state is EntryState.FAILED or record.change_wanted is not None

    return is_selected


def uploaded(record: EntryRecord) -> bool:
    """What `submit` works on: jobs that hold their files and are not with review yet."""
    return record.confirmed_at is not None and record.submitted_at is None


class EntryQueue:
    """The selected entries of a batch, read page by page and shared by all workers."""

    def __init__(self, journal: Journal, batch: str, selection: Selection) -> None:
        """Give out what *selection* takes."""
        self._journal = journal
        self._batch = batch
        self._selection = selection
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
        # An entry may lose its job while a worker has it: it must not be given out a second time.
        given: set[str] = set()
        async for record in self._journal.entries(self._batch, has_job=True):
            if self._selection(record):
                given.add(record.entry_id)
                yield record
        async for record in self._journal.entries(self._batch, has_job=False):
            if record.entry_id not in given and self._selection(record):
                yield record
