"""What only a file's one lock for writers brings with it."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import anyio
import pytest

from orchestrator.domain.errors import JournalError
from orchestrator.journal.backend import Transaction
from orchestrator.journal.journal import Journal, open_journal
from orchestrator.journal.records import EntryRecord
from tests.journal.conftest import Look
from tests.journal.samples import Clock, add_entries, add_entry, database_of


@pytest.fixture
def location(path: Path) -> str:
    """SQLite's alone."""
    return str(path)


@pytest.mark.usefixtures("impatient")
async def test_a_lock_is_waited_for_once_and_not_by_every_writer(path: Path) -> None:
    """Hundreds of writers, each patient for half a minute, would be hours."""
    async with open_journal(str(path), clock=Clock()) as journal:
        records = await add_entries(journal, 20)
        statements: list[str] = []
        writer = database_of(journal).writer
        assert isinstance(writer, sqlite3.Connection)
        writer.set_trace_callback(statements.append)
        failed: list[bool] = []

        async def write(record: EntryRecord) -> None:
            try:
                await journal.claim(record)
            except JournalError as error:
                failed.append(error.is_temporary)

        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            async with anyio.create_task_group() as group:
                for record in records:
                    group.start_soon(write, record)

        assert failed == [True] * len(records)
        assert 1 <= statements.count("BEGIN IMMEDIATE") <= 2


async def test_a_writer_that_reads_first_cannot_be_overtaken(
    journal: Journal, path: Path, look: Look
) -> None:
    """It has the write lock from its beginning: taking it only for the first change could fail half-way."""
    await add_entry(journal)

    def read_then_write(transaction: Transaction) -> None:
        transaction.select("SELECT count(*) FROM entries", {})
        other = sqlite3.connect(path, timeout=0, isolation_level=None)
        with closing(other), suppress(sqlite3.OperationalError):
            other.execute("UPDATE batches SET name='theirs'")
        transaction.execute("UPDATE batches SET name='mine'", {})

    await database_of(journal).write(read_then_write)

    assert look("SELECT name FROM batches") == [("mine",)]
