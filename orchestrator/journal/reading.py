"""What the journal can tell."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Table, and_, func, or_, select

from orchestrator.domain.states import EntryState
from orchestrator.journal.database import Database
from orchestrator.journal.records import (
    ENTRY_COLUMNS,
    OUTCOME_COLUMNS,
    AttemptRecord,
    BatchRecord,
    EntryRecord,
    OutcomeRecord,
    SegmentRecord,
    TransitionRecord,
    entry_record,
    outcome_record,
    segment_record,
)
from orchestrator.journal.statements import key_name, select_entries
from orchestrator.journal.tables import attempts, batches, entries, segments, transitions

#: Rows read at once, so that memory does not grow with the batch.
PAGE_ROWS = 500
#: The position of an entry that the manifest no longer has.
NOT_IN_MANIFEST = -1


class JournalReader:
    """Reads of one journal; each sees one consistent state."""

    def __init__(self, database: Database) -> None:
        """Take an open *database*."""
        self._database = database

    async def batches(self) -> list[BatchRecord]:
        """All batches, the latest run first."""
        wanted = select(batches).order_by(batches.c.last_run_at.desc())
        rows = await self._database.read(wanted)
        return [BatchRecord(**row) for row in rows.mappings()]

    async def counts(self, batch: str, *, with_removed: bool = False) -> dict[EntryState, int]:
        """How many entries of *batch* are in each state; *with_removed* those the manifest has no more as well."""
        first = NOT_IN_MANIFEST if with_removed else 0
        wanted = (
            select(entries.c.state, func.count())
            .where(entries.c.batch == batch, entries.c.position >= first)
            .group_by(entries.c.state)
        )
        rows = await self._database.read(wanted)
        return {EntryState(state): count for state, count in rows}

    async def job_counts(self, batch: str) -> dict[tuple[EntryState, str | None], int]:
        """How many entries of *batch* are in each state, told apart by what the service says of their jobs."""
        wanted = (
            select(entries.c.state, entries.c.service_state, func.count())
            .where(entries.c.batch == batch, entries.c.position >= 0)
            .group_by(entries.c.state, entries.c.service_state)
        )
        rows = await self._database.read(wanted)
        return {(EntryState(state), service_state): count for state, service_state, count in rows}

    async def failures(self, batch: str) -> dict[str, int]:
        """How many entries of *batch* have failed, by the kind of error."""
        wanted = (
            select(entries.c.error_kind, func.count())
            .where(
                entries.c.batch == batch,
                entries.c.position >= 0,
                entries.c.state == EntryState.FAILED.value,
            )
            .group_by(entries.c.error_kind)
        )
        rows = await self._database.read(wanted)
        return {str(kind): int(count) for kind, count in rows}

    async def entry(self, batch: str, entry_id: str) -> EntryRecord | None:
        """One entry, None when the journal has none of that name."""
        found = await self.entries_named(batch, [entry_id])
        return found.get(entry_id)

    async def entries_named(self, batch: str, entry_ids: Collection[str]) -> dict[str, EntryRecord]:
        """The entries of *batch* among *entry_ids*, at most some hundreds at once."""
        keys = {key_name(number): entry_id for number, entry_id in enumerate(entry_ids)}
        rows = await self._database.read_rows(select_entries(len(keys)), {"key_batch": batch, **keys})
        return {record.entry_id: record for record in map(entry_record, rows)}

    async def entries(
        self, batch: str, *, states: Collection[EntryState] | None = None, has_job: bool | None = None
    ) -> AsyncIterator[EntryRecord]:
        """The entries of *batch* in manifest order, read page by page.

        *has_job* asks for those that may, or may not, have a job on the service.
        """
        async for page in self._pages(batch, ENTRY_COLUMNS, _conditions(states, has_job)):
            for row in page:
                yield entry_record(row)

    async def unfinished_entries(
        self, batch: str, states: Collection[EntryState], *, has_job: bool
    ) -> AsyncIterator[EntryRecord]:
        """The entries in *states*, and those whose job is in the middle of being changed or amended."""
        is_changing = entries.c.change_wanted.is_not(None)
        is_amended = entries.c.is_submit_wanted.is_(True) & entries.c.submitted_at.is_(None)
        is_in_states = or_(*_conditions(states, None), is_changing, is_amended)
        async for page in self._pages(batch, ENTRY_COLUMNS, [*_conditions(None, has_job), is_in_states]):
            for row in page:
                yield entry_record(row)

    async def outcomes(self, batch: str) -> AsyncIterator[OutcomeRecord]:
        """What has become of the entries of *batch*, in manifest order: a small part of what is known of them."""
        async for page in self._pages(batch, OUTCOME_COLUMNS, []):
            for row in page:
                yield outcome_record(row)

    async def _pages(
        self, batch: str, columns: Sequence[str], conditions: Sequence[ColumnElement[bool]]
    ) -> AsyncIterator[Sequence[tuple[Any, ...]]]:
        """The *columns*, with the position among them, of the entries of *batch*, page by page."""
        wanted = select(*(entries.c[name] for name in columns)).order_by(entries.c.position).limit(PAGE_ROWS)
        place, position = columns.index("position"), -1
        while True:
            rest = (entries.c.batch == batch, entries.c.position > position, *conditions)
            page = await self._database.read_rows(wanted.where(*rest))
            yield page
            if len(page) < PAGE_ROWS:
                return
            position = page[-1][place]

    async def owns_job(self, job_id: str, tags: Collection[str]) -> bool:
        """True when an entry has the job, or waits to learn of one with one of *tags*."""
        wanted = (
            select(entries.c.entry_id)
            .where((entries.c.job_id == job_id) | entries.c.create_tag.in_(tags))
            .limit(1)
        )
        rows = await self._database.read(wanted)
        return rows.first() is not None

    async def entry_ids(self, batch: str) -> set[str]:
        """The ids of all entries the manifest had at the last run."""
        wanted = select(entries.c.entry_id).where(entries.c.batch == batch, entries.c.position >= 0)
        return {entry_id for (entry_id,) in await self._database.read_rows(wanted)}

    async def segments(self, record: EntryRecord) -> list[SegmentRecord]:
        """The segments of an entry's job, asset by asset in part order."""
        wanted = (
            select(segments)
            .where(_is_of(segments, record))
            .order_by(segments.c.asset, segments.c.part_number)
        )
        rows = await self._database.read(wanted)
        return [segment_record(row) for row in rows.mappings()]

    async def stored_bytes(self, batch: str, entry_ids: Collection[str]) -> dict[str, int]:
        """Bytes that have their receipt, by entry, for those of *entry_ids* that have any."""
        wanted = (
            select(segments.c.entry_id, func.sum(segments.c.length))
            .where(
                segments.c.batch == batch,
                segments.c.entry_id.in_(entry_ids),
                segments.c.stored_at.is_not(None),
            )
            .group_by(segments.c.entry_id)
        )
        rows = await self._database.read(wanted)
        return {entry_id: int(total) for entry_id, total in rows}

    async def count_stored(self, batch: str) -> tuple[int, int]:
        """Segments and bytes that have their receipt, of the entries the manifest has."""
        wanted = (
            select(func.count(), func.coalesce(func.sum(segments.c.length), 0))
            .join(
                entries,
                (entries.c.batch == segments.c.batch) & (entries.c.entry_id == segments.c.entry_id),
            )
            .where(segments.c.batch == batch, segments.c.stored_at.is_not(None), entries.c.position >= 0)
        )
        count, stored_bytes = (await self._database.read(wanted)).one()
        return int(count), int(stored_bytes)

    async def attempts(self, record: EntryRecord) -> list[AttemptRecord]:
        """The failed tries of an entry, oldest first."""
        return [
            AttemptRecord(**row) for row in await self._history(attempts, AttemptRecord.__slots__, record)
        ]

    async def transitions(self, record: EntryRecord) -> list[TransitionRecord]:
        """The changes of an entry's state, oldest first."""
        rows = await self._history(transitions, TransitionRecord.__slots__, record)
        return [TransitionRecord(**row) for row in rows]

    async def _history(self, table: Table, names: Iterable[str], record: EntryRecord) -> Iterable[RowMapping]:
        wanted = select(*(table.c[name] for name in names)).where(_is_of(table, record)).order_by(table.c.at)
        rows = await self._database.read(wanted)
        return rows.mappings()


def _conditions(states: Collection[EntryState] | None, has_job: bool | None) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if states is not None:
        conditions.append(entries.c.state.in_([state.value for state in states]))
    if has_job is not None:
        traces = func.coalesce(entries.c.job_id, entries.c.create_tag)
        conditions.append(traces.is_not(None) if has_job else traces.is_(None))
    return conditions


def _is_of(table: Table, record: EntryRecord) -> ColumnElement[bool]:
    """The condition that finds what *table* has of an entry."""
    return and_(table.c.batch == record.batch, table.c.entry_id == record.entry_id)
