"""Rows of a results file and the jobs they name: a row whose job is another entry's has been changed (rule M13)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import NamedTuple

from orchestrator.domain.entries import Entry, Place, normal
from orchestrator.journal.reading import JournalReader
from orchestrator.manifest import Manifest, Problem

_ROWS_AT_ONCE = 500


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
    return [
        _problem(row, sorted(known), manifest_file)
        for row in rows
        if (known := owners.get(row.job_id)) and normal(row.entry_id) not in set(map(normal, known))
    ]


def _problem(row: RowJob, known: list[str], manifest_file: str) -> Problem:
    owner = known[0]
    return Problem(
        file=manifest_file,
        line=row.place.line,
        column=row.place.column,
        entry=row.entry_id,
        field="job_id",
        message=(
            f"job {row.job_id} is that of entry {owner}, not of {row.entry_id}: a spreadsheet has changed the id, or "
            f"cells were sorted, moved or copied without the rest of their row; write {owner} in the column id, or "
            f"clear this cell to make another job for {row.entry_id}"
        ),
        rule="M13",
    )
