"""Queries on the journal."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from typing import Any

from orchestrator.domain.entries import Create, forms, normal
from orchestrator.domain.states import EntryState
from orchestrator.domain.untrusted_text import repaired
from orchestrator.journal.backend import Backend, Row
from orchestrator.journal.history import (
    REVIEW_COLUMNS,
    RUN_COLUMNS,
    AttemptRecord,
    Cause,
    HandbackRecord,
    IncidentRecord,
    ReviewRecord,
    RunRecord,
    StateChange,
    StoredSegment,
    TransitionRecord,
    WorkDone,
    attempt_record,
    handback_record,
    incident_record,
    review_record,
    run_record,
    transition_record,
)
from orchestrator.journal.records import (
    BATCH_COLUMNS,
    ENTRY_COLUMNS,
    OUTCOME_COLUMNS,
    SEGMENT_COLUMNS,
    BatchRecord,
    EntryRecord,
    OutcomeRecord,
    SegmentRecord,
    Twin,
    are_same_files,
    assets_of,
    batch_record,
    create_of,
    entry_record,
    intact,
    outcome_record,
    segment_record,
    state_in,
)
from orchestrator.journal.statements import among, listed

#: Rows per page: reading page by page keeps memory use independent of the size of the batch.
PAGE_ROWS = 500
#: The position of an entry that is no longer in the manifest.
NOT_IN_MANIFEST = -1


class JournalReader:
    """A reader of one journal; each query sees one consistent state."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    async def batches(self) -> list[BatchRecord]:
        """Return all batches, the one with the latest run first."""
        query = f"SELECT {listed(BATCH_COLUMNS)} FROM batches ORDER BY last_run_at DESC"
        return [batch_record(row) for row in await self.backend.read(query)]

    async def batches_named(
        self,
        name: str,
        *,
        endpoint: str | None = None,
        project_id: str | None = None,
        or_digest: bool = False,
    ) -> list[BatchRecord]:
        """Return the batches called *name*, of any endpoint and project if these are None, the latest first.

        With *or_digest*, *name* may also be the digest of a batch.
        """
        return [
            batch
            for batch in await self.batches()
            if (batch.is_named(name) or (or_digest and batch.batch == name))
            and endpoint in {None, batch.endpoint}
            and project_id in {None, batch.project_id}
        ]

    async def batch(self, batch: str) -> BatchRecord | None:
        """Return the batch with this digest; None if it is new."""
        query = f"SELECT {listed(BATCH_COLUMNS)} FROM batches WHERE batch = :batch"
        rows = await self.backend.read(query, {"batch": batch})
        return batch_record(rows[0]) if rows else None

    async def runs(self, batch: str, *, limit: int) -> list[RunRecord]:
        """Return the last *limit* runs of *batch*, the latest first."""
        query = (
            f"SELECT {listed(RUN_COLUMNS)} FROM runs WHERE batch = :batch"
            " ORDER BY started_at DESC, run_id DESC LIMIT :limit"
        )
        rows = await self.backend.read(query, {"batch": batch, "limit": limit})
        return [run_record(row) for row in rows]

    async def reviews(self) -> list[ReviewRecord]:
        """Return the reviews of all batches, the oldest first."""
        query = f"SELECT {listed(REVIEW_COLUMNS)} FROM reviews ORDER BY at, submitted_at"
        return [review_record(row) for row in await self.backend.read(query)]

    async def counts(self, batch: str, *, with_removed: bool = False) -> dict[EntryState, int]:
        """Return the number of entries of *batch* in each state.

        With *with_removed* it includes entries that are no longer in the manifest.
        """
        query = (
            "SELECT state, count(*) FROM entries WHERE batch = :batch AND position >= :first GROUP BY state"
        )
        first = NOT_IN_MANIFEST if with_removed else 0
        rows = await self.backend.read(query, {"batch": batch, "first": first})
        return {state_in(state): count for state, count in rows}

    async def job_counts(self, batch: str) -> dict[tuple[EntryState, str | None], int]:
        """Return the number of entries of *batch* by their state and the service's state of their jobs."""
        query = (
            "SELECT state, service_state, count(*) FROM entries WHERE batch = :batch AND position >= 0"
            " GROUP BY state, service_state"
        )
        rows = await self.backend.read(query, {"batch": batch})
        return {(state_in(state), service_state): count for state, service_state, count in rows}

    async def failures(self, batch: str) -> dict[str, int]:
        """Return the number of failed entries of *batch* by the kind of error."""
        query = (
            "SELECT error_kind, count(*) FROM entries"
            " WHERE batch = :batch AND position >= 0 AND state = :state GROUP BY error_kind"
        )
        rows = await self.backend.read(query, {"batch": batch, "state": EntryState.FAILED.value})
        return {str(kind): int(count) for kind, count in rows}

    async def entry(self, batch: str, entry_id: str) -> EntryRecord | None:
        """Return one entry; None if the journal has none of that name."""
        # A user may type bytes that are not UTF-8; the database would reject them, and no entry has them.
        found = await self.entries_named(batch, [repaired(entry_id)])
        return found.get(entry_id)

    async def entry_with_batch(self, batch: str, entry_id: str) -> tuple[BatchRecord, EntryRecord] | None:
        """Return one entry and its batch, read at the same moment; None if the journal has none of that name."""
        ids, parameters = among("entry_id", forms(entry_id))
        query = (
            f"SELECT {listed(BATCH_COLUMNS, of='batches')}, {listed(ENTRY_COLUMNS, of='entries')}"
            " FROM entries JOIN batches ON batches.batch = entries.batch"
            f" WHERE entries.batch = :batch AND entries.entry_id IN {ids}"
        )
        rows = await self.backend.read(query, {"batch": batch, **parameters})
        place = len(BATCH_COLUMNS)
        found = {record.entry_id: record for record in (entry_record(row[place:]) for row in rows)}
        record = found.get(entry_id) or next(iter(found.values()), None)
        return None if record is None else (batch_record(rows[0][:place]), record)

    async def entries_named(self, batch: str, entry_ids: Collection[str]) -> dict[str, EntryRecord]:
        """Return the entries of *batch* among *entry_ids*, keyed by these; for at most a few hundred ids at once.

        Older programs stored ids as files had them, so their letters may be composed differently (NFC, NFD).
        """
        ids, parameters = among("entry_id", [form for entry_id in entry_ids for form in forms(entry_id)])
        query = f"SELECT {listed(ENTRY_COLUMNS)} FROM entries WHERE batch = :batch AND entry_id IN {ids}"
        rows = await self.backend.read(query, {"batch": batch, **parameters})
        exact = {record.entry_id: record for record in map(entry_record, rows)}
        alike = {normal(entry_id): record for entry_id, record in exact.items()}
        found = {entry_id: exact.get(entry_id) or alike.get(normal(entry_id)) for entry_id in entry_ids}
        return {entry_id: record for entry_id, record in found.items() if record is not None}

    async def entries_of_jobs(self, job_ids: Collection[str]) -> dict[str, frozenset[str]]:
        """Return the ids of the entries, of any batch, by their job; for at most a few hundred *job_ids* at once."""
        ids, parameters = among("job_id", [repaired(job_id) for job_id in job_ids])
        rows = await self.backend.read(
            f"SELECT job_id, entry_id FROM entries WHERE job_id IN {ids}", parameters
        )
        owners: dict[str, set[str]] = {}
        for job_id, entry_id in rows:
            owners.setdefault(job_id, set()).add(entry_id)
        return {job_id: frozenset(entry_ids) for job_id, entry_ids in owners.items()}

    async def entries(
        self, batch: str, *, states: Collection[EntryState] | None = None, has_job: bool | None = None
    ) -> AsyncIterator[EntryRecord]:
        """Yield the entries of *batch* in manifest order, read page by page.

        With *has_job* True it yields only entries that may have a job on the service, with False only the others.
        """
        is_in_states, parameters = _in_states(states)
        async for page in self._pages(
            batch, ENTRY_COLUMNS, f"{is_in_states} AND {_has_job(has_job)}", parameters
        ):
            for row in page:
                yield entry_record(row)

    async def unfinished_entries(
        self, batch: str, states: Collection[EntryState], *, has_job: bool
    ) -> AsyncIterator[EntryRecord]:
        """Yield the entries in *states*, and those with a change or a requested submit that is not done yet."""
        is_in_states, parameters = _in_states(states)
        condition = f"({is_in_states} OR {_IS_CHANGING}) AND {_has_job(has_job)}"
        async for page in self._pages(batch, ENTRY_COLUMNS, condition, parameters):
            for row in page:
                yield entry_record(row)

    async def begun_entries(self, batch: str, states: Collection[EntryState]) -> AsyncIterator[EntryRecord]:
        """Yield the entries of `unfinished_entries` that a worker has claimed, except failed and cancelled ones."""
        is_in_states, parameters = _in_states(states)
        is_begun = "holder IS NOT NULL AND state NOT IN (:failed, :cancelled)"
        condition = f"{is_begun} AND ({is_in_states} OR {_IS_CHANGING})"
        given_up = {"failed": EntryState.FAILED.value, "cancelled": EntryState.CANCELLED.value}
        async for page in self._pages(batch, ENTRY_COLUMNS, condition, {**parameters, **given_up}):
            for row in page:
                yield entry_record(row)

    async def outcomes(self, batch: str) -> AsyncIterator[OutcomeRecord]:
        """Yield the outcomes of the entries of *batch*, in manifest order; they hold only a few of the columns."""
        async for page in self._pages(batch, OUTCOME_COLUMNS, _ALWAYS, {}):
            for row in page:
                yield outcome_record(row)

    async def _pages(
        self, batch: str, columns: Sequence[str], condition: str, parameters: Row
    ) -> AsyncIterator[Sequence[tuple[Any, ...]]]:
        """Yield the *columns* of the entries of *batch*, page by page; the position must be one of them."""
        query = (
            f"SELECT {listed(columns)} FROM entries WHERE batch = :batch AND position > :position"
            f" AND {condition} ORDER BY position LIMIT {PAGE_ROWS}"
        )
        # Pages continue from the last position, not by OFFSET: concurrent writes shift no page, and a late page costs
        # no more than the first.
        place, position = columns.index("position"), -1
        while True:
            page = await self.backend.read(query, {**parameters, "batch": batch, "position": position})
            yield page
            if len(page) < PAGE_ROWS:
                return
            position = page[-1][place]

    async def owns_job(self, job_id: str, tags: Collection[str] = ()) -> bool:
        """True when an entry has the job, or has no job yet and one of *tags*; cancelled entries do not count."""
        condition, parameters = "job_id = :job_id", dict[str, object]()
        if tags:
            listed_tags, parameters = among("tag", tags)
            condition = f"({condition} OR (job_id IS NULL AND create_tag IN {listed_tags}))"
        query = f"SELECT 1 FROM entries WHERE state <> :cancelled AND {condition} LIMIT 1"
        row = {"job_id": job_id, "cancelled": EntryState.CANCELLED.value, **parameters}
        return bool(await self.backend.read(query, row))

    async def creates_tagged(self, tags: Collection[str]) -> dict[str, Create]:
        """Return the creates of this journal that used *tags*, by tag; for at most a few hundred tags at once."""
        listed_tags, parameters = among("tag", tags)
        rows = await self.backend.read(f"{_CREATES} WHERE creates.tag IN {listed_tags}", parameters)
        return {create.tag: create for create in map(create_of, rows)}

    async def creates(self) -> AsyncIterator[Create]:
        """Yield all creates of this journal, read page by page."""
        place = {"batch": "", "tag": ""}
        while True:
            after = "creates.batch > :batch OR (creates.batch = :batch AND creates.tag > :tag)"
            query = f"{_CREATES} WHERE {after} ORDER BY creates.batch, creates.tag LIMIT {PAGE_ROWS}"
            page = [create_of(row) for row in await self.backend.read(query, place)]
            for create in page:
                yield create
            if len(page) < PAGE_ROWS:
                return
            place = {"batch": page[-1].batch, "tag": page[-1].tag}

    async def last_create_at(self, batch: str) -> float | None:
        """Return the time of this journal's last create for *batch*, in epoch seconds; None if there is none."""
        query = "SELECT max(made_at) FROM creates WHERE batch = :batch"
        ((made_at,),) = await self.backend.read(query, {"batch": batch})
        with intact("the time of a create"):
            return None if made_at is None else float(made_at)

    async def twins(self, batch: str) -> dict[str, Twin]:
        """Return the twins of entries of *batch* that have no job, by entry id.

        A twin is an entry of another batch of the same project with the same id, the same files and a job.
        """
        batches = {known.batch: known for known in await self.batches()}
        mine = batches[batch]
        others = [
            known.batch
            for known in batches.values()
            if known is not mine and (known.endpoint, known.project_id) == (mine.endpoint, mine.project_id)
        ]
        # The query lists the batches so that each entry is looked up by its key. Without them the database compares
        # every entry of the journal with every entry of the batch.
        is_other, parameters = among("other", others)
        columns = ", ".join(f"other.{listed([column])}" for column in ENTRY_COLUMNS)
        query = (
            f"SELECT mine.files, {columns} FROM entries AS mine JOIN entries AS other"
            f" ON other.batch IN {is_other} AND other.entry_id = mine.entry_id AND other.bytes = mine.bytes"
            " WHERE mine.batch = :batch AND mine.position >= 0 AND other.state <> :cancelled"
            " AND coalesce(mine.job_id, mine.create_tag) IS NULL"
            " AND coalesce(other.job_id, other.create_tag) IS NOT NULL"
        )
        named = {"batch": batch, "cancelled": EntryState.CANCELLED.value, **parameters}
        found: dict[str, Twin] = {}
        for files, *row in await self.backend.read(query, named) if others else ():
            other = entry_record(row)
            with intact("the files of an entry"):
                is_same = are_same_files(assets_of(files), other.assets)
            if is_same:
                found[other.entry_id] = Twin(batches[other.batch], other)
        return found

    async def entry_ids(self, batch: str) -> set[str]:
        """Return the ids of all entries that the manifest had at the last run."""
        query = "SELECT entry_id FROM entries WHERE batch = :batch AND position >= 0"
        return {entry_id for (entry_id,) in await self.backend.read(query, {"batch": batch})}

    async def segments(self, record: EntryRecord) -> list[SegmentRecord]:
        """Return the segments of an entry's job, asset by asset in part order."""
        rows = await self._rows_of(record, "segments", SEGMENT_COLUMNS, "asset, part_number")
        return [segment_record(row) for row in rows]

    async def stored_bytes(self, batch: str, entry_ids: Collection[str]) -> dict[str, int]:
        """Return the number of bytes that have their receipt, by entry, for those of *entry_ids* that have any."""
        ids, parameters = among("entry_id", entry_ids)
        query = (
            "SELECT entry_id, sum(length) FROM segments"
            f" WHERE batch = :batch AND entry_id IN {ids} AND stored_at IS NOT NULL GROUP BY entry_id"
        )
        rows = await self.backend.read(query, {"batch": batch, **parameters})
        return {entry_id: int(total) for entry_id, total in rows}

    async def count_stored(self, batch: str) -> tuple[int, int]:
        """Return the numbers of segments and bytes that have their receipt, for the entries in the manifest."""
        query = (
            "SELECT count(*), coalesce(sum(segments.length), 0) FROM segments JOIN entries"
            " ON entries.batch = segments.batch AND entries.entry_id = segments.entry_id"
            " WHERE segments.batch = :batch AND segments.stored_at IS NOT NULL AND entries.position >= 0"
        )
        ((count, stored_bytes),) = await self.backend.read(query, {"batch": batch})
        return int(count), int(stored_bytes)

    async def work_since(self, batch: str, at: float) -> WorkDone:
        """Return the batch's segments and bytes: the total, the stored ones, and those of them sent since *at*."""
        query = (
            "SELECT count(*), count(stored_at),"
            " sum(CASE WHEN segments.stored_at >= :at AND segments.attempts > 0 THEN 1 ELSE 0 END),"
            " sum(CASE WHEN segments.stored_at IS NOT NULL THEN segments.length ELSE 0 END),"
            " sum(CASE WHEN segments.stored_at >= :at AND segments.attempts > 0 THEN segments.length ELSE 0 END)"
            " FROM segments JOIN entries"
            " ON entries.batch = segments.batch AND entries.entry_id = segments.entry_id"
            " WHERE segments.batch = :batch AND entries.position >= 0"
        )
        (segments,) = await self.backend.read(query, {"batch": batch, "at": at})
        ((total_bytes,),) = await self.backend.read(
            "SELECT sum(bytes) FROM entries WHERE batch = :batch AND position >= 0", {"batch": batch}
        )
        ((retried,),) = await self.backend.read(
            "SELECT count(*) FROM attempts WHERE batch = :batch AND asset IS NOT NULL AND at >= :at",
            {"batch": batch, "at": at},
        )
        return WorkDone(*(int(each or 0) for each in (*segments, total_bytes, retried)))

    async def attempts(self, record: EntryRecord) -> list[AttemptRecord]:
        """Return the failed attempts of an entry, oldest first."""
        rows = await self._rows_of(record, "attempts", AttemptRecord.__slots__, "at")
        return [attempt_record(row) for row in rows]

    async def transitions(self, record: EntryRecord) -> list[TransitionRecord]:
        """Return the changes of an entry's state, oldest first."""
        rows = await self._rows_of(record, "transitions", TransitionRecord.__slots__, "at")
        return [transition_record(row) for row in rows]

    async def handbacks(self, record: EntryRecord) -> list[HandbackRecord]:
        """Return the reports of hosts that could not use the entry's files, oldest first."""
        rows = await self._rows_of(record, "handbacks", HandbackRecord.__slots__, "at, host")
        return [handback_record(row) for row in rows]

    async def _rows_of(
        self, record: EntryRecord, table: str, columns: Iterable[str], order: str
    ) -> list[tuple[Any, ...]]:
        """Return the rows of *table* about an entry, sorted by *order*."""
        query = (
            f"SELECT {listed(columns)} FROM {table} WHERE batch = :batch AND entry_id = :entry_id"
            f" ORDER BY {order}"
        )
        return await self.backend.read(query, {"batch": record.batch, "entry_id": record.entry_id})

    async def stored_segments(self, batch: str) -> AsyncIterator[StoredSegment]:
        """Yield the segments of *batch* that have their receipt, entry by entry."""
        query = (
            "SELECT entry_id, asset, part_number, length, stored_at, attempts, put_seconds, took_seconds"
            " FROM segments WHERE batch = :batch AND stored_at IS NOT NULL AND {after}"
            " ORDER BY entry_id, asset, part_number LIMIT :limit"
        )
        async for row in self._by_key(query, ("entry_id", "asset", "part_number"), batch):
            yield StoredSegment(*row)

    async def state_changes(self, batch: str, states: Collection[str]) -> list[StateChange]:
        """Return the changes of the entries of *batch* to one of *states*, oldest first."""
        listed, parameters = among("state", states)
        query = (
            "SELECT entry_id, at, to_state FROM transitions"
            f" WHERE batch = :batch AND to_state IN {listed} ORDER BY at"
        )
        return [StateChange(*row) for row in await self.backend.read(query, {"batch": batch, **parameters})]

    async def causes(self, batch: str) -> list[Cause]:
        """Return the reasons why attempts failed, the most frequent first."""
        query = (
            "SELECT operation, kind, code, count(*) FROM attempts WHERE batch = :batch"
            " GROUP BY operation, kind, code ORDER BY count(*) DESC, operation, kind"
        )
        return [Cause(*row) for row in await self.backend.read(query, {"batch": batch})]

    async def failed_tries(self, batch: str, *, limit: int) -> list[tuple[str, float, str]]:
        """Return the entry, time and kind of the latest *limit* failed attempts, the latest first."""
        query = "SELECT entry_id, at, kind FROM attempts WHERE batch = :batch ORDER BY at DESC LIMIT :limit"
        rows = await self.backend.read(query, {"batch": batch, "limit": limit})
        return [(str(entry_id), float(at), str(kind)) for entry_id, at, kind in rows]

    async def incidents(self, batch: str) -> list[IncidentRecord]:
        """Return the incidents of the runs of *batch*, oldest first."""
        query = (
            "SELECT run_id, at, ended_at, kind, subject, message FROM incidents"
            " WHERE batch = :batch ORDER BY at"
        )
        rows = await self.backend.read(query, {"batch": batch})
        return [incident_record(row) for row in rows]

    async def _by_key(self, query: str, key: tuple[str, ...], batch: str) -> AsyncIterator[tuple[Any, ...]]:
        """Yield the rows of *query*, read page by page; its first columns are *key*, by which it is ordered."""
        place: Row = {"batch": batch, "limit": PAGE_ROWS}
        after = "1 = 1"
        while True:
            page = await self.backend.read(query.format(after=after), place)
            for row in page:
                yield row
            if len(page) < PAGE_ROWS:
                return
            place |= dict(zip(key, page[-1], strict=False))
            after = f"({', '.join(key)}) > ({', '.join(f':{name}' for name in key)})"


_ALWAYS = "1 = 1"
_IS_CHANGING = "change_wanted IS NOT NULL OR (is_submit_wanted AND submitted_at IS NULL)"
#: Creates with the name of their batch, and with the entry's current spec, as older programs stored no avatar name.
_CREATES = (
    "SELECT creates.batch, creates.entry_id, creates.tag, creates.made_at, creates.name, creates.job_id,"
    " batches.name, entries.spec"
    " FROM creates JOIN batches ON batches.batch = creates.batch"
    " LEFT JOIN entries ON entries.batch = creates.batch AND entries.entry_id = creates.entry_id"
)


def _in_states(states: Collection[EntryState] | None) -> tuple[str, Row]:
    """Return the condition for entries in *states*, and its parameters; None selects entries in any state."""
    if states is None:
        return _ALWAYS, {}
    listed_states, parameters = among("state", [state.value for state in states])
    return f"state IN {listed_states}", parameters


def _has_job(has_job: bool | None) -> str:
    """Return the condition for entries that may, or may not, have a job on the service; None selects both."""
    if has_job is None:
        return _ALWAYS
    return f"coalesce(job_id, create_tag) IS {'NOT NULL' if has_job else 'NULL'}"
