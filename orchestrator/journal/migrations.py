"""Numbered migrations, applied in one transaction with their record.

A migration never changes once it has been released; a new one is added at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.errors import JournalError
from orchestrator.journal.backend import Transaction

MIGRATIONS_TABLE = "schema_migrations"
_CREATE_MIGRATIONS_TABLE = f"""CREATE TABLE IF NOT EXISTS {MIGRATIONS_TABLE} (
    version INTEGER NOT NULL, name TEXT, applied_at DOUBLE PRECISION, PRIMARY KEY (version))"""


@dataclass(frozen=True, slots=True)
class Migration:
    """The statements that upgrade a journal from the previous version to this one."""

    version: int
    name: str
    statements: tuple[str, ...]


MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        1,
        "batches, entries, segments, transitions, attempts",
        (
            """CREATE TABLE batches (
                batch TEXT PRIMARY KEY, endpoint TEXT NOT NULL, project_id TEXT NOT NULL, name TEXT NOT NULL,
                manifest_path TEXT, is_submit_wanted BOOLEAN NOT NULL, created_at DOUBLE PRECISION NOT NULL,
                last_run_id TEXT, last_run_at DOUBLE PRECISION, last_exit_code INTEGER)""",
            """CREATE TABLE entries (
                batch TEXT NOT NULL REFERENCES batches (batch) ON DELETE CASCADE, entry_id TEXT NOT NULL,
                position INTEGER NOT NULL, spec TEXT NOT NULL, files TEXT NOT NULL, bytes BIGINT NOT NULL,
                state TEXT NOT NULL, epoch INTEGER NOT NULL DEFAULT 0, job_id TEXT, create_tag TEXT,
                created_at DOUBLE PRECISION, confirm_sent_at DOUBLE PRECISION, confirmed_at DOUBLE PRECISION,
                submit_sent_at DOUBLE PRECISION, submitted_at DOUBLE PRECISION, service_state TEXT,
                review_code TEXT, review_reason TEXT, delivered TEXT, attempts INTEGER NOT NULL DEFAULT 0,
                started_at DOUBLE PRECISION, updated_at DOUBLE PRECISION NOT NULL, error_kind TEXT,
                error_code TEXT, error_message TEXT, error_request_id TEXT, error_hint TEXT,
                PRIMARY KEY (batch, entry_id))""",
            "CREATE INDEX entries_by_position ON entries (batch, position)",
            """CREATE TABLE segments (
                batch TEXT NOT NULL, entry_id TEXT NOT NULL, asset TEXT NOT NULL,
                part_number INTEGER NOT NULL, "offset" BIGINT NOT NULL, length BIGINT NOT NULL, url TEXT,
                started_at DOUBLE PRECISION, stored_at DOUBLE PRECISION, etag TEXT, md5 TEXT,
                is_verified BOOLEAN, attempts INTEGER NOT NULL DEFAULT 0,
                PRIMARY KEY (batch, entry_id, asset, part_number),
                FOREIGN KEY (batch, entry_id) REFERENCES entries (batch, entry_id) ON DELETE CASCADE)""",
            """CREATE TABLE transitions (
                batch TEXT NOT NULL, entry_id TEXT NOT NULL, at DOUBLE PRECISION NOT NULL,
                from_state TEXT NOT NULL, to_state TEXT NOT NULL, reason TEXT, epoch INTEGER NOT NULL,
                FOREIGN KEY (batch, entry_id) REFERENCES entries (batch, entry_id) ON DELETE CASCADE)""",
            "CREATE INDEX transitions_by_entry ON transitions (batch, entry_id)",
            """CREATE TABLE attempts (
                batch TEXT NOT NULL, entry_id TEXT NOT NULL, at DOUBLE PRECISION NOT NULL,
                operation TEXT NOT NULL, asset TEXT, part_number INTEGER, attempt INTEGER NOT NULL,
                kind TEXT NOT NULL, code TEXT, message TEXT, request_id TEXT, seconds DOUBLE PRECISION,
                FOREIGN KEY (batch, entry_id) REFERENCES entries (batch, entry_id) ON DELETE CASCADE)""",
            "CREATE INDEX attempts_by_entry ON attempts (batch, entry_id)",
        ),
    ),
    Migration(
        2,
        "changes of entries that have a job",
        (
            "ALTER TABLE entries ADD COLUMN change_wanted TEXT",
            "ALTER TABLE entries ADD COLUMN is_submit_wanted BOOLEAN",
        ),
    ),
    Migration(
        3,
        "the plan before a change, for one that is refused",
        ("ALTER TABLE entries ADD COLUMN plan_before TEXT",),
    ),
    Migration(
        4,
        "every create that was made",
        (
            """CREATE TABLE creates (
                batch TEXT NOT NULL REFERENCES batches (batch) ON DELETE CASCADE, tag TEXT NOT NULL,
                entry_id TEXT NOT NULL, made_at DOUBLE PRECISION NOT NULL, name TEXT,
                job_id TEXT,
                PRIMARY KEY (batch, tag))""",
            """INSERT INTO creates (batch, tag, entry_id, made_at)
                SELECT DISTINCT batch, create_tag, entry_id, coalesce(started_at, created_at, updated_at)
                FROM entries WHERE create_tag IS NOT NULL""",
        ),
    ),
    Migration(
        5,
        "how far the confirm of each video is, when the job was updated, on whose word a segment is stored",
        (
            "ALTER TABLE entries ADD COLUMN training_confirm TEXT",
            "ALTER TABLE entries ADD COLUMN action_confirm TEXT",
            "ALTER TABLE entries ADD COLUMN job_updated_at DOUBLE PRECISION",
            "ALTER TABLE segments ADD COLUMN evidence TEXT",
            """UPDATE entries SET training_confirm = 'sent', action_confirm = 'sent'
                WHERE confirm_sent_at IS NOT NULL AND confirmed_at IS NULL""",
        ),
    ),
    Migration(
        6,
        "what a manifest asks for before an entry is submitted",
        ("ALTER TABLE batches ADD COLUMN submit_requires TEXT",),
    ),
    Migration(
        7,
        "what reviews came to, beyond the life of a batch",
        (
            """CREATE TABLE reviews (
                batch TEXT NOT NULL, entry_id TEXT NOT NULL, job_id TEXT,
                submitted_at DOUBLE PRECISION NOT NULL, at DOUBLE PRECISION NOT NULL,
                is_passed BOOLEAN NOT NULL, reason TEXT, code TEXT, redo_reasons TEXT NOT NULL,
                PRIMARY KEY (batch, entry_id, submitted_at))""",
        ),
    ),
    Migration(
        8,
        "every run of a batch",
        (
            """CREATE TABLE runs (
                batch TEXT NOT NULL REFERENCES batches (batch) ON DELETE CASCADE, run_id TEXT NOT NULL,
                started_at DOUBLE PRECISION NOT NULL, ended_at DOUBLE PRECISION, exit_code INTEGER,
                entries TEXT, version TEXT NOT NULL, host TEXT NOT NULL, pid BIGINT NOT NULL,
                PRIMARY KEY (batch, run_id))""",
        ),
    ),
    Migration(
        9,
        "how long segments took, what went wrong in runs, where their events are",
        (
            "ALTER TABLE segments ADD COLUMN put_seconds DOUBLE PRECISION",
            "ALTER TABLE segments ADD COLUMN took_seconds DOUBLE PRECISION",
            "ALTER TABLE runs ADD COLUMN events_path TEXT",
            """CREATE TABLE incidents (
                batch TEXT NOT NULL REFERENCES batches (batch) ON DELETE CASCADE, run_id TEXT NOT NULL,
                at DOUBLE PRECISION NOT NULL, ended_at DOUBLE PRECISION, kind TEXT NOT NULL, subject TEXT NOT NULL,
                message TEXT NOT NULL)""",
            "CREATE INDEX incidents_by_batch ON incidents (batch, at)",
        ),
    ),
    Migration(
        10,
        "which process holds an entry, and which one moved it",
        (
            "ALTER TABLE entries ADD COLUMN holder TEXT",
            "ALTER TABLE entries ADD COLUMN held_at DOUBLE PRECISION",
            "ALTER TABLE transitions ADD COLUMN holder TEXT",
        ),
    ),
    Migration(
        11,
        "what people and programs are notified of",
        (
            """CREATE TABLE notices (
                batch TEXT NOT NULL REFERENCES batches (batch) ON DELETE CASCADE, target TEXT NOT NULL,
                subject TEXT NOT NULL, reason TEXT NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL,
                state TEXT NOT NULL, at DOUBLE PRECISION NOT NULL,
                PRIMARY KEY (batch, target, subject))""",
        ),
    ),
    Migration(
        12,
        "the last transaction of each session of a server, of which the answer may be lost",
        (
            """CREATE TABLE commits (
                writer TEXT PRIMARY KEY, number BIGINT NOT NULL, at DOUBLE PRECISION NOT NULL)""",
        ),
    ),
    Migration(
        13,
        "what is decided with a batch, wherever it is uploaded",
        ("ALTER TABLE batches ADD COLUMN settings TEXT",),
    ),
    Migration(
        14,
        "which hosts of a fleet cannot use an entry's files",
        (
            """CREATE TABLE handbacks (
                batch TEXT NOT NULL, entry_id TEXT NOT NULL, host TEXT NOT NULL, at DOUBLE PRECISION NOT NULL,
                reason TEXT NOT NULL, PRIMARY KEY (batch, entry_id, host),
                FOREIGN KEY (batch, entry_id) REFERENCES entries (batch, entry_id) ON DELETE CASCADE)""",
        ),
    ),
)

NEWEST = MIGRATIONS[-1].version


def migrate(transaction: Transaction, now: float, migrations: tuple[Migration, ...] = MIGRATIONS) -> None:
    """Upgrade the journal to the newest version, inside the caller's transaction.

    Raises JournalError if a newer program wrote it.
    """
    transaction.execute(_CREATE_MIGRATIONS_TABLE, {})
    ((found,),) = transaction.select(f"SELECT max(version) FROM {MIGRATIONS_TABLE}", {})
    version = found or 0
    newest = migrations[-1].version
    if version > newest:
        raise JournalError(
            f"the journal was written by a newer version of this program (schema {version}, known {newest})",
            hint="upgrade metastudio-orchestrator, or name another journal with --state",
        )
    # The records are written in the same transaction: a kill half-way leaves the previous version.
    for migration in migrations:
        if migration.version <= version:
            continue
        for statement in migration.statements:
            transaction.execute(statement, {})
        row = {"version": migration.version, "name": migration.name, "applied_at": now}
        transaction.insert(MIGRATIONS_TABLE, row)
