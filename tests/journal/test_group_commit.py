"""Concurrent writers share commits, and each returns only when its own write is durable."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from orchestrator.domain.assets import AssetKind
from orchestrator.domain.errors import JournalError, StaleEpochError
from orchestrator.domain.states import EntryState
from orchestrator.journal.backend import Transaction, shown
from orchestrator.journal.group_commit import LONE_COMMITS, MAX_GROUP
from orchestrator.journal.history import AttemptRecord
from orchestrator.journal.journal import Journal, open_journal
from orchestrator.journal.records import EntryRecord
from tests.journal.conftest import Look
from tests.journal.samples import (
    BATCH,
    RECEIPT,
    Clock,
    add_entries,
    add_entry,
    database_of,
    upload,
    writing,
)

ATTEMPT = AttemptRecord(
    at=1.0,
    operation="put",
    asset="cover",
    part_number=1,
    attempt=1,
    kind="throttled",
    code="SlowDown",
    message="slow down",
    request_id="R1",
    seconds=None,
)


class Commits:
    """Counts the commits of a journal."""

    def __init__(self, journal: Journal) -> None:
        self.count = 0
        self._writer: Any = database_of(journal).writer
        self._commit = self._writer.commit
        self._writer.commit = self._counted

    def _counted(self) -> None:
        self.count += 1
        self._commit()


async def claim_together(journal: Journal, records: Iterable[EntryRecord]) -> None:
    """Claim all of *records* at once."""
    async with anyio.create_task_group() as group:
        for record in records:
            group.start_soon(journal.claim, record)


async def test_many_writers_need_few_commits(journal: Journal) -> None:
    """While one group's commit is on its way to the disk the next group gathers."""
    writers = 2 * MAX_GROUP + 10
    records = await add_entries(journal, writers)
    commits = Commits(journal)

    await claim_together(journal, records)

    assert 1 <= commits.count <= math.ceil(writers / MAX_GROUP) + 1
    assert {record.epoch async for record in journal.entries(BATCH)} == {1}


async def test_a_writer_returns_only_when_its_write_is_durable(journal: Journal, look: Look) -> None:
    """Another connection sees the row the moment the call returns."""
    records = await add_entries(journal, 50)
    unseen: list[str] = []

    async def write(record: EntryRecord) -> None:
        await journal.transition(record, EntryState.CREATING, "requested")
        if look(f"SELECT state FROM entries WHERE entry_id='{record.entry_id}'") != [("creating",)]:
            unseen.append(record.entry_id)

    async with anyio.create_task_group() as group:
        for record in records:
            group.start_soon(write, record)

    assert unseen == []


async def test_a_writer_whose_guard_fails_does_not_spoil_the_others(journal: Journal) -> None:
    """Only its own caller learns of it."""
    records = await add_entries(journal, 9)
    stale = records[4]
    await journal.claim(stale)
    refused: list[str] = []
    commits = Commits(journal)

    async def write(record: EntryRecord) -> None:
        try:
            await journal.transition(record, EntryState.CREATING, "requested")
        except StaleEpochError:
            refused.append(record.entry_id)

    async with anyio.create_task_group() as group:
        for record in records:
            group.start_soon(write, record)

    assert refused == [stale.entry_id]
    assert 1 <= commits.count <= 2, "the stale one shares a commit with others"
    assert await journal.counts(BATCH) == {EntryState.PENDING: 1, EntryState.CREATING: 8}


async def test_a_write_the_database_refuses_does_not_spoil_the_others(journal: Journal, look: Look) -> None:
    """Its group is rolled back and written again without it; it leaves nothing of itself, not even in guards."""
    records = await add_entries(journal, 6)
    database = database_of(journal)
    refused: list[str] = []

    def write_half(transaction: Transaction) -> None:
        writing("UPDATE entries SET spec='half', epoch=epoch+1")(transaction)
        transaction.add_row("INSERT INTO nowhere VALUES (:x)", {"x": 1})

    async def spoil() -> None:
        try:
            await database.write(write_half)
        except JournalError as error:
            refused.append(error.message)

    async with anyio.create_task_group() as group:
        for record in records:
            group.start_soon(journal.transition, record, EntryState.CREATING, "requested")
            group.start_soon(spoil)

    assert len(refused) == len(records)
    assert all(message.startswith("the journal failed: ") and "nowhere" in message for message in refused)
    assert await journal.counts(BATCH) == {EntryState.CREATING: len(records)}
    assert look("SELECT count(*) FROM transitions") == [(len(records),)]
    assert look("SELECT count(*) FROM entries WHERE spec='half'") == [(0,)]


async def test_receipts_of_many_entries_share_one_statement(journal: Journal) -> None:
    """Rows of one statement go to the database together, each under its own entry's epoch."""
    records = [await upload(journal, record) for record in await add_entries(journal, 5)]
    await journal.claim(records[2])

    async with anyio.create_task_group() as group:
        for record in records:
            for number in (1, 2):
                group.start_soon(journal.segment_stored, record, AssetKind.TRAINING_VIDEO, number, RECEIPT, 1)

    stored = await journal.stored_bytes(BATCH, [record.entry_id for record in records])
    assert set(stored) == {record.entry_id for record in records} - {records[2].entry_id}
    assert set(stored.values()) == {333_335 + 333_334}


class HeldUp:
    """An operation that waits inside its transaction until it is let go."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.may_go_on = threading.Event()

    def __call__(self, _: Transaction) -> None:
        self.has_begun.set()
        assert self.may_go_on.wait(10)


async def test_a_write_that_has_its_turn_is_not_lost_to_a_cancellation(journal: Journal, look: Look) -> None:
    """Between the queue and the disk nothing is dropped, not even in the moment before the thread starts."""
    record = await add_entry(journal)

    async with anyio.create_task_group() as group:

        async def cancel() -> None:
            group.cancel_scope.cancel()

        group.start_soon(journal.claim, record)
        group.start_soon(cancel)

    assert look("SELECT epoch FROM entries") == [(1,)]


async def test_cancelling_writers_loses_nothing(journal: Journal, look: Look) -> None:
    """Neither the one whose group is being committed nor those that wait for their turn."""
    committing, waiting = await add_entries(journal, 2)
    held_up = HeldUp()
    database = database_of(journal)
    database.write_later(held_up)

    async with anyio.create_task_group() as group:
        group.start_soon(journal.claim, committing)
        await anyio.to_thread.run_sync(held_up.has_begun.wait, 10)
        group.start_soon(journal.claim, waiting)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
        await anyio.lowlevel.cancel_shielded_checkpoint()
        held_up.may_go_on.set()

    assert look("SELECT epoch FROM entries ORDER BY position") == [(1,), (0,)]
    await database.flush()
    assert look("SELECT epoch FROM entries ORDER BY position") == [(1,), (1,)]


async def test_a_writer_cut_off_by_force_leaves_nobody_believing_in_its_commit(journal: Journal) -> None:
    """A raw cancellation goes through every shield; those who shared the commit are told."""
    first, second = await add_entries(journal, 2)
    held_up = HeldUp()
    database_of(journal).write_later(held_up)

    cut_off = asyncio.create_task(journal.claim(first))
    told = asyncio.create_task(journal.claim(second))
    await anyio.to_thread.run_sync(held_up.has_begun.wait, 10)
    cut_off.cancel()

    try:
        with pytest.raises(JournalError, match="interrupted"):
            await told
        assert cut_off.cancelled()
    finally:
        held_up.may_go_on.set()


async def test_a_writer_cut_off_by_force_before_its_commit_holds_up_nobody(
    journal: Journal, look: Look
) -> None:
    """Its write is left to whoever writes next."""
    first, second, third = await add_entries(journal, 3)
    await journal.claim(first)
    cut_off = asyncio.create_task(journal.claim(second))
    await anyio.lowlevel.checkpoint()
    cut_off.cancel()
    with suppress(asyncio.CancelledError):
        await cut_off

    await journal.claim(third)

    assert look("SELECT epoch FROM entries ORDER BY position") == [(1,), (1,), (1,)]


async def test_a_writer_cancelled_at_its_turn_passes_it_on(journal: Journal, look: Look) -> None:
    """In the very moment in which it was to commit for itself and those behind it."""
    records = await add_entries(journal, 4)
    held_up = HeldUp()
    database_of(journal).write_later(held_up)

    async def claim_and_cancel_the_next() -> None:
        await journal.claim(records[1])
        tasks[2].cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(journal.claim, records[0])
        group.start_soon(claim_and_cancel_the_next)
        await anyio.to_thread.run_sync(held_up.has_begun.wait, 10)
        tasks = {number: asyncio.create_task(journal.claim(records[number])) for number in (2, 3)}
        await anyio.wait_all_tasks_blocked()
        held_up.may_go_on.set()

    with anyio.fail_after(5):
        await tasks[3]
    assert tasks[2].cancelled()
    assert look("SELECT epoch FROM entries ORDER BY position") == [(1,), (1,), (1,), (1,)]


async def test_who_writes_right_after_a_shared_commit_waits_for_the_others(journal: Journal) -> None:
    """Commits keep their distance; what comes in between shares the next."""
    *crowd, second, third = await add_entries(journal, 5)
    await claim_together(journal, crowd)
    commits = Commits(journal)

    async with anyio.create_task_group() as group:
        group.start_soon(journal.claim, second)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(journal.claim, third)

    assert commits.count == 1


async def test_who_writes_alone_waits_for_nobody(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """One write after another goes straight to the disk, from the start and again when the others are gone."""
    *crowd, record = await add_entries(journal, 4)
    waits: list[float] = []

    async def note_wait(seconds: float) -> None:
        waits.append(seconds)
        await anyio.lowlevel.checkpoint()

    async def write_alone(count: int) -> list[float]:
        nonlocal record
        waits.clear()
        for _ in range(count):
            record = await journal.claim(record)
        return waits.copy()

    monkeypatch.setattr(anyio, "sleep", note_wait)
    assert await write_alone(3) == [0, 0, 0]
    await claim_together(journal, crowd)
    assert max(await write_alone(LONE_COMMITS)) > 0
    assert await write_alone(2) == [0, 0]


async def test_notes_ride_along_with_the_next_write(journal: Journal, look: Look) -> None:
    """Nobody waits for the record of a failed try, and nobody pays a commit for it."""
    record = await add_entry(journal)

    journal.note_attempt(record, ATTEMPT)
    before = look("SELECT count(*) FROM attempts")
    await journal.claim(record)

    assert before == [(0,)]
    assert look("SELECT code, attempts FROM attempts JOIN entries USING (batch, entry_id)") == [
        ("SlowDown", 1)
    ]


async def test_notes_are_written_when_the_journal_closes(location: str, look: Look) -> None:
    """Also more than one group of them."""
    async with open_journal(location, clock=Clock()) as journal:
        record = await add_entry(journal)
        for _ in range(MAX_GROUP + 5):
            journal.note_attempt(record, ATTEMPT)

    assert look("SELECT count(*) FROM attempts") == [(MAX_GROUP + 5,)]


class StopError(Exception):
    """What ends a run."""


async def stop_after(location: str, *spoiling: str) -> None:
    """A run that notes a failed try, and then ends in an error; *spoiling* breaks its journal."""
    async with open_journal(location, clock=Clock()) as journal:
        record = await add_entry(journal)
        for sql in spoiling:
            await database_of(journal).write(writing(sql))
        journal.note_attempt(record, ATTEMPT)
        raise StopError


async def test_notes_are_written_when_a_run_ends_in_an_error(location: str, look: Look) -> None:
    """What was tried before an error is worth most after it."""
    with pytest.raises(StopError):
        await stop_after(location)

    assert look("SELECT count(*) FROM attempts") == [(1,)]


async def test_the_error_that_ended_a_run_is_not_hidden_by_a_journal_that_fails_too(location: str) -> None:
    """The first error is the cause."""
    with pytest.raises(StopError):
        await stop_after(location, "DROP TABLE attempts")


async def test_notes_are_written_when_a_run_is_cancelled(location: str, look: Look) -> None:
    """A second signal cancels; the journal still closes in order."""
    with anyio.CancelScope() as scope:
        async with open_journal(location, clock=Clock()) as journal:
            journal.note_attempt(await add_entry(journal), ATTEMPT)
            scope.cancel()
            await anyio.sleep_forever()

    assert scope.cancelled_caught
    assert look("SELECT count(*) FROM attempts") == [(1,)]


async def test_the_state_of_the_queue_can_be_read_in_a_debugger(journal: Journal, location: str) -> None:
    """Which journal, how many writes wait, whether a commit is under way."""
    record = await add_entry(journal)
    journal.note_attempt(record, ATTEMPT)

    text = repr(database_of(journal))

    assert shown(location) in text
    assert "1 writes queued, idle" in text
