"""What the journal knows of a batch, as `status --json` prints it and `Batch.status` returns it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.api.run_report import error_of, named, untouched
from orchestrator.domain.quantities import moment
from orchestrator.domain.states import EntryState
from orchestrator.journal.history import IncidentKind
from orchestrator.journal.journal import Journal
from orchestrator.journal.records import BatchRecord, EntryRecord

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryStatus:
    """Where one entry stands; `bytes` are those of its files, `updated_at` is `2026-11-22T08:00:00Z`.

    `delivered` says on whose word its objects are whole; the review's reason and code are the service's.
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
        """The entry as documents have it."""
        return {**asdict(self), "state": self.state.value}


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStatus:
    """Where a batch stands; `last_run` has `run_id`, `at` and, once it ended, `exit_code`.

    `entries` counts them: `total`, and each state that some are in. `holder` is the process that works on it now;
    `warnings` what a person should know: decisions that are needed, and entries that no run touches.
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
        """The document of `orchestrator status BATCH --json`."""
        head = {name: getattr(self, name) for name in _HEAD}
        return {"schema": SCHEMA, **head, "results": [entry.as_dict() for entry in self.results]}


_HEAD = ("batch", "digest", "endpoint", "project_id", "manifest", "entries", "last_run", "warnings")


def batch_head(batch: BatchRecord, counts: Mapping[EntryState, int]) -> dict[str, Any]:
    """What documents say of a batch before its entries."""
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
    """What a person should know of *batch*: of its last run and of entries that no run touches, with what to do."""
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
    """What is said of one entry."""
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
