"""The journal's state of a batch, for `status --json` and `Batch.status`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.api.run_report import SCHEMA, error_of, named, untouched
from orchestrator.domain.quantities import moment
from orchestrator.domain.states import EntryState
from orchestrator.journal.history import IncidentKind
from orchestrator.journal.journal import Journal
from orchestrator.journal.records import BatchRecord, EntryRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryStatus:
    """The status of one entry; `bytes` is the size of its files, `updated_at` is `2026-11-22T08:00:00Z`.

    `delivered` is the proof that its objects are whole; the review's reason and code are the service's.
    """

    entry: str
    state: EntryState
    service_state: str | None
    bytes: int
    job_id: str | None
    delivered: str | None
    review_reason: str | None
    review_code: str | None
    updated_at: str
    error: Mapping[str, str | None] | None

    def as_dict(self) -> dict[str, object]:
        """Return the entry as it appears in documents."""
        return {**asdict(self), "state": self.state.value}


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStatus:
    """The status of a batch; `last_run` has `run_id`, `at` and, once it ended, `exit_code`.

    `entries` has the counts: `total`, and one for each state that occurs. `holder` is the process that works on the
    batch now; `warnings` are messages for people: needed decisions, and entries that no run touches.
    """

    batch: str
    digest: str
    endpoint: str
    project_id: str
    manifest: str | None
    entries: Mapping[str, int]
    last_run: Mapping[str, str | int | None]
    holder: str | None
    warnings: Sequence[str]
    results: Sequence[EntryStatus]

    def as_dict(self) -> dict[str, object]:
        """Return the document of `orchestrator status BATCH --json`."""
        head = {name: getattr(self, name) for name in _HEAD}
        return {"schema": SCHEMA, **head, "results": [entry.as_dict() for entry in self.results]}


_HEAD = ("batch", "digest", "endpoint", "project_id", "manifest", "entries", "last_run", "warnings")


def batch_head(batch: BatchRecord, counts: Mapping[EntryState, int]) -> dict[str, Any]:
    """Return the fields of a batch that come before its entries in documents."""
    return {
        "batch": batch.name,
        "digest": batch.batch,
        "endpoint": batch.endpoint,
        "project_id": batch.project_id,
        "manifest": batch.manifest_path,
        "entries": {"total": sum(counts.values()), **{state.value: count for state, count in counts.items()}},
        "last_run": {
            "run_id": batch.last_run_id,
            "at": None if batch.last_run_at is None else moment(batch.last_run_at),
            "exit_code": batch.last_exit_code,
        },
    }


async def warnings_of_batch(
    journal: Journal, batch: BatchRecord, counts: Mapping[EntryState, int]
) -> list[str]:
    """Return warnings about the last run of *batch* and entries that no run touches, with what to do."""
    noted = [
        incident for incident in await journal.incidents(batch.batch) if incident.run_id == batch.last_run_id
    ]
    lines = [
        f"{incident.subject} needs a decision: {incident.message}"
        for incident in noted
        if incident.kind == IncidentKind.DECISION
    ]
    lines += [
        f"{incident.subject}, left alone by the last run: {named(incident.message.split(', '))}; "
        "run the manifest again once they are right"
        for incident in noted
        if incident.kind == IncidentKind.LEFT_ALONE
    ]
    return lines + [line async for line in untouched(journal, batch.batch, batch.name, counts)]


def entry_status(record: EntryRecord) -> EntryStatus:
    """Return the status of one entry."""
    return EntryStatus(
        entry=record.entry_id,
        state=record.state,
        service_state=record.service_state,
        bytes=record.bytes,
        job_id=record.job_id,
        delivered=record.delivered,
        review_reason=record.review_reason,
        review_code=record.review_code,
        updated_at=moment(record.updated_at),
        error=error_of(record),
    )
