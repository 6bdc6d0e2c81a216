"""The selection of entries for a run or a plan, the queue of its entries, and the registered batch."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Self

import anyio

from orchestrator.domain.entries import Entry, is_named_by, normal
from orchestrator.domain.errors import DecisionNeededError
from orchestrator.domain.states import AFTER_SUBMIT, EntryState
from orchestrator.manifest import Problem, RowJob

if TYPE_CHECKING:  # `validate`, which uses no journal, would otherwise load it and an event loop
    from orchestrator.engine.events import Totals
    from orchestrator.journal.journal import Journal
    from orchestrator.journal.reading import JournalReader
    from orchestrator.journal.records import EntryRecord

_ROWS_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The selected entries of a manifest.

    An entry is selected when one of *patterns* matches its id (globs; none for all), it is not *held* back, and none
    of its files was written after *newest_mtime*, in epoch seconds.
    """

    patterns: tuple[str, ...] = ()
    held: frozenset[str] = frozenset()
    newest_mtime: float | None = None

    def names(self, entry_id: str) -> bool:
        """True when the patterns match the entry."""
        return not self.patterns or any(is_named_by(entry_id, pattern) for pattern in self.patterns)


EVERYTHING = Scope()


def scope_of(patterns: Sequence[str], min_age: float | None, now: float) -> Scope:
    """Return the scope of entries that match *patterns* and were written at least *min_age* seconds before *now*."""
    return Scope(patterns=tuple(patterns), newest_mtime=None if min_age is None else now - min_age)


def is_newer(path: str, *, than: float) -> bool:
    """True when the file at *path* was written after *than*, in epoch seconds; False for a missing file."""
    try:
        return Path(path).stat().st_mtime > than
    except OSError:
        return False


#: States in which nothing can be done without a person, unless a change is wanted.
_AT_REST = frozenset({EntryState.CANCELLED, *AFTER_SUBMIT})


@dataclass(frozen=True, slots=True)
class Selection:
    """The entries a command works on: those in *states*, or in the middle of a change, that *accepts* allows.

    The states are filtered in the database, so that finished entries of a large batch cost nothing.
    """

    states: frozenset[EntryState]
    accepts: Callable[[EntryRecord], bool]


def run_selection(
    *, is_submit_wanted: bool, undecided: Collection[str] = (), named: Collection[str] | None = None
) -> Selection:
    """Return the selection of `run`: unfinished entries that are not *undecided*, all or those *named*."""
    at_rest = _AT_REST if is_submit_wanted else _AT_REST | {EntryState.CONFIRMED}
    return Selection(
        frozenset(EntryState) - at_rest,
        lambda record: record.entry_id not in undecided and (named is None or record.entry_id in named),
    )


def retry_selection(
    entry_ids: Collection[str] | None, *, undecided: Collection[str] = (), is_cancelled_wanted: bool = False
) -> Selection:
    """Return the selection of `retry`: entries that failed, or have changes that a review asked for.

    With *entry_ids*, all of these that are unfinished; with *is_cancelled_wanted*, also revived entries, which are
    pending.
    """
    if entry_ids is not None:
        states, named = frozenset(EntryState) - _AT_REST, frozenset(map(normal, entry_ids))
        return Selection(
            states, lambda record: normal(record.entry_id) in named and record.entry_id not in undecided
        )
    states = frozenset({EntryState.FAILED, *([EntryState.PENDING] if is_cancelled_wanted else [])})
    return Selection(states, lambda record: record.entry_id not in undecided)


def submit_selection(named: Collection[str] | None = None) -> Selection:
    """Return the selection of `submit`: confirmed jobs that are not submitted yet, all or those *named*."""
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
        """Return the next entry, or None when there is none left."""
        async with self._lock:
            return await anext(self._records, None)

    async def __aenter__(self) -> Self:
        """Return the queue; reading starts when the first entry is taken."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop reading from the journal."""
        with anyio.CancelScope(shield=True):
            await self._records.aclose()

    async def _read(self) -> AsyncGenerator[EntryRecord]:
        # An entry may lose its job while a worker has it; it must not be handed out a second time.
        given: set[str] = set()
        for has_job in (True, False):
            async for record in self._journal.unfinished_entries(
                self._batch, self._selection.states, has_job=has_job
            ):
                if record.entry_id not in given and self._selection.accepts(record):
                    if has_job:
                        given.add(record.entry_id)
                    yield record


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """The result of registering a manifest: the batch as the journal now has it."""

    totals: Totals
    undecided: dict[str, str] = field(default_factory=dict)  #: reason by entry id
    undecided_done: int = 0  #: of those, entries whose state alone would count as done
    removed: tuple[str, ...] = ()
    replaced: frozenset[str] = frozenset()  #: entries with a failed review and replacements, left alone
    earlier_manifest: str | None = None  #: the file that the batch was made from, when it was another
    invalid: frozenset[str] = frozenset()  #: skipped because of `--skip-invalid`
    too_young: frozenset[str] = frozenset()  #: left for the next run: their files may still be changing
    has_skipped_errors: bool = False
    #: The only entries the run works on; None for all.
    named: frozenset[str] | None = None
    warnings: tuple[str, ...] = ()  #: about the manifest and its files

    @property
    def held(self) -> Set[str]:
        """The entries that this run leaves alone."""
        return self.undecided.keys() | self.invalid | self.too_young


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierManifest:
    """The file at *path* that batch *name* was made from, which is not the file *now* that is being read."""

    path: str
    now: Path
    name: str

    def check(self, *, kept: int, new: int, removed: int) -> None:
        """Raise DecisionNeededError when the counts of entries suggest that the new file is another batch.

        A file that was moved, or that lost rows, has only entries of the batch. A file that lacks entries of the
        batch and has new ones is another batch if it shares no entry with it, or if the first file still exists.
        """
        is_another = removed and new and (not kept or Path(self.path).exists())
        if not is_another:
            return
        gone = f"{removed} entr{'y' if removed == 1 else 'ies'} of it"
        raise DecisionNeededError(
            f"batch {self.name} was made from {self.path}; {self.now} lacks {gone} and has {new} others",
            hint=f"for a batch of its own: `orchestrator run {quote(str(self.now))} --batch-name NAME`; "
            f"to go on with this batch: `orchestrator run {quote(str(self.now))} --batch-name {quote(self.name)}`",
        )


def earlier_manifest(known_path: str | None, now: Path, name: str) -> EarlierManifest | None:
    """Return the file the batch was made from; None when that is the file *now*, however its path is written."""
    if known_path is None or known_path == str(now.absolute()):
        return None
    if os.path.realpath(known_path) == os.path.realpath(now):
        return None
    return EarlierManifest(path=known_path, now=now, name=name)


def row_job(entry: Entry) -> RowJob | None:
    """Return the job named by the row of *entry*; None when the row names none."""
    return RowJob(entry.entry_id, entry.job_id, entry.place_of("job_id")) if entry.job_id else None


async def misplaced_rows(rows: Iterable[RowJob], journal: JournalReader, manifest_file: str) -> list[Problem]:
    """Return a problem for each of *rows* whose job the journal has only under other entry ids."""
    problems: list[Problem] = []
    waiting = iter(rows)
    while some := list(islice(waiting, _ROWS_AT_ONCE)):
        owners = await journal.entries_of_jobs([row.job_id for row in some])
        problems += misplaced(some, owners, manifest_file)
    return problems


def misplaced(
    rows: Iterable[RowJob], owners: Mapping[str, frozenset[str]], manifest_file: str
) -> list[Problem]:
    """Return a problem for each of *rows* whose job is in *owners*, but not under the row's own entry."""
    problems: list[Problem] = []
    for row in rows:
        known = owners.get(row.job_id)
        if not known or normal(row.entry_id) in set(map(normal, known)):
            continue
        owner = min(known)
        problems.append(
            Problem(
                file=manifest_file,
                line=row.place.line,
                column=row.place.column,
                entry=row.entry_id,
                field="job_id",
                message=(
                    f"job {row.job_id} is that of entry {owner}, not of {row.entry_id}: a spreadsheet has changed "
                    "the id, or cells were sorted, moved or copied without the rest of their row; write "
                    f"{owner} in the column id, or clear this cell to make another job for {row.entry_id}"
                ),
                rule="M13",
            )
        )
    return problems
