"""The journal's tables as SQLAlchemy sees them; the DDL that makes them is in `migrations`.

Times are seconds since the epoch. Keys are natural, so that the same statements serve every database.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, MetaData, Table, Text

metadata = MetaData()

schema_migrations = Table(
    "schema_migrations",
    metadata,
    Column("version", Integer, primary_key=True),
    Column("name", Text),
    Column("applied_at", Double),
)

batches = Table(
    "batches",
    metadata,
    Column("batch", Text, primary_key=True),  # BatchKey.digest
    Column("endpoint", Text),
    Column("project_id", Text),
    Column("name", Text),
    Column("manifest_path", Text),
    Column("is_submit_wanted", Boolean),
    Column("created_at", Double),
    Column("last_run_id", Text),
    Column("last_run_at", Double),
    Column("last_exit_code", Integer),
)

entries = Table(
    "entries",
    metadata,
    Column("batch", Text, primary_key=True),
    Column("entry_id", Text, primary_key=True),
    Column("position", Integer),
    Column("spec", Text),  # Entry.spec
    Column("files", Text),  # JSON: [[kind, path, bytes, mtime_ns, inode], ...]
    Column("bytes", BigInteger),
    Column("state", Text),
    Column("epoch", Integer),
    Column("job_id", Text),
    Column("create_tag", Text),
    Column("created_at", Double),
    Column("confirm_sent_at", Double),
    Column("confirmed_at", Double),
    Column("submit_sent_at", Double),
    Column("submitted_at", Double),
    Column("service_state", Text),
    Column("review_code", Text),
    Column("review_reason", Text),
    Column("delivered", Text),
    Column("change_wanted", Text),
    Column("is_submit_wanted", Boolean),
    Column("attempts", Integer),
    Column("started_at", Double),
    Column("updated_at", Double),
    Column("error_kind", Text),
    Column("error_code", Text),
    Column("error_message", Text),
    Column("error_request_id", Text),
    Column("error_hint", Text),
)

segments = Table(
    "segments",
    metadata,
    Column("batch", Text, primary_key=True),
    Column("entry_id", Text, primary_key=True),
    Column("asset", Text, primary_key=True),  # AssetKind
    Column("part_number", Integer, primary_key=True),
    Column("offset", BigInteger),
    Column("length", BigInteger),
    Column("url", Text),  # a secret: gone once the job is confirmed
    Column("started_at", Double),
    Column("stored_at", Double),
    Column("etag", Text),
    Column("md5", Text),
    Column("is_verified", Boolean),
    Column("attempts", Integer),
)

transitions = Table(
    "transitions",
    metadata,
    Column("batch", Text),
    Column("entry_id", Text),
    Column("at", Double),
    Column("from_state", Text),
    Column("to_state", Text),
    Column("reason", Text),
    Column("epoch", Integer),
)

attempts = Table(
    "attempts",
    metadata,
    Column("batch", Text),
    Column("entry_id", Text),
    Column("at", Double),
    Column("operation", Text),
    Column("asset", Text),
    Column("part_number", Integer),
    Column("attempt", Integer),
    Column("kind", Text),
    Column("code", Text),
    Column("message", Text),
    Column("request_id", Text),
    Column("seconds", Double),
)
