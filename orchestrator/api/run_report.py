"""The result of a run: the document of `--json`, and the record in the batch's history if it ended with an error."""

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

#: The version of the documents of runs, plans and states; fields may be added without changing it.
SCHEMA = 1
_SHOWN_UNDECIDED = 20
_NAMED_ENTRIES = 10
#: A predicate that selects the batch of a run.
IsMeant = Callable[[BatchRecord], bool]


@dataclass(frozen=True, slots=True)
class EntryResult:
    """The result of one entry; `error` has `kind`, `code`, `message`, `request_id`, `hint`, or is None."""

    entry: str
    state: EntryState
    job_id: str | None
    error: Mapping[str, str | None] | None

    def as_dict(self) -> dict[str, object]:
        """Return the result as it appears in documents."""
        return {"entry": self.entry, "state": self.state.value, "job_id": self.job_id, "error": self.error}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """The report of a run that finished or was stopped; `error` is the cause unless a person stopped it.

    `segments` has the counts `total`, `stored`, `sent`, `resumed` and `retried`, `bytes` has `total`, `sent` and
    `resumed`; `warnings` are messages for people; `results` are in the order of the manifest.
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
        """Return the document of `orchestrator run --json`."""
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
    report: engine.RunOutcome, journal: JournalReader, warnings: Sequence[str] = ()
) -> RunReport:
    """Return the engine's *report* with the results of all entries and the additional *warnings*."""
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


async def document_of_run(report: engine.RunOutcome, journal: JournalReader) -> dict[str, object]:
    """Return the run's document as `--json` prints it."""
    return (await with_results(report, journal)).as_dict()


async def document_of_queued_batch(event: BatchFinished, journal: Journal) -> dict[str, object]:
    """Return the document of a fleet's batch as if one run had done all its work; raises JournalError."""
    # This import loads modules that showing a batch does not need.
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


async def head_of(report: engine.RunOutcome, journal: JournalReader) -> dict[str, Any]:
    """Return the run's document without its `results`, which may be too many to hold in memory."""
    error = {} if report.cause is None else {"error": report.cause.document}
    return {**report.as_dict(), "warnings": await warnings_of(report, journal), **error}


async def warnings_of(report: engine.RunOutcome, journal: JournalReader) -> list[str]:
    """Return warnings about the manifest, the run, and entries that were not touched."""
    return [*report.warnings, *decisions(report), *[line async for line in left_alone(report, journal)]]


async def results(journal: JournalReader, batch: str) -> AsyncIterator[EntryResult]:
    """Yield the result of every entry, in the order of the manifest."""
    async for record in journal.outcomes(batch):
        yield EntryResult(record.entry_id, record.state, record.job_id, error_of(record))


def error_of(record: EntryRecord | OutcomeRecord) -> dict[str, str | None] | None:
    """Return why the entry failed, None if it did not."""
    is_failed = record.state is EntryState.FAILED
    return record.error.as_dict() if is_failed and record.error is not None else None


def decisions(report: engine.RunOutcome) -> Iterator[str]:
    """Yield a line for each entry that needs a decision, up to a limit."""
    for entry, reason in islice(report.undecided.items(), _SHOWN_UNDECIDED):
        yield f"{entry} needs a decision: {reason}"
    if len(report.undecided) > _SHOWN_UNDECIDED:
        yield f"... and {len(report.undecided) - _SHOWN_UNDECIDED} more"


async def left_alone(report: engine.RunOutcome, journal: JournalReader) -> AsyncIterator[str]:
    """Yield a line for each kind of entry that this run did not touch, with the command to run."""
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
    """Yield a line for each kind of entry of batch *name* that a run leaves alone, with the command to run.

    *counts* are the batch's entries per state, *replaced* the entries whose review failed and of which files or
    fields were replaced since.
    """
    name = quote(name)
    # Entries are read only for states that occur.
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
    """Return the first of *entries*, and the number of the others."""
    more = len(entries) - _NAMED_ENTRIES
    return ", ".join(entries[:_NAMED_ENTRIES]) + (f" and {more} more" if more > 0 else "")


def new_run_id(now: float) -> str:
    """Return a run id that sorts by time."""
    return f"{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


async def keep_end(
    state: str, is_meant: IsMeant, started_at: float, exit_code: int, run_id: str | None = None
) -> None:
    """Record in the journal at *state* that a run ended with *exit_code*; *run_id* is None if it got no id.

    Nothing is recorded if *is_meant* matches no batch of the journal, or matches several and *run_id* does not
    identify one of them.
    """
    from orchestrator.engine.report import count_entries  # noqa: PLC0415 - loads what showing a batch does not need

    if not await to_thread.run_sync(exists, state):
        return
    run_id = run_id or new_run_id(started_at)
    async with open_journal(state, clock=time.time) as journal:
        meant = [batch for batch in await journal.batches() if is_meant(batch)]
        # If the run got as far as the journal, its id identifies the batch.
        own = [batch for batch in meant if batch.last_run_id == run_id] or meant
        if len(own) != 1:
            return
        batch = own[0]
        counts = await journal.counts(batch.batch)
        await journal.record_failed_run(
            batch.batch,
            run_id,
            started_at,
            exit_code,
            count_entries(counts, undecided=0, with_submit=batch.is_submit_wanted).as_dict(),
            is_last=await journal.batch_holder(batch.key) is None,
        )


@asynccontextmanager
async def run_kept_in_history(state: str, is_meant: IsMeant, run_id: str) -> AsyncIterator[None]:
    """Record the end of the block if it raises or is cancelled; the error is raised again.

    A UsageError is not recorded: such a call is not a run.
    """
    started_at = time.time()
    try:
        yield
    except UsageError:
        raise
    except (Exception, anyio.get_cancelled_exc_class()) as error:
        # The history matters less than the work: if recording fails, the original error is still raised.
        with anyio.CancelScope(shield=True), suppress(OrchestratorError):
            await keep_end(state, is_meant, started_at, exit_code_of_any(error), run_id)
        raise
