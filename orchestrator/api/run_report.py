"""What came of a run: the document of `--json`, and what its batch's history keeps where it ended with an error."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from shlex import quote
from typing import TYPE_CHECKING, Any

import anyio
from anyio import to_thread

from orchestrator.domain.errors import OrchestratorError, UsageError, exit_code_of_any
from orchestrator.domain.states import EntryState
from orchestrator.journal.history import IncidentKind
from orchestrator.journal.journal import Journal, exists, open_journal
from orchestrator.journal.reading import JournalReader
from orchestrator.journal.records import BatchRecord, EntryRecord, OutcomeRecord

if TYPE_CHECKING:
    from orchestrator.engine import report as engine
    from orchestrator.engine.events import BatchFinished
    from orchestrator.engine.report import EntryCounts

#: Of the document; fields may be added to it.
SCHEMA = 1
_SHOWN_UNDECIDED = 20
_NAMED_ENTRIES = 10
#: Picks the batch that a run was meant for.
IsMeant = Callable[[BatchRecord], bool]


@dataclass(frozen=True, slots=True)
class EntryResult:
    """What came of one entry; `error` has `kind`, `code`, `message`, `request_id`, `hint`, or is None."""

    entry: str
    state: EntryState
    job_id: str | None
    error: Mapping[str, str | None] | None

    def as_dict(self) -> dict[str, object]:
        """The result as documents have it."""
        return {"entry": self.entry, "state": self.state.value, "job_id": self.job_id, "error": self.error}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """A run that went to its end or was stopped, which `error` explains where a person did not ask for it.

    `segments` are counts of `total`, `stored`, `sent`, `resumed` and `retried`, `bytes` of `total`, `sent` and
    `resumed`; `warnings` what a person should know; `results` are in the order of the manifest.
    """

    batch: str
    run_id: str
    exit_code: int
    elapsed_seconds: float
    entries: EntryCounts
    segments: Mapping[str, int]
    bytes: Mapping[str, int]
    warnings: Sequence[str]
    error: OrchestratorError | None
    results: Sequence[EntryResult]

    def as_dict(self) -> dict[str, object]:
        """The document of `orchestrator run --json`."""
        error = {} if self.error is None else {"error": self.error.document}
        return {
            "schema": SCHEMA,
            "batch": self.batch,
            "run_id": self.run_id,
            "exit_code": self.exit_code,
            "elapsed_seconds": self.elapsed_seconds,
            "entries": self.entries.as_dict(),
            "segments": dict(self.segments),
            "bytes": dict(self.bytes),
            "warnings": list(self.warnings),
            **error,
            "results": [result.as_dict() for result in self.results],
        }


async def with_results(
    report: engine.RunReport, journal: JournalReader, warnings: Sequence[str] = ()
) -> RunReport:
    """The *report* of the engine with what came of every entry, and *warnings* of what reports the run."""
    document = report.as_dict()
    return RunReport(
        batch=report.batch,
        run_id=report.run_id,
        exit_code=int(report.exit_code),
        elapsed_seconds=document["elapsed_seconds"],
        entries=report.entries,
        segments=document["segments"],
        bytes=document["bytes"],
        warnings=[*await warnings_of(report, journal), *warnings],
        error=report.cause,
        results=[result async for result in results(journal, report.batch_digest)],
    )


async def document_of_run(report: engine.RunReport, journal: JournalReader) -> dict[str, object]:
    """The run's document, as `--json` prints it."""
    return (await with_results(report, journal)).as_dict()


async def document_of_queued_batch(event: BatchFinished, journal: Journal) -> dict[str, object]:
    """The batch as the document of a run that had done it all, which no process has; raises JournalError."""
    # Loads what looking at a batch does not need.
    from orchestrator.engine.report import EntryCounts  # noqa: PLC0415

    batch = await journal.batch(event.digest)
    began = 0.0 if batch is None else batch.last_run_at or batch.created_at
    work = await journal.work_since(event.digest, began)
    counts = await journal.counts(event.digest)
    report = RunReport(
        batch=event.batch,
        run_id=event.run_id,
        exit_code=event.exit_code,
        elapsed_seconds=round(event.elapsed_seconds, 3),
        entries=EntryCounts(**event.entries),
        segments={
            "total": work.segments,
            "stored": work.stored_segments,
            "sent": work.sent_segments,
            "resumed": max(work.stored_segments - work.sent_segments, 0),
            "retried": work.retried,
        },
        bytes={
            "total": work.bytes,
            "sent": work.sent_bytes,
            "resumed": max(work.stored_bytes - work.sent_bytes, 0),
        },
        warnings=[
            *[
                f"{incident.subject}: {incident.message}" if incident.subject else incident.message
                for incident in await journal.incidents(event.digest)
                if incident.run_id == event.run_id and incident.kind == IncidentKind.WARNING
            ],
            *[line async for line in untouched(journal, event.digest, event.batch, counts)],
        ],
        error=None,
        results=[result async for result in results(journal, event.digest)],
    )
    return report.as_dict()


async def head_of(report: engine.RunReport, journal: JournalReader) -> dict[str, Any]:
    """The run's document without its `results`, which may be too many to be held at once."""
    error = {} if report.cause is None else {"error": report.cause.document}
    return {**report.as_dict(), "warnings": await warnings_of(report, journal), **error}


async def warnings_of(report: engine.RunReport, journal: JournalReader) -> list[str]:
    """What a person should know: of the manifest, of what happened, and of entries that were not touched."""
    return [*report.warnings, *decisions(report), *[line async for line in left_alone(report, journal)]]


async def results(journal: JournalReader, batch: str) -> AsyncIterator[EntryResult]:
    """What came of every entry, in the order of the manifest."""
    async for record in journal.outcomes(batch):
        yield EntryResult(record.entry_id, record.state, record.job_id, error_of(record))


def error_of(record: EntryRecord | OutcomeRecord) -> dict[str, str | None] | None:
    """Why the entry stands where it stands, None when nothing is wrong."""
    is_failed = record.state is EntryState.FAILED
    return record.error.as_dict() if is_failed and record.error is not None else None


def decisions(report: engine.RunReport) -> Iterator[str]:
    """What entries wait for a person's word."""
    for entry, reason in islice(report.undecided.items(), _SHOWN_UNDECIDED):
        yield f"{entry} needs a decision: {reason}"
    if len(report.undecided) > _SHOWN_UNDECIDED:
        yield f"... and {len(report.undecided) - _SHOWN_UNDECIDED} more"


async def left_alone(report: engine.RunReport, journal: JournalReader) -> AsyncIterator[str]:
    """Entries that this run did not touch, and the command for each kind."""
    name = quote(report.batch)
    async for line in untouched(journal, report.batch_digest, report.batch, report.counts, report.replaced):
        yield line
    if report.removed:
        was = (
            "" if report.earlier_manifest is None else f" (the batch was made from {report.earlier_manifest})"
        )
        yield (
            f"no longer in the manifest, left alone: {named(report.removed)}{was}; "
            f"`orchestrator cancel {name} --entry {quote(report.removed[0])} --yes` deletes the job of one"
        )
    if report.invalid:
        yield f"invalid, skipped: {named(report.invalid)}; fix the errors above, then run the same command again"
    if report.too_young:
        yield (
            f"files written just now, left for the next run: {named(report.too_young)}; "
            "run the same command again once they are complete"
        )


async def untouched(
    journal: JournalReader,
    batch: str,
    name: str,
    counts: Mapping[EntryState, int],
    replaced: Collection[str] = (),
) -> AsyncIterator[str]:
    """The entries of batch *name* that a run leaves as they are, and the command for each kind.

    *counts* are those of the batch, *replaced* the failed reviews of which something was replaced since.
    """
    name = quote(name)
    # Reading the entries costs nothing where there are none.
    found = {
        state: [record.entry_id async for record in journal.entries(batch, states={state})]
        for state in (EntryState.REVIEW_FAILED, EntryState.CANCELLED)
        if counts.get(state, 0)
    }
    unchanged = [entry for entry in found.get(EntryState.REVIEW_FAILED, ()) if entry not in replaced]
    if unchanged:
        yield (
            f"review failed, and nothing was replaced since: {named(unchanged)}; replace the files or fields that "
            f"the reviewer names, then `orchestrator retry {name}`; to send an entry as it is: "
            f"`orchestrator retry {name} --entry {quote(unchanged[0])}`"
        )
    if replaced:
        yield (
            f"review failed, replaced since and not sent yet: {named(sorted(replaced))}; "
            f"`orchestrator retry {name}` sends them"
        )
    cancelled = found.get(EntryState.CANCELLED)
    if cancelled:
        yield (
            f"cancelled, left alone: {named(cancelled)}; `orchestrator retry {name} --entry {quote(cancelled[0])}` "
            f"brings one back, `orchestrator retry {name} --cancelled` brings back all"
        )


def named(entries: Sequence[str]) -> str:
    """The first of *entries*, and how many more there are."""
    more = len(entries) - _NAMED_ENTRIES
    return ", ".join(entries[:_NAMED_ENTRIES]) + (f" and {more} more" if more > 0 else "")


def new_run_id(now: float) -> str:
    """An id that sorts by time."""
    return f"{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


async def keep_end(
    state: str, is_meant: IsMeant, started_at: float, exit_code: int, run_id: str | None = None
) -> None:
    """Write into the journal at *state* that a run ended with *exit_code*; *run_id* where it came to have one.

    Where the journal knows no batch that *is_meant*, or several, nothing is kept.
    """
    from orchestrator.engine.report import count_entries  # noqa: PLC0415 - loads what looking at a batch does not need

    if not await to_thread.run_sync(exists, state):
        return
    run_id = run_id or new_run_id(started_at)
    async with open_journal(state, clock=time.time) as journal:
        meant = [batch for batch in await journal.batches() if is_meant(batch)]
        # The run may have come as far as the journal, which then knows which batch it was.
        own = [batch for batch in meant if batch.last_run_id == run_id] or meant
        if len(own) != 1:
            return
        batch = own[0]
        counts = await journal.counts(batch.batch)
        await journal.keep_refused_run(
            batch.batch,
            run_id,
            started_at,
            exit_code,
            count_entries(counts, undecided=0, with_submit=batch.is_submit_wanted).as_dict(),
            is_last=await journal.batch_holder(batch.key) is None,
        )


@asynccontextmanager
async def kept_in_history(state: str, is_meant: IsMeant, run_id: str) -> AsyncIterator[None]:
    """Keep how the block ends when it raises or is cancelled; the error is raised again.

    What cannot be asked for is no run.
    """
    started_at = time.time()
    try:
        yield
    except UsageError:
        raise
    except (Exception, anyio.get_cancelled_exc_class()) as error:
        # The history matters less than the work: whatever fails here, the error itself is raised.
        with anyio.CancelScope(shield=True), suppress(OrchestratorError):
            await keep_end(state, is_meant, started_at, exit_code_of_any(error), run_id)
        raise
