"""Which entries a run or a plan is about, which of them comes next, and what the journal has of the batch."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, NamedTuple, Self

import anyio

from orchestrator.domain.entries import Entry, Place, is_named_by, normal
from orchestrator.domain.errors import DecisionNeededError
from orchestrator.domain.states import AFTER_SUBMIT, EntryState
from orchestrator.manifest import Manifest, Problem

if TYPE_CHECKING:  # `validate`, which has no journal to ask, would load it and an event loop
    from orchestrator.engine.events import Totals
    from orchestrator.journal.journal import Journal
    from orchestrator.journal.reading import JournalReader
    from orchestrator.journal.records import EntryRecord

_ROWS_AT_ONCE = 500


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """The batch as the journal has it now."""

    totals: Totals
    undecided: dict[str, str] = field(default_factory=dict)  #: reason by entry id
    undecided_done: int = 0  #: of those, entries whose state alone would count as done
    removed: tuple[str, ...] = ()
    replaced: frozenset[str] = frozenset()  #: failed reviews of which something was replaced, left alone
    earlier_manifest: str | None = None  #: the file that the batch was made from, where it was another
    invalid: frozenset[str] = frozenset()  #: skipped, as `--skip-invalid` wants it
    too_young: frozenset[str] = frozenset()  #: left for the next run: their files may still be written
    has_skipped_errors: bool = False
    #: Entries that a run leaves alone, whatever state they are in; None where all are meant.
    named: frozenset[str] | None = None
    warnings: tuple[str, ...] = ()  #: of the manifest and its files

    @property
    def held(self) -> Set[str]:
        """The entries that this run leaves alone."""
        return self.undecided.keys() | self.invalid | self.too_young


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierManifest:
    """The file that batch *name* was made from; *path* is not the one that is read now, *now*."""

    path: str
    now: Path
    name: str

    def check(self, *, kept: int, new: int, removed: int) -> None:
        """Raise DecisionNeededError when this is rather another batch, by how many entries come and go.

        A file that was moved, or of which rows were taken out, has entries of the batch only. Other entries
        instead of these mean another batch, some others as well while the first file still exists.
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
    """What the batch was made from, None where that is the file *now*, however its path is written."""
    if known_path is None or known_path == str(now.absolute()):
        return None
    if os.path.realpath(known_path) == os.path.realpath(now):
        return None
    return EarlierManifest(path=known_path, now=now, name=name)


class RowJob(NamedTuple):
    """An entry of the manifest, the job its row names, and where."""

    entry_id: str
    job_id: str
    place: Place


def row_job(entry: Entry) -> RowJob | None:
    """What the row of *entry* says of its job; None where it says nothing."""
    return RowJob(entry.entry_id, entry.job_id, entry.place_of("job_id")) if entry.job_id else None


def rejected_row_jobs(manifest: Manifest) -> list[RowJob]:
    """What those rows of *manifest*, read to its end, say of their job that gave no entry."""
    return [RowJob(*row) for row in manifest.rejected_rows]


async def misplaced_rows(rows: Iterable[RowJob], journal: JournalReader, manifest_file: str) -> list[Problem]:
    """A problem for each of *rows* whose job the journal knows under other ids only."""
    problems: list[Problem] = []
    waiting = iter(rows)
    while some := list(islice(waiting, _ROWS_AT_ONCE)):
        owners = await journal.entries_of_jobs([row.job_id for row in some])
        problems += misplaced(some, owners, manifest_file)
    return problems


def misplaced(
    rows: Iterable[RowJob], owners: Mapping[str, frozenset[str]], manifest_file: str
) -> list[Problem]:
    """A problem for each of *rows* whose job is in *owners*, but not as one of the row's own entry."""
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
