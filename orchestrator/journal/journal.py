"""The journal: what is known of every batch, durable before anyone acts on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import and_, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.assets import Asset, AssetKind
from orchestrator.domain.entries import BatchKey
from orchestrator.domain.errors import ConfigurationError, StaleEpochError
from orchestrator.domain.receipts import Receipt
from orchestrator.domain.states import EntryState, check_transition
from orchestrator.journal.database import Database, open_database
from orchestrator.journal.migrations import migrate
from orchestrator.journal.reading import JournalReader, key_of, segments_of, with_epoch
from orchestrator.journal.records import AttemptRecord, EntryRecord, SegmentRecord, entry_record, files_json
from orchestrator.journal.tables import attempts, batches, entries, segments, transitions

NO_ERROR: dict[str, None] = dict.fromkeys(
    ("error_kind", "error_code", "error_message", "error_request_id", "error_hint")
)


class Journal(JournalReader):
    """Reads, and guarded writes that are durable when they return."""

    def __init__(self, database: Database, path: Path, clock: Callable[[], float]) -> None:
        """Take an open *database*; `open_journal` makes one."""
        super().__init__(database)
        self._path = path
        self._clock = clock

    def lock_path(self, batch: BatchKey) -> Path:
        """Where the run lock of *batch* is."""
        return self._path.with_name(f"{self._path.name}.{batch.digest}.lock")

    async def open_batch(
        self, key: BatchKey, *, manifest_path: str | None, with_submit: bool, run_id: str
    ) -> None:
        """Write down that *run_id* works on the batch, which is made when it is new."""
        now = self._clock()
        run = {"with_submit": with_submit, "last_run_id": run_id, "last_run_at": now, "last_exit_code": None}

        async def write(connection: AsyncConnection) -> None:
            mine = batches.c.batch == key.digest
            if manifest_path is not None:
                run["manifest_path"] = manifest_path
            changed = await connection.execute(update(batches).where(mine).values(**run))
            if changed.rowcount == 0:
                head = {"batch": key.digest, "endpoint": key.endpoint, "project_id": key.project_id}
                await connection.execute(insert(batches).values(**head, name=key.name, created_at=now, **run))

        await self._database.write(write)

    async def close_batch(self, batch: str, exit_code: int) -> None:
        """Write down how the run ended."""

        async def write(connection: AsyncConnection) -> None:
            await connection.execute(
                update(batches).where(batches.c.batch == batch).values(last_exit_code=exit_code)
            )

        await self._database.write(write)

    async def forget_batch(self, batch: str) -> None:
        """Delete a batch and all that belongs to it."""

        async def write(connection: AsyncConnection) -> None:
            await connection.execute(delete(batches).where(batches.c.batch == batch))

        await self._database.write(write)

    async def add_entries(self, batch: str, rows: Iterable[tuple[int, str, str, Sequence[Asset]]]) -> None:
        """Add (position, entry_id, spec, assets) as pending entries."""
        now = self._clock()
        values = [
            {
                "batch": batch,
                "entry_id": entry_id,
                "position": position,
                "spec": spec,
                "files": files_json(assets),
                "bytes": sum(asset.size for asset in assets),
                "state": EntryState.PENDING.value,
                "updated_at": now,
            }
            for position, entry_id, spec, assets in rows
        ]

        async def write(connection: AsyncConnection) -> None:
            await connection.execute(insert(entries), values)

        if values:
            await self._database.write(write)

    async def replan_entry(self, record: EntryRecord, spec: str, assets: Sequence[Asset]) -> None:
        """Take what the manifest says now for an entry."""
        values = {"spec": spec, "files": files_json(assets), "bytes": sum(asset.size for asset in assets)}
        await self.set_facts(record, **values)

    async def move_entries(self, batch: str, positions: Iterable[tuple[str, int]]) -> None:
        """Give entries the place the manifest has them at now."""
        moved = list(positions)

        async def write(connection: AsyncConnection) -> None:
            for entry_id, position in moved:
                mine = and_(entries.c.batch == batch, entries.c.entry_id == entry_id)
                await connection.execute(update(entries).where(mine).values(position=position))

        if moved:
            await self._database.write(write)

    async def claim(self, record: EntryRecord) -> EntryRecord:
        """Raise the entry's epoch, so that whoever held it before can no longer write; returns it anew."""
        now = self._clock()

        async def write(connection: AsyncConnection) -> EntryRecord:
            changed = await connection.execute(
                update(entries)
                .where(with_epoch(record))
                .values(epoch=record.epoch + 1, started_at=func.coalesce(entries.c.started_at, now))
                .returning(entries)
            )
            row = changed.mappings().one_or_none()
            if row is None:
                raise _stale(record)
            return entry_record(row)

        return await self._database.write(write)

    async def transition(
        self, record: EntryRecord, target: EntryState, reason: str, **facts: Any
    ) -> EntryRecord:
        """Change the state together with *facts*, if the entry is still as *record* says.

        Raises IllegalTransitionError, or StaleEpochError when somebody else has written since.
        """
        check_transition(record.state, target)

        async def write(connection: AsyncConnection) -> EntryRecord:
            changed = await self._guarded_update(connection, record, {"state": target.value, **facts})
            await self._add_transition(connection, record, target, reason)
            return changed

        return await self._database.write(write)

    async def set_facts(self, record: EntryRecord, **facts: Any) -> EntryRecord:
        """Change *facts* without a change of state, under the same guard as a transition."""

        async def write(connection: AsyncConnection) -> EntryRecord:
            return await self._guarded_update(connection, record, facts)

        return await self._database.write(write)

    async def job_created(
        self, record: EntryRecord, job_id: str, planned: Sequence[SegmentRecord], reason: str
    ) -> EntryRecord:
        """Keep the job and where its segments go; the entry is uploading."""
        check_transition(record.state, EntryState.UPLOADING)
        facts = {"job_id": job_id, "created_at": self._clock(), "state": EntryState.UPLOADING.value}

        async def write(connection: AsyncConnection) -> EntryRecord:
            changed = await self._guarded_update(connection, record, facts)
            await self._add_transition(connection, record, EntryState.UPLOADING, reason)
            await _replace_segments(connection, record, planned)
            return changed

        return await self._database.write(write)

    async def job_gone(self, record: EntryRecord, reason: str) -> EntryRecord:
        """Forget the job, which the service no longer has; the entry is pending again."""
        check_transition(record.state, EntryState.PENDING)
        gone = ("job_id", "create_tag", "created_at", "confirm_sent_at", "confirmed_at", "submit_sent_at")
        facts = dict.fromkeys((*gone, "submitted_at", "service_state", "delivered"))

        async def write(connection: AsyncConnection) -> EntryRecord:
            changed = await self._guarded_update(
                connection, record, {"state": EntryState.PENDING.value, **facts}
            )
            await self._add_transition(connection, record, EntryState.PENDING, reason)
            await connection.execute(delete(segments).where(segments_of(record)))
            return changed

        return await self._database.write(write)

    async def confirmed(self, record: EntryRecord, reason: str) -> EntryRecord:
        """The job holds its files; its URLs are no longer needed and go."""
        check_transition(record.state, EntryState.CONFIRMED)
        facts = {"state": EntryState.CONFIRMED.value, "confirmed_at": self._clock(), **NO_ERROR}

        async def write(connection: AsyncConnection) -> EntryRecord:
            changed = await self._guarded_update(connection, record, facts)
            await self._add_transition(connection, record, EntryState.CONFIRMED, reason)
            await connection.execute(update(segments).where(segments_of(record)).values(url=None))
            return changed

        return await self._database.write(write)

    async def _guarded_update(
        self, connection: AsyncConnection, record: EntryRecord, values: dict[str, Any]
    ) -> EntryRecord:
        guard = and_(with_epoch(record), entries.c.state == record.state.value)
        changed = await connection.execute(
            update(entries).where(guard).values(updated_at=self._clock(), **values).returning(entries)
        )
        row = changed.mappings().one_or_none()
        if row is None:
            raise _stale(record)
        return entry_record(row)

    async def _add_transition(
        self, connection: AsyncConnection, record: EntryRecord, target: EntryState, reason: str
    ) -> None:
        await connection.execute(
            insert(transitions).values(
                batch=record.batch,
                entry_id=record.entry_id,
                at=self._clock(),
                from_state=record.state.value,
                to_state=target.value,
                reason=reason,
                epoch=record.epoch,
            )
        )

    async def segment_started(self, record: EntryRecord, kind: AssetKind, part_number: int) -> None:
        """Keep, before the PUT, that from now on the store may have the segment."""
        await self._update_segment(record, kind, part_number, {"started_at": self._clock()})

    async def segment_stored(
        self, record: EntryRecord, kind: AssetKind, part_number: int, receipt: Receipt, attempt: int
    ) -> None:
        """Keep the receipt."""
        values = {
            "stored_at": self._clock(),
            "etag": receipt.etag,
            "md5": receipt.md5,
            "is_verified": receipt.is_verified,
            "attempts": segments.c.attempts + attempt,
        }
        await self._update_segment(record, kind, part_number, values)

    async def segment_missing(self, record: EntryRecord, kind: AssetKind, part_number: int) -> None:
        """Drop a receipt: the service does not have the segment."""
        await self._update_segment(record, kind, part_number, {"stored_at": None, "etag": None, "md5": None})

    async def replace_segments(self, record: EntryRecord, planned: Sequence[SegmentRecord]) -> None:
        """Put *planned*, with its fresh URLs, in the place of the segments so far."""

        async def write(connection: AsyncConnection) -> None:
            await self._guarded_update(connection, record, {})
            await _replace_segments(connection, record, planned)

        await self._database.write(write)

    async def _update_segment(
        self, record: EntryRecord, kind: AssetKind, part_number: int, values: dict[str, Any]
    ) -> None:
        # The epoch is looked up in the same statement: a worker that lost the entry writes nothing.
        holder = select(entries.c.epoch).where(key_of(record)).scalar_subquery()
        mine = and_(
            segments_of(record),
            segments.c.asset == kind.value,
            segments.c.part_number == part_number,
            holder == record.epoch,
        )

        async def write(connection: AsyncConnection) -> None:
            changed = await connection.execute(update(segments).where(mine).values(**values))
            if changed.rowcount == 0:
                raise _stale(record)

        await self._database.write(write)

    def note_attempt(self, record: EntryRecord, attempt: AttemptRecord) -> None:
        """Keep a failed try; it is committed with the next write."""
        row = {name: getattr(attempt, name) for name in AttemptRecord.__slots__}

        async def write(connection: AsyncConnection) -> None:
            await connection.execute(
                insert(attempts).values(batch=record.batch, entry_id=record.entry_id, **row)
            )
            await connection.execute(
                update(entries).where(key_of(record)).values(attempts=entries.c.attempts + 1)
            )

        self._database.write_later(write)


@asynccontextmanager
async def open_journal(location: str, *, clock: Callable[[], float]) -> AsyncIterator[Journal]:
    """Open the journal at *location* (a path) and bring it to the newest version.

    Raises ConfigurationError for a location this program cannot serve, JournalError for one that fails.
    """
    path = _journal_path(location)
    async with open_database(path) as database:

        async def upgrade(connection: AsyncConnection) -> None:
            await connection.run_sync(migrate, clock())

        await database.write(upgrade)
        yield Journal(database, path, clock)


def _journal_path(location: str) -> Path:
    if "://" in location:
        raise ConfigurationError(
            f"the journal cannot be kept at {location.split('://', 1)[0]}://...",
            hint="give --state a path to a file or a directory",
        )
    path = Path(location).expanduser().absolute()
    return path / "journal.db" if path.is_dir() else path


def _stale(record: EntryRecord) -> StaleEpochError:
    return StaleEpochError(f"entry {record.entry_id} is held by another worker; nothing was written")


async def _replace_segments(
    connection: AsyncConnection, record: EntryRecord, planned: Sequence[SegmentRecord]
) -> None:
    await connection.execute(delete(segments).where(segments_of(record)))
    await connection.execute(insert(segments), [_segment_row(record, segment) for segment in planned])


def _segment_row(record: EntryRecord, planned: SegmentRecord) -> dict[str, Any]:
    receipt = planned.receipt
    return {
        "batch": record.batch,
        "entry_id": record.entry_id,
        "asset": planned.kind.value,
        "part_number": planned.segment.part_number,
        "offset": planned.segment.offset,
        "length": planned.segment.length,
        "url": planned.url.reveal() if planned.url else None,
        "started_at": planned.started_at,
        "stored_at": planned.stored_at,
        "etag": receipt.etag if receipt else None,
        "md5": receipt.md5 if receipt else None,
        "is_verified": receipt.is_verified if receipt else None,
    }
