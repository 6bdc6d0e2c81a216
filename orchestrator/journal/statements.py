"""The journal's hot statements, built once: constructing them per call costs more than running them.

Every parameter is named in the row they are executed for, so what is always the same is written out.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    Select,
    Update,
    and_,
    bindparam,
    delete,
    insert,
    literal_column,
    null,
    select,
    update,
)

from orchestrator.journal.records import ENTRY_COLUMNS
from orchestrator.journal.tables import attempts, entries, segments, transitions

_entry_of_key = and_(
    entries.c.batch == bindparam("key_batch"), entries.c.entry_id == bindparam("key_entry_id")
)

_segments_of_key = and_(
    segments.c.batch == bindparam("key_batch"), segments.c.entry_id == bindparam("key_entry_id")
)

_epoch_of = select(entries.c.epoch).where(_entry_of_key)

#: A segment row, if the entry is still held under the caller's epoch.
_held_segment = and_(
    _segments_of_key,
    segments.c.asset == bindparam("key_asset"),
    segments.c.part_number == bindparam("key_part_number"),
    bindparam("key_epoch") == _epoch_of.scalar_subquery(),
)

INSERT_TRANSITION = insert(transitions)
INSERT_ATTEMPT = insert(attempts)
INSERT_ENTRY = insert(entries)
INSERT_SEGMENT = insert(segments)

COUNT_ATTEMPT = update(entries).where(_entry_of_key).values(attempts=entries.c.attempts + literal_column("1"))
MOVE_ENTRY = update(entries).where(_entry_of_key).values(position=bindparam("new_position"))

START_SEGMENT = (
    update(segments).where(_held_segment, segments.c.started_at.is_(None)).values(started_at=bindparam("at"))
)
STORE_SEGMENT = (
    update(segments)
    .where(_held_segment)
    .values(
        stored_at=bindparam("at"),
        etag=bindparam("new_etag"),
        md5=bindparam("new_md5"),
        is_verified=bindparam("new_is_verified"),
        attempts=segments.c.attempts + bindparam("new_attempts"),
    )
)
DROP_RECEIPT = update(segments).where(_held_segment).values(stored_at=null(), etag=null(), md5=null())
DELETE_SEGMENTS = delete(segments).where(_segments_of_key)
DROP_URLS = update(segments).where(_segments_of_key).values(url=null())


@lru_cache(maxsize=4)
def select_entries(count: int) -> Select[Any]:
    """The ENTRY_COLUMNS of so many entries of a batch, their ids bound as `key_name` of 0, 1, ..."""
    ids: list[BindParameter[str]] = [bindparam(key_name(number)) for number in range(count)]
    is_wanted = and_(entries.c.batch == bindparam("key_batch"), entries.c.entry_id.in_(ids))
    return select(*(entries.c[name] for name in ENTRY_COLUMNS)).where(is_wanted)


def key_name(number: int) -> str:
    """The parameter for one of several entry ids."""
    return f"key_entry_id_{number}"


@lru_cache(maxsize=64)
def update_entry(columns: tuple[str, ...]) -> Update:
    """Set *columns* (bound as `new_<column>`) of the entry if state and epoch are still the caller's."""
    guard = and_(
        _entry_of_key,
        entries.c.epoch == bindparam("key_epoch"),
        entries.c.state == bindparam("key_state"),
    )
    return update(entries).where(guard).values({column: bindparam(f"new_{column}") for column in columns})
