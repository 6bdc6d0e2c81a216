"""The engine's writes to an entry that it holds: guarded, and durable when they return."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from orchestrator.domain.assets import Asset, AssetKind
from orchestrator.domain.entries import SeenJob
from orchestrator.domain.errors import StaleEpochError
from orchestrator.domain.evidence import Receipt
from orchestrator.domain.states import Change, EntryState, check_takeover, check_transition
from orchestrator.journal import statements
from orchestrator.journal.backend import Backend, Row, Transaction
from orchestrator.journal.history import KEPT_ATTEMPTS, NOT_TIMED, AttemptRecord, SegmentTimes, process_name
from orchestrator.journal.reading import JournalReader
from orchestrator.journal.records import (
    ERROR_COLUMNS,
    EntryRecord,
    ErrorRecord,
    SegmentRecord,
    columns_of_kept_plan,
    kept_plan,
    plan_columns,
    segment_row,
)

#: Columns with facts about a job, cleared when the job no longer exists.
_JOB_FACTS = (
    "job_id",
    "create_tag",
    "created_at",
    "confirm_sent_at",
    "training_confirm",
    "action_confirm",
    "confirmed_at",
    "submit_sent_at",
    "submitted_at",
    "service_state",
    "job_updated_at",
    "delivered",
    "change_wanted",
    "plan_before",
)
#: Columns that move with a job to the entry that takes it over.
_MOVED_FACTS = (*_JOB_FACTS, "review_code", "review_reason", "is_submit_wanted")
#: Columns that a new round of uploading clears while the job stays.
_UPLOAD_FACTS = (
    "confirm_sent_at",
    "training_confirm",
    "action_confirm",
    "confirmed_at",
    "submit_sent_at",
    "submitted_at",
    "delivered",
    "change_wanted",
    "plan_before",
)
_RECORD_FIELDS = frozenset(EntryRecord._fields)
#: Columns, besides those of its job, that are cleared when a cancelled entry is brought back.
_REVIEW_FACTS = ("review_code", "review_reason")


class EntryWriter(JournalReader):
    """A writer of single entries; a write is refused when the entry no longer matches the caller's record."""

    def __init__(self, backend: Backend, clock: Callable[[], float]) -> None:
        super().__init__(backend)
        self._clock = clock
        #: This process and its host; in a fleet it shows where to look for what happened.
        self._holder = process_name(os.getpid(), socket.gethostname())

    async def replan_entry(
        self,
        record: EntryRecord,
        spec: str,
        assets: Sequence[Asset],
        change: Change | None = None,
        *,
        is_submit_wanted: bool = False,
    ) -> EntryRecord:
        """Store the manifest's current plan of an entry, and the *change* that its job needs for it."""
        facts = {
            **self._plan_columns(spec, assets),
            "change_wanted": change or record.change_wanted,
            "plan_before": record.plan_before if change is None else kept_plan(record),
            "is_submit_wanted": is_submit_wanted or record.is_submit_wanted,
        }
        return await self._guarded(record, record.state, None, facts, _forget_handbacks(record))

    async def revive_entry(self, record: EntryRecord, spec: str, assets: Sequence[Asset]) -> EntryRecord:
        """Bring a cancelled entry back as pending, with the manifest's current plan and without its old job."""
        check_transition(record.state, EntryState.PENDING)
        facts = {
            **dict.fromkeys((*_JOB_FACTS, *_REVIEW_FACTS, *ERROR_COLUMNS)),
            "is_submit_wanted": False,
            **self._plan_columns(spec, assets),
        }

        replace, forget = _replaced(record, ()), _forget_handbacks(record)

        def begin_again(transaction: Transaction) -> None:
            replace(transaction)
            forget(transaction)

        return await self._guarded(record, EntryState.PENDING, "brought back", facts, begin_again)

    def _plan_columns(self, spec: str, assets: Sequence[Asset]) -> Row:
        return plan_columns(spec, assets, with_inodes=not self.backend.is_shared)

    async def put_plan_back(self, record: EntryRecord) -> EntryRecord:
        """Undo `replan_entry` for a change that the service refused; the job is unchanged."""
        if record.plan_before is None:
            return record
        facts = {
            **columns_of_kept_plan(record.plan_before),
            "change_wanted": None,
            "plan_before": None,
        }
        return await self._guarded(record, record.state, None, facts)

    async def claim(self, record: EntryRecord) -> EntryRecord:
        """Raise the entry's epoch, so that its previous holder can no longer write; returns the new record."""
        now = self._clock()
        started_at = record.started_at or now
        facts = {"epoch": record.epoch + 1, "started_at": started_at, "holder": self._holder, "held_at": now}
        kept: Row = {"batch": record.batch, "entry_id": record.entry_id, "kept": KEPT_ATTEMPTS}

        def forget_old_attempts(transaction: Transaction) -> None:
            transaction.execute(statements.FORGET_ATTEMPTS, kept)

        then = forget_old_attempts if record.attempts > KEPT_ATTEMPTS else None
        return await self._guarded(record, record.state, None, facts, then)

    async def transition(
        self, record: EntryRecord, target: EntryState, reason: str, **facts: Any
    ) -> EntryRecord:
        """Change the state together with *facts*, if the entry still matches *record*.

        A failed entry that is resumed loses its error. Raises IllegalTransitionError, or StaleEpochError when another
        worker has written since.
        """
        check_transition(record.state, target)
        if record.state is EntryState.FAILED and target is not EntryState.CANCELLED:
            columns = dict.fromkeys(ERROR_COLUMNS)
            changed = await self._guarded(record, target, reason, {**facts, **columns})
            return changed._replace(error=None)
        return await self._guarded(record, target, reason, facts)

    async def create_requested(
        self, record: EntryRecord, tag: str, reason: str, *, of_job: SeenJob | None = None
    ) -> EntryRecord:
        """Record, before the create, that a job may carry *tag*; the record stays, whatever happens to the entry.

        With *of_job*, which another journal created, an update gives the tag to that job.
        """
        check_transition(record.state, EntryState.CREATING)
        row = {
            "batch": record.batch,
            "tag": tag,
            "entry_id": record.entry_id,
            "made_at": self._clock() if of_job is None else of_job.created_at or 0.0,
            "name": record.avatar.name,
            "job_id": None if of_job is None else of_job.job_id,
        }

        def keep_create(transaction: Transaction) -> None:
            transaction.insert("creates", row)

        facts = {"create_tag": tag}
        return await self._guarded(record, EntryState.CREATING, reason, facts, keep_create)

    async def set_facts(self, record: EntryRecord, **facts: Any) -> EntryRecord:
        """Change *facts* without a change of state, under the same guard as a transition."""
        return await self._guarded(record, record.state, None, facts)

    async def failed(self, record: EntryRecord, error: ErrorRecord, **facts: Any) -> EntryRecord:
        """Record why the entry failed, together with *facts*."""
        check_transition(record.state, EntryState.FAILED)
        columns = {**facts, **error.columns()}
        changed = await self._guarded(record, EntryState.FAILED, error.message, columns)
        return changed._replace(error=error)

    async def hand_back(self, record: EntryRecord, host: str, reason: str) -> EntryRecord:
        """Record that *host* cannot use the entry's files, and why; nothing else changes."""
        key: Row = {"batch": record.batch, "entry_id": record.entry_id}
        row = {**key, "host": host, "at": self._clock(), "reason": reason}

        def keep(transaction: Transaction) -> None:
            transaction.execute(statements.HAND_BACK, row)

        return await self._guarded(record, record.state, None, {}, keep)

    async def forget_handbacks(self, batch: str, entry_ids: Iterable[str]) -> None:
        """Delete the handbacks of these entries, so that every host tries their files again."""
        rows = [{"key_batch": batch, "key_entry_id": entry_id} for entry_id in entry_ids]
        if rows:
            await self._write_rows(statements.FORGET_HANDBACKS, rows)

    async def job_created(
        self, record: EntryRecord, job_id: str, planned: Sequence[SegmentRecord], reason: str
    ) -> EntryRecord:
        """Record the job and its *planned* segments; the entry becomes uploading."""
        check_transition(record.state, EntryState.UPLOADING)
        facts = {"job_id": job_id, "created_at": self._clock()}

        return await self._guarded(record, EntryState.UPLOADING, reason, facts, _replaced(record, planned))

    async def job_adopted(
        self, record: EntryRecord, job_id: str, target: EntryState, reason: str, *, delivered: str
    ) -> EntryRecord:
        """Record a job that already holds its files, sent without this journal; *target* is the entry's new state."""
        check_takeover(record.state, target)

        now = self._clock()
        facts = {"job_id": job_id, "created_at": now, "confirmed_at": now, "delivered": delivered}
        if target is not EntryState.CONFIRMED:
            facts["submitted_at"] = now
        return await self._guarded(record, target, reason, facts, _replaced(record, ()))

    async def job_moved(self, record: EntryRecord, giver: EntryRecord, reason: str) -> EntryRecord:
        """Move the job of *giver*, with all its facts, to the entry, which has none; *giver* is cancelled.

        Raises StaleEpochError when either entry has changed since.
        """
        check_transition(giver.state, EntryState.CANCELLED)
        facts = {name: getattr(giver, name) for name in _MOVED_FACTS}
        target = _state_of(giver)

        def give(transaction: Transaction) -> None:
            key = _entry_key(giver)
            place = {"new_batch": record.batch, "new_entry_id": record.entry_id}
            transaction.execute(statements.MOVE_SEGMENTS, {**key, **place})
            cancelled = {"cancelled": EntryState.CANCELLED.value, "at": self._clock()}
            transaction.execute(statements.GIVE_JOB_UP, {**key, **cancelled})
            reason = "another batch took its job over"
            row = self._transition_row(giver, EntryState.CANCELLED, reason, self._clock())
            transaction.insert("transitions", row)

        return await self._guarded(record, target, reason, facts, give, also=giver)

    async def job_gone(self, record: EntryRecord, reason: str) -> EntryRecord:
        """Forget the job, which the service no longer has; the entry is pending again."""
        check_transition(record.state, EntryState.PENDING)

        facts = dict.fromkeys(_JOB_FACTS)
        return await self._guarded(record, EntryState.PENDING, reason, facts, _replaced(record, ()))

    async def job_reopened(
        self, record: EntryRecord, planned: Sequence[SegmentRecord], reason: str
    ) -> EntryRecord:
        """Record that the job accepts files again, for the *planned* segments; the entry becomes uploading."""
        if record.state is not EntryState.UPLOADING:
            check_transition(record.state, EntryState.UPLOADING)

        facts = dict.fromkeys(_UPLOAD_FACTS)
        return await self._guarded(record, EntryState.UPLOADING, reason, facts, _replaced(record, planned))

    async def confirmed(
        self, record: EntryRecord, reason: str, *, delivered: str, **facts: Any
    ) -> EntryRecord:
        """Record that the job holds its files, and delete its URLs, which are no longer needed."""
        check_transition(record.state, EntryState.CONFIRMED)

        def drop_urls(transaction: Transaction) -> None:
            transaction.execute(statements.DROP_URLS, _entry_key(record))

        facts |= {"confirmed_at": self._clock(), "delivered": delivered}
        return await self._guarded(record, EntryState.CONFIRMED, reason, facts, drop_urls)

    async def segment_started(self, record: EntryRecord, kind: AssetKind, part_number: int) -> None:
        """Record, before the PUT, that the store may have the segment from now on."""
        row = {**_segment_key(record, kind, part_number), "at": self._clock()}
        await self._write_rows(statements.START_SEGMENT, [row])

    async def segment_stored(
        self,
        record: EntryRecord,
        kind: AssetKind,
        part_number: int,
        receipt: Receipt,
        attempts: int,
        *,
        times: SegmentTimes = NOT_TIMED,
    ) -> None:
        """Record the receipt, the number of attempts and the time that the segment took."""
        row = {
            **_segment_key(record, kind, part_number),
            "at": self._clock(),
            "new_etag": receipt.etag,
            "new_md5": receipt.md5,
            "new_is_verified": receipt.is_verified,
            "new_evidence": receipt.evidence.value,
            "new_attempts": attempts,
            "new_put_seconds": times.put_seconds,
            "new_took_seconds": times.took_seconds,
        }
        await self._write_rows(statements.STORE_SEGMENT, [row])

    async def segments_missing(self, record: EntryRecord, parts: Iterable[tuple[AssetKind, int]]) -> None:
        """Drop the receipts of *parts*, (kind, part number), which the service does not have."""
        rows = [_segment_key(record, kind, part_number) for kind, part_number in parts]
        await self._write_rows(statements.DROP_RECEIPT, rows)

    async def replace_segments(self, record: EntryRecord, planned: Sequence[SegmentRecord]) -> EntryRecord:
        """Replace the segments with *planned*, which has fresh URLs; the progress of confirms is cleared."""
        facts = dict.fromkeys(("confirm_sent_at", "training_confirm", "action_confirm"))
        return await self._guarded(record, record.state, None, facts, _replaced(record, planned))

    def note_attempt(self, record: EntryRecord, attempt: AttemptRecord) -> None:
        """Record a failed attempt; it is committed with the next write."""
        row = {name: getattr(attempt, name) for name in AttemptRecord.__slots__}

        def write(transaction: Transaction) -> None:
            transaction.insert("attempts", {"batch": record.batch, "entry_id": record.entry_id, **row})
            transaction.add_row(
                statements.COUNT_ATTEMPT, {"key_batch": record.batch, "key_entry_id": record.entry_id}
            )

        self.backend.write_later(write)

    async def _guarded(
        self,
        record: EntryRecord,
        target: EntryState,
        reason: str | None,
        facts: Row,
        then: Callable[[Transaction], Any] | None = None,
        *,
        also: EntryRecord | None = None,
    ) -> EntryRecord:
        """Write *facts*, the transition to *target* if *reason* is given, and run *then*, all in one transaction.

        The entry *also* must match its record, too.
        """
        now = self._clock()
        columns = {"state": target.value, "updated_at": now, **facts}
        statement = statements.update_entry(tuple(columns))

        def write(transaction: Transaction) -> None:
            if also is not None and not transaction.select(statements.HAS_ENTRY, _guard(also)):
                raise _stale(also)
            # Only the statement's own WHERE can check that: the caller's record was read before the transaction.
            guard = _guard(record)
            if transaction.execute(statement, {**columns, **guard}) == 0:
                raise _stale(record)
            if reason is not None:
                transaction.insert("transitions", self._transition_row(record, target, reason, now))
            if then is not None:
                then(transaction)

        await self.backend.write(write)
        # Some columns, such as those of an error, are not fields of the record.
        known = {name: value for name, value in facts.items() if name in _RECORD_FIELDS}
        return record._replace(state=target, updated_at=now, **known)

    def _transition_row(self, record: EntryRecord, target: EntryState, reason: str, now: float) -> Row:
        return {
            "batch": record.batch,
            "entry_id": record.entry_id,
            "at": now,
            "from_state": record.state.value,
            "to_state": target.value,
            "reason": reason,
            "epoch": record.epoch,
            "holder": self._holder,
        }

    async def _write_rows(self, statement: str, rows: Sequence[Row]) -> None:
        """Execute *statement* for each of *rows*.

        Statements about segments change nothing under an old epoch; the next transition then raises.
        """

        def write(transaction: Transaction) -> None:
            for row in rows:
                transaction.add_row(statement, row)

        await self.backend.write(write)


def _entry_key(record: EntryRecord) -> Row:
    return {"key_batch": record.batch, "key_entry_id": record.entry_id, "key_epoch": record.epoch}


def _guard(record: EntryRecord) -> Row:
    return {**_entry_key(record), "key_state": record.state.value}


def _state_of(giver: EntryRecord) -> EntryState:
    """Return the state of an entry that gets the job of *giver*, which may have failed."""
    if giver.state is not EntryState.FAILED:
        return giver.state
    if giver.submitted_at is not None:
        return EntryState.IN_REVIEW
    if giver.confirmed_at is not None:
        return EntryState.CONFIRMED
    return EntryState.UPLOADING if giver.job_id is not None else EntryState.CREATING


def _segment_key(record: EntryRecord, kind: AssetKind, part_number: int) -> Row:
    return {**_entry_key(record), "key_asset": kind.value, "key_part_number": part_number}


def _stale(record: EntryRecord) -> StaleEpochError:
    return StaleEpochError(f"entry {record.entry_id} is held by another worker; nothing was written")


def _forget_handbacks(record: EntryRecord) -> Callable[[Transaction], object]:
    """Return a write that deletes the entry's handbacks, which are void once its plan is replaced."""
    return lambda transaction: transaction.execute(statements.FORGET_HANDBACKS, _entry_key(record))


def _replaced(record: EntryRecord, planned: Sequence[SegmentRecord]) -> Callable[[Transaction], None]:
    """Return a write that replaces the entry's segments with *planned*."""

    def replace_segments(transaction: Transaction) -> None:
        transaction.execute(statements.DELETE_SEGMENTS, _entry_key(record))
        for segment in planned:
            transaction.insert("segments", segment_row(record, segment))

    return replace_segments
