"""The journal: the state of every batch, made durable before anything acts on it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import anyio

from orchestrator.domain.assets import Asset
from orchestrator.domain.entries import BatchKey
from orchestrator.domain.errors import ConfigurationError, JournalError
from orchestrator.domain.states import EntryState
from orchestrator.domain.untrusted_text import repaired
from orchestrator.journal import statements
from orchestrator.journal.backend import Backend, JournalHealth, Row, Transaction, is_shared, is_url, shown
from orchestrator.journal.history import (
    KEPT_INCIDENTS,
    IncidentKind,
    IncidentRecord,
    ReviewRecord,
    incident_row,
    run_end,
    run_row,
)
from orchestrator.journal.migrations import NEWEST, migrate
from orchestrator.journal.sqlite import examine_file, find_journal, open_sqlite
from orchestrator.journal.writing import EntryWriter

if TYPE_CHECKING:
    from orchestrator.journal.outbox import NoticeBook


class Journal(EntryWriter):
    """The journal of all batches: reads, and guarded writes that are durable when they return."""

    def hold_batch(self, key: BatchKey) -> AbstractAsyncContextManager[None]:
        """Hold the batch's lock for the block, so that only one run, `cancel` or `clean` works on the batch.

        Entering raises LockHeldError when another process holds the lock, and JournalError when it cannot be taken.
        """
        return self.backend.hold_batch(key)

    async def batch_holder(self, key: BatchKey) -> str | None:
        """Return the process that holds the batch's lock, or None; asking does not keep a new run from taking it."""
        return await self.backend.batch_holder(key)

    def stop_waiting(self) -> None:
        """Stop waiting for an unreachable server: calls that need it raise JournalError from now on."""
        self.backend.stop_waiting()

    def notices(self, batch: str, target: str) -> NoticeBook:
        """Return the book of notices about the batch for *target*."""
        # Imported here because only commands that send notifications need it.
        from orchestrator.journal.outbox import NoticeBook  # noqa: PLC0415

        return NoticeBook(self.backend, self._clock, batch, target)

    async def batches_to_notify_of(self, targets: Collection[str]) -> set[str]:
        """Return the batches for which one of *targets* has a promised or an owed notice."""
        query = "SELECT DISTINCT batch FROM notices WHERE target = :target AND state IN ('promised', 'owed')"
        return {
            str(batch)
            for target in targets
            for (batch,) in await self.backend.read(query, {"target": target})
        }

    async def known_key(self, key: BatchKey) -> BatchKey:
        """Return the key under which the journal has the batch; its name may be composed differently (NFC, NFD)."""
        alike = await self.batches_named(key.name, endpoint=key.endpoint, project_id=key.project_id)
        exact = [batch for batch in alike if batch.name == key.name]
        for batch in (exact or alike)[:1]:
            return batch.key
        return key

    async def start_run(
        self,
        key: BatchKey,
        *,
        manifest_path: str | None,
        is_submit_wanted: bool,
        run_id: str,
        events_path: str | None = None,
    ) -> None:
        """Record that *run_id* works on the batch, and create the batch if it is new.

        *events_path* is the file to which the run's events are written.
        """
        now = self._clock()
        run: Row = {"is_submit_wanted": is_submit_wanted, "last_run_id": run_id, "last_run_at": now}
        run["last_exit_code"] = None
        if manifest_path is not None:
            run["manifest_path"] = repaired(
                manifest_path
            )  # a run that is refused for its path is recorded, too

        def write(transaction: Transaction) -> None:
            # An existing row keeps its `created_at`, and keeps its path when the run has no manifest.
            if transaction.execute(statements.update_batch(tuple(run)), {"batch": key.digest, **run}) == 0:
                head = {"batch": key.digest, "endpoint": key.endpoint, "project_id": key.project_id}
                transaction.insert("batches", {**head, "name": key.name, "created_at": now, **run})
            transaction.execute(statements.FORGET_INCIDENTS, {"batch": key.digest, "kept": KEPT_INCIDENTS})
            transaction.add_row(
                statements.START_RUN,
                run_row(key.digest, run_id, now, None if events_path is None else repaired(events_path)),
            )

        await self.backend.write(write)

    async def set_manifest_path(self, batch: str, manifest_path: str) -> None:
        """Record the path of the manifest that the batch is made from, from now on."""
        row = {"batch": batch, "manifest_path": manifest_path}
        await self._write_rows(statements.update_batch(("manifest_path",)), [row])

    async def set_submit_requirement(self, batch: str, requirement: str | None) -> None:
        """Record what the batch's manifest requires before an entry is submitted."""
        row = {"batch": batch, "submit_requires": requirement}
        await self._write_rows(statements.update_batch(("submit_requires",)), [row])

    async def set_worker_settings(self, batch: str, settings: str) -> None:
        """Record the batch's settings, as JSON, for the workers that upload it."""
        row = {"batch": batch, "settings": settings}
        await self._write_rows(statements.update_batch(("settings",)), [row])

    async def keep_review(self, review: ReviewRecord) -> None:
        """Record the result of an entry's review, once for each submission."""
        row: Row = {
            "batch": review.batch,
            "entry_id": review.entry_id,
            "job_id": review.job_id,
            "submitted_at": review.submitted_at,
            "at": self._clock(),
            "is_passed": review.is_passed,
            "reason": review.reason,
            "code": review.code,
            "redo_reasons": json.dumps(review.redo_reasons, ensure_ascii=False),
        }
        # A `watch` and a concurrent run may both see the same review.
        statement = f"{statements.insert_into('reviews', tuple(row))} ON CONFLICT DO NOTHING"
        await self._write_rows(statement, [row])

    def note_incident(self, batch: str, run_id: str, kind: IncidentKind, subject: str, message: str) -> None:
        """Record an incident of *subject* (a side of an outage, an entry); it is committed with the next write."""
        row = incident_row(batch, IncidentRecord(run_id, self._clock(), None, kind.value, subject, message))
        self.backend.write_later(lambda transaction: transaction.insert("incidents", row))

    def end_incident(self, batch: str, run_id: str, kind: IncidentKind, subject: str) -> None:
        """Record that the open incident of this *kind* and *subject* is over; it is committed with the next write."""
        key: Row = {"batch": batch, "run_id": run_id, "kind": kind.value, "subject": subject}
        row = {**key, "at": self._clock()}

        self.backend.write_later(lambda transaction: transaction.add_row(statements.END_INCIDENT, row))

    async def flush(self) -> None:
        """Commit the records that wait for the next write; raises JournalError."""
        await self.backend.flush()

    async def end_run(
        self, batch: str, run_id: str, exit_code: int, entries: Mapping[str, int] | None = None
    ) -> None:
        """Record the end of the run and the counts of its *entries*."""
        key: Row = {"batch": batch, "run_id": run_id}
        end = run_end(self._clock(), exit_code, entries)

        def write(transaction: Transaction) -> None:
            transaction.execute(statements.END_RUN, {**key, **end})
            transaction.execute(statements.UPDATE_EXIT_CODE, {**key, "exit_code": int(exit_code)})

        await self.backend.write(write)

    async def end_queued_run(
        self, batch: str, run_id: str, exit_code: int, entries: Mapping[str, int]
    ) -> None:
        """Record the end of the batch that the command *run_id* queued, unless another process already has."""
        key: Row = {"batch": batch, "run_id": run_id}
        end = run_end(self._clock(), exit_code, entries)

        def write(transaction: Transaction) -> None:
            if transaction.execute(statements.END_QUEUED_RUN, {**key, **end}):
                transaction.execute(statements.UPDATE_EXIT_CODE, {**key, "exit_code": int(exit_code)})

        await self.backend.write(write)

    async def record_failed_run(
        self,
        batch: str,
        run_id: str,
        started_at: float,
        exit_code: int,
        entries: Mapping[str, int],
        *,
        is_last: bool,
    ) -> None:
        """Record a run that ended with an error, whether or not it reached `start_run`.

        *is_last* makes it the batch's last run; it is False while another run works on the batch.
        """
        key: Row = {"batch": batch, "run_id": run_id}
        end = run_end(self._clock(), exit_code, entries)
        last: Row = {"last_run_id": run_id, "last_run_at": started_at, "last_exit_code": int(exit_code)}

        def write(transaction: Transaction) -> None:
            if transaction.execute(statements.END_RUN, {**key, **end}) == 0 and not transaction.select(
                statements.HAS_RUN, key
            ):
                transaction.insert("runs", {**run_row(batch, run_id, started_at), **end})
            if is_last:
                transaction.execute(statements.update_batch(tuple(last)), {"batch": batch, **last})

        await self.backend.write(write)

    async def forget_batch(self, batch: str) -> None:
        """Delete a batch and everything that belongs to it, except its reviews."""
        await self._write_rows(statements.DELETE_BATCH, [{"batch": batch}])

    async def add_entries(self, batch: str, rows: Iterable[tuple[int, str, str, Sequence[Asset]]]) -> None:
        """Add (position, entry_id, spec, assets) as pending entries."""
        now = self._clock()
        values = [
            {
                "batch": batch,
                "entry_id": entry_id,
                "position": position,
                "state": EntryState.PENDING.value,
                "updated_at": now,
                **self._plan_columns(spec, assets),
            }
            for position, entry_id, spec, assets in rows
        ]
        if values:
            await self._write_rows(statements.insert_into("entries", tuple(values[0])), values)

    async def move_entries(self, batch: str, places: Iterable[tuple[str, int]]) -> None:
        """Set the positions of entries in the manifest; NOT_IN_MANIFEST for entries that it no longer has."""
        rows = [
            {"key_batch": batch, "key_entry_id": entry_id, "new_position": position}
            for entry_id, position in places
        ]
        if rows:
            await self._write_rows(statements.MOVE_ENTRY, rows)


def exists(location: str) -> bool:
    """True when there is a journal at *location*; never creates one. Raises as `open_journal` does.

    It may query a server, so it must not run in the event loop.
    """
    return examine(location) is not None if is_url(location) else find_journal(location).exists


def folder_of(location: str) -> Path | None:
    """Return the folder for files that go with the journal at *location*, or None if it is on a server.

    Raises as `open_journal` does.
    """
    return None if is_url(location) else find_journal(location).path.parent


def examine(location: str) -> JournalHealth | None:
    """Check the journal at *location*, in whatever state it is, without changing it; None if there is none.

    Raises as `open_journal` does, except for an unknown version.
    """
    if is_url(location):
        return _server(location).examine_server(location)
    file = find_journal(location)
    return examine_file(file.path) if file.exists else None


@asynccontextmanager
async def open_journal(location: str, *, clock: Callable[[], float]) -> AsyncIterator[Journal]:
    """Open the journal at *location* (a path or a URL) and upgrade it to the newest version.

    Raises ConfigurationError for a location this program cannot use, JournalError for one that fails.
    """
    opened = _server(location).open_server(location) if is_url(location) else open_sqlite(location)
    async with opened as backend, _flushed(backend):

        def upgrade(transaction: Transaction) -> None:
            migrate(transaction, clock())

        await backend.upgrade(upgrade, NEWEST)
        yield Journal(backend, clock)


#: How long a journal that closes after an error waits for an unreachable server.
_LAST_WAIT_SECONDS = 10.0


@asynccontextmanager
async def _flushed(backend: Backend) -> AsyncIterator[None]:
    """Commit the queued records however the block ends: after an error they are needed most."""
    try:
        yield
    except BaseException:
        with anyio.move_on_after(_LAST_WAIT_SECONDS, shield=True), suppress(JournalError):
            await backend.flush()
        raise
    await backend.flush()


class _Server(Protocol):
    """The interface of a module for journals on a server."""

    def open_server(self, location: str) -> AbstractAsyncContextManager[Backend]:
        """Connect to the database at *location*."""

    def examine_server(self, location: str) -> JournalHealth | None:
        """Check the journal at *location*; None if there is none."""


def _server(location: str) -> _Server:
    """Return the module for journals on a server; raises ConfigurationError if *location* has none."""
    if not is_shared(location):
        raise ConfigurationError(
            f"a journal is kept in a file or in PostgreSQL, not at {shown(location)}",
            hint="give --state the path of a file or a directory, or postgresql://USER@HOST/DATABASE",
        )
    try:
        from orchestrator.journal import postgres  # noqa: PLC0415 - its driver is an extra
    except ImportError:
        raise ConfigurationError(
            "a journal in PostgreSQL needs the extra fleet",
            hint="`pip install 'metastudio-orchestrator[fleet]'`",
        ) from None
    return postgres
