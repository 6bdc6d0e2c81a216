"""Which entries a run or a plan is about, and which of them a worker takes next."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import anyio

from orchestrator.domain.entries import is_named_by, normal
from orchestrator.domain.states import AFTER_SUBMIT, EntryState
from orchestrator.journal.journal import Journal
from orchestrator.journal.records import EntryRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which entries of a manifest are meant.

    Those that one of *patterns* fits (globs; none for all), that are not *held* back, and whose files were not
    written after *newest_mtime*, in epoch seconds.
    """

    patterns: tuple[str, ...] = ()
    held: frozenset[str] = frozenset()
    newest_mtime: float | None = None

    def names(self, entry_id: str) -> bool:
        """True when the patterns mean the entry."""
        return not self.patterns or any(is_named_by(entry_id, pattern) for pattern in self.patterns)


EVERYTHING = Scope()


def scope_of(patterns: Sequence[str], min_age: float | None, now: float) -> Scope:
    """The entries that *patterns* mean and that were not written less than *min_age* seconds before *now*."""
    return Scope(patterns=tuple(patterns), newest_mtime=None if min_age is None else now - min_age)


def is_newer(path: str, *, than: float) -> bool:
    """True when the file at *path* was written after *than*, in epoch seconds; a missing one was not."""
    try:
        return Path(path).stat().st_mtime > than
    except OSError:
        return False


#: States in which nothing is left to do without a person, unless a change is wanted.
_AT_REST = frozenset({EntryState.CANCELLED, *AFTER_SUBMIT})


@dataclass(frozen=True, slots=True)
class Selection:
    """What a command works on: entries in *states*, or in the middle of a change, that *accepts* takes.

    The states are looked for in the database, so that finished entries of a large batch cost nothing.
    """

    states: frozenset[EntryState]
    accepts: Callable[[EntryRecord], bool]


def unfinished(
    *, is_submit_wanted: bool, undecided: Collection[str] = (), named: Collection[str] | None = None
) -> Selection:
    """What `run` works on: all that is not done, or those *named*, but for the entries a person must decide on."""
    at_rest = _AT_REST if is_submit_wanted else _AT_REST | {EntryState.CONFIRMED}
    return Selection(
        frozenset(EntryState) - at_rest,
        lambda record: record.entry_id not in undecided and (named is None or record.entry_id in named),
    )


def failed(
    entry_ids: Collection[str] | None, *, undecided: Collection[str] = (), is_cancelled_wanted: bool = False
) -> Selection:
    """What `retry` works on: what failed, or has changes that a review asked for.

    Of *entry_ids* all that is unfinished; with *is_cancelled_wanted* also what was brought back, and so is pending.
    """
    if entry_ids is not None:
        states, named = frozenset(EntryState) - _AT_REST, frozenset(map(normal, entry_ids))
        return Selection(
            states, lambda record: normal(record.entry_id) in named and record.entry_id not in undecided
        )
    states = frozenset({EntryState.FAILED, *([EntryState.PENDING] if is_cancelled_wanted else [])})
    return Selection(states, lambda record: record.entry_id not in undecided)


def uploaded(named: Collection[str] | None = None) -> Selection:
    """What `submit` works on: jobs that hold their files and are not with review yet, all or those *named*."""
    return Selection(
        frozenset({EntryState.CONFIRMED, EntryState.SUBMITTING, EntryState.FAILED}),
        lambda record: (
            record.confirmed_at is not None
            and record.submitted_at is None
            and (named is None or record.entry_id in named)
        ),
    )


class EntryQueue:
    """The selected entries of a batch, read page by page and shared by all workers."""

    def __init__(self, journal: Journal, batch: str, selection: Selection) -> None:
        self._journal = journal
        self._batch = batch
        self._selection = selection
        self._records = self._read()
        self._lock = anyio.Lock()

    async def take(self) -> EntryRecord | None:
        """The next entry; None when there is none left."""
        async with self._lock:
            return await anext(self._records, None)

    async def __aenter__(self) -> Self:
        """Nothing is read before the first entry is taken."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop reading from the journal."""
        with anyio.CancelScope(shield=True):
            await self._records.aclose()

    async def _read(self) -> AsyncGenerator[EntryRecord]:
        # An entry may lose its job while a worker has it: it must not be given out a second time.
        given: set[str] = set()
        for has_job in (True, False):
            async for record in self._journal.unfinished_entries(
                self._batch, self._selection.states, has_job=has_job
            ):
                if record.entry_id not in given and self._selection.accepts(record):
                    if has_job:
                        given.add(record.entry_id)
                    yield record
