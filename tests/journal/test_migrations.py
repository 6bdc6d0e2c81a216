"""Journals of older and newer programs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.domain.errors import ExitCode, JournalError, exit_code_of
from orchestrator.journal.group_commit import transaction
from orchestrator.journal.journal import open_journal
from orchestrator.journal.migrations import MIGRATIONS, Migration, migrate
from orchestrator.journal.sqlite import SqliteConnection
from tests.journal.conftest import Look
from tests.journal.samples import BATCH, SPEC, Clock, add_entry


@pytest.fixture
def location(path: Path) -> str:
    """SQLite's alone."""
    return str(path)


NEWEST = MIGRATIONS[-1].version
ADDITION = Migration(
    NEWEST + 1,
    "a column and a table",
    ("ALTER TABLE entries ADD COLUMN mood TEXT DEFAULT 'calm'", "CREATE TABLE moods (mood TEXT)"),
)
BROKEN = Migration(
    NEWEST + 2, "breaks half-way", ("CREATE TABLE half (x TEXT)", "ALTER TABLE nowhere ADD COLUMN y TEXT")
)


@pytest.fixture
def connection(path: Path) -> Iterator[SqliteConnection]:
    """A connection to an empty journal that leaves transactions to the test."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None, factory=SqliteConnection)) as opened:
        yield opened


def migrate_all(
    connection: SqliteConnection, migrations: tuple[Migration, ...] = MIGRATIONS, *, now: float = 1.0
) -> None:
    """Migrate in a transaction, as opening a journal does."""
    with transaction(connection) as begun:
        migrate(begun, now, migrations)


VERSIONS = "SELECT version, name, applied_at FROM schema_migrations ORDER BY version"


def test_each_migration_is_recorded_with_its_time(connection: SqliteConnection, look: Look) -> None:
    """What was done when."""
    migrate_all(connection, MIGRATIONS, now=5.0)
    migrate_all(connection, (*MIGRATIONS, ADDITION), now=9.0)

    earlier = [(migration.version, migration.name, 5.0) for migration in MIGRATIONS]
    assert look(VERSIONS) == [*earlier, (ADDITION.version, ADDITION.name, 9.0)]


def test_migrating_again_changes_nothing(connection: SqliteConnection, look: Look) -> None:
    """Every run opens the journal."""
    migrate_all(connection, now=5.0)
    before = look(VERSIONS), look("SELECT name, sql FROM sqlite_master")

    migrate_all(connection, now=9.0)

    assert (look(VERSIONS), look("SELECT name, sql FROM sqlite_master")) == before


#: The table of migrations as journals have it that were made before its text was ours.
OLD_TABLE = """CREATE TABLE schema_migrations (
\tversion INTEGER NOT NULL,
\tname TEXT,
\tapplied_at DOUBLE,
\tPRIMARY KEY (version)
)"""


def test_a_table_of_migrations_made_by_an_older_program_is_gone_on_with(
    connection: SqliteConnection, look: Look
) -> None:
    """Only what it lacks is applied."""
    connection.execute(OLD_TABLE)
    for statement in MIGRATIONS[0].statements:
        connection.execute(statement)
    connection.execute("INSERT INTO schema_migrations VALUES (1, 'first', 2.0)")

    migrate_all(connection, now=9.0)

    added = [(migration.version, migration.name, 9.0) for migration in MIGRATIONS[1:]]
    assert look(VERSIONS) == [(1, "first", 2.0), *added]


def test_versions_count_up_from_one_without_a_gap() -> None:
    """The highest version tells which are applied."""
    assert [migration.version for migration in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))


@pytest.mark.parametrize("known", range(1, NEWEST))
async def test_a_journal_of_any_older_version_is_brought_up_to_date_with_its_rows(
    connection: SqliteConnection, path: Path, known: int
) -> None:
    """What an older program wrote is what the newer one reads."""
    migrate_all(connection, MIGRATIONS[:known])
    connection.execute(
        "INSERT INTO batches (batch, endpoint, project_id, name, is_submit_wanted, created_at)"
        f" VALUES ('{BATCH}', 'https://host', 'p', 'studio', 0, 1.0)"
    )
    connection.execute(
        "INSERT INTO entries (batch, entry_id, position, spec, files, bytes, state, job_id, updated_at)"
        f" VALUES ('{BATCH}', 'anna', 0, '{SPEC}', '[]', 0, 'uploading', 'job-1', 1.0)"
    )

    async with open_journal(str(path), clock=Clock()) as journal:
        record = await journal.entry(BATCH, "anna")
        assert record is not None
        assert (record.state, record.job_id, record.is_submit_wanted) == ("uploading", "job-1", False)
        assert await journal.claim(record) == await journal.entry(BATCH, "anna")


def test_a_migration_that_fails_leaves_version_and_tables_as_they_were(
    connection: SqliteConnection, look: Look
) -> None:
    """Those before it in the same transaction too: the older program can still read the journal."""
    migrate_all(connection)
    before = look(VERSIONS), look("SELECT name, sql FROM sqlite_master")

    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        migrate_all(connection, (*MIGRATIONS, ADDITION, BROKEN))

    assert (look(VERSIONS), look("SELECT name, sql FROM sqlite_master")) == before


async def test_opening_a_journal_whose_migration_fails_is_a_journal_error(
    path: Path, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way through the group commit, which keeps the writes of others but not half a migration."""
    async with open_journal(str(path), clock=Clock()) as journal:
        await add_entry(journal)
    before = look(VERSIONS), look("SELECT name, sql FROM sqlite_master"), look("SELECT * FROM entries")
    patched = (*MIGRATIONS, ADDITION, BROKEN)
    monkeypatch.setattr(migrate, "__defaults__", (patched,))

    with pytest.raises(JournalError, match="no such table: nowhere"):
        async with open_journal(str(path), clock=Clock()):
            pass

    after = look(VERSIONS), look("SELECT name, sql FROM sqlite_master"), look("SELECT * FROM entries")
    assert after == before


def content_of(path: Path) -> bytes:
    """Every byte of the journal, its log included."""
    with closing(sqlite3.connect(path)) as plain:
        plain.execute("PRAGMA journal_mode=WAL")
    return path.read_bytes()


async def test_a_journal_from_a_newer_program_is_refused_and_untouched(
    connection: SqliteConnection, path: Path
) -> None:
    """The message names both versions; exit 4."""
    newer = replace(ADDITION, version=NEWEST + 3)
    migrate_all(connection, (*MIGRATIONS, newer))
    connection.close()
    content = content_of(path)

    with pytest.raises(JournalError) as caught:
        async with open_journal(str(path), clock=Clock()):
            pass

    assert f"schema {NEWEST + 3}, known {NEWEST}" in caught.value.message
    assert "upgrade" in (caught.value.hint or "")
    assert exit_code_of(caught.value) is ExitCode.CONFIGURATION
    assert content_of(path) == content
