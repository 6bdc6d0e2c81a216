"""What a run finds when it takes its manifest into the journal: the batch, its earlier manifest, misplaced rows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.domain.entries import Entry, Place, normal
from orchestrator.domain.errors import DecisionNeededError
from orchestrator.journal.reading import JournalReader
from orchestrator.manifest import Manifest, Problem

if TYPE_CHECKING:
    from orchestrator.engine.events import Totals

_ROWS_AT_ONCE = 500


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
