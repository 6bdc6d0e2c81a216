"""The journal's SQL statements, with named parameters, in a form that SQLite and other databases understand.

They are composed of this program's own fragments; data from elsewhere is always a parameter.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

_OF_ENTRY = "batch = :key_batch AND entry_id = :key_entry_id"

#: Comments in a SELECT, and the clauses that replace them on a server so that no other transaction changes the row
#: before this one ends. SQLite has only one writer and ignores the comment.
LOCKS = {"/* locked for share */": "FOR SHARE", "/* locked for update */": "FOR UPDATE"}
_FOR_SHARE, _FOR_UPDATE = LOCKS

#: A segment's row, if the entry is still held under the caller's epoch. Without the lock, a receipt of an old holder
#: could be committed after the claim of the next one, which may already have read the segments.
_HELD_SEGMENT = (
    f"{_OF_ENTRY} AND asset = :key_asset AND part_number = :key_part_number"
    f" AND :key_epoch = (SELECT epoch FROM entries WHERE {_OF_ENTRY} {_FOR_SHARE})"
)

UPDATE_EXIT_CODE = (
    "UPDATE batches SET last_exit_code = :exit_code WHERE batch = :batch AND last_run_id = :run_id"
)
START_RUN = (
    "INSERT INTO runs (batch, run_id, started_at, version, host, pid, events_path)"
    " VALUES (:batch, :run_id, :started_at, :version, :host, :pid, :events_path) ON CONFLICT DO NOTHING"
)
END_RUN = (
    "UPDATE runs SET ended_at = :ended_at, exit_code = :exit_code, entries = :entries"
    " WHERE batch = :batch AND run_id = :run_id AND ended_at IS NULL"
)
#: The command that queued a batch ends without counts; the first worker that sees the end of the batch writes them.
END_QUEUED_RUN = (
    "UPDATE runs SET ended_at = :ended_at, exit_code = :exit_code, entries = :entries"
    " WHERE batch = :batch AND run_id = :run_id AND entries IS NULL"
)
#: The end of an incident, such as an outage, by its subject: the side that was out.
END_INCIDENT = (
    "UPDATE incidents SET ended_at = :at"
    " WHERE batch = :batch AND run_id = :run_id AND kind = :kind AND subject = :subject AND ended_at IS NULL"
)
#: Deletes all incidents but the latest.
FORGET_INCIDENTS = (
    "DELETE FROM incidents WHERE batch = :batch AND at < (SELECT min(at) FROM"
    " (SELECT at FROM incidents WHERE batch = :batch ORDER BY at DESC LIMIT :kept) AS latest)"
)
#: Deletes all attempts of an entry but the latest.
FORGET_ATTEMPTS = (
    "DELETE FROM attempts WHERE batch = :batch AND entry_id = :entry_id AND at < (SELECT min(at) FROM"
    " (SELECT at FROM attempts WHERE batch = :batch AND entry_id = :entry_id ORDER BY at DESC LIMIT :kept)"
    " AS latest)"
)
HAS_RUN = "SELECT 1 FROM runs WHERE batch = :batch AND run_id = :run_id"
DELETE_BATCH = "DELETE FROM batches WHERE batch = :batch"

COUNT_ATTEMPT = f"UPDATE entries SET attempts = attempts + 1 WHERE {_OF_ENTRY}"
MOVE_ENTRY = f"UPDATE entries SET position = :new_position WHERE {_OF_ENTRY}"

#: Only the first time counts: from then on the segment may have been sent.
START_SEGMENT = f"UPDATE segments SET started_at = :at WHERE {_HELD_SEGMENT} AND started_at IS NULL"
STORE_SEGMENT = (
    "UPDATE segments SET stored_at = :at, etag = :new_etag, md5 = :new_md5, is_verified = :new_is_verified,"
    " evidence = :new_evidence, attempts = attempts + :new_attempts,"
    " put_seconds = coalesce(:new_put_seconds, put_seconds),"
    f" took_seconds = coalesce(:new_took_seconds, took_seconds) WHERE {_HELD_SEGMENT}"
)
DROP_RECEIPT = (
    "UPDATE segments SET stored_at = NULL, etag = NULL, md5 = NULL, is_verified = NULL, evidence = NULL"
    f" WHERE {_HELD_SEGMENT}"
)
DELETE_SEGMENTS = f"DELETE FROM segments WHERE {_OF_ENTRY}"
#: URLs are secrets, and useless once the job is confirmed.
DROP_URLS = f"UPDATE segments SET url = NULL WHERE {_OF_ENTRY}"


#: Only the latest report of each host is kept.
HAND_BACK = (
    "INSERT INTO handbacks (batch, entry_id, host, at, reason) VALUES (:batch, :entry_id, :host, :at, :reason)"
    " ON CONFLICT (batch, entry_id, host) DO UPDATE SET at = excluded.at, reason = excluded.reason"
)
FORGET_HANDBACKS = f"DELETE FROM handbacks WHERE {_OF_ENTRY}"

HAS_ENTRY = (
    f"SELECT 1 FROM entries WHERE {_OF_ENTRY} AND epoch = :key_epoch AND state = :key_state {_FOR_UPDATE}"
)
#: The entry's job now belongs to another entry.
GIVE_JOB_UP = (
    "UPDATE entries SET state = :cancelled, epoch = epoch + 1, updated_at = :at, job_id = NULL, create_tag = NULL,"
    f" change_wanted = NULL WHERE {_OF_ENTRY}"
)
#: Receipts move with their job.
MOVE_SEGMENTS = f"UPDATE segments SET batch = :new_batch, entry_id = :new_entry_id WHERE {_OF_ENTRY}"


@lru_cache(maxsize=64)
def insert_into(table: str, columns: tuple[str, ...]) -> str:
    """Return the statement that inserts a row of *columns*, each a parameter of its own name."""
    values = ", ".join(f":{column}" for column in columns)
    return f"INSERT INTO {table} ({listed(columns)}) VALUES ({values})"


@lru_cache(maxsize=64)
def update_batch(columns: tuple[str, ...]) -> str:
    """Return the statement that sets *columns*, each a parameter of its own name, of the batch `:batch`."""
    return f"UPDATE batches SET {_assigned(columns)} WHERE batch = :batch"


@lru_cache(maxsize=64)
def update_entry(columns: tuple[str, ...]) -> str:
    """Return the statement that sets *columns* of an entry, each a parameter of its own name.

    It changes nothing unless state and epoch are still the caller's.
    """
    guard = f"{_OF_ENTRY} AND epoch = :key_epoch AND state = :key_state"
    return f"UPDATE entries SET {_assigned(columns)} WHERE {guard}"


def listed(columns: Iterable[str], *, of: str | None = None) -> str:
    """Return the names of *columns*, qualified with the table *of* when the query joins several tables."""
    return ", ".join(f"{of}.{_name(column)}" if of else _name(column) for column in columns)


def among(name: str, values: Iterable[object]) -> tuple[str, dict[str, object]]:
    """Return a list for IN, and its parameters, whose names begin with *name*.

    Without values the list is one NULL, which equals nothing: only SQLite accepts an empty list.
    """
    parameters = {f"{name}_{number}": value for number, value in enumerate(values)}
    return "(" + (", ".join(f":{key}" for key in parameters) or "NULL") + ")", parameters


def _assigned(columns: Iterable[str]) -> str:
    return ", ".join(f"{_name(column)} = :{column}" for column in columns)


def _name(column: str) -> str:
    """Return *column*, quoted only if it is a keyword: SQLite takes an unknown name in quotes for a string."""
    return '"offset"' if column == "offset" else column
