"""`run` and `submit`: run a manifest's batch to its end, and submit uploaded jobs to review."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from shlex import quote
from typing import TYPE_CHECKING

from orchestrator.api.checking import ManifestRequest, check_patterns, refuse_fleet
from orchestrator.api.run_report import decisions, head_of, left_alone, results
from orchestrator.api.session import Session, run_request
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import Output
from orchestrator.cli.process import run_on_network
from orchestrator.cli.session import (
    known_kept_in_history,
    open_shown_session,
    problems_first,
)
from orchestrator.cli.work.batches import KnownBatch, known_batch, matching_entries
from orchestrator.cli.work.listings import (
    ProblemReport,
    print_entries,
)
from orchestrator.domain.errors import ExitCode, LimitReachedError
from orchestrator.domain.quantities import as_clock, format_bytes
from orchestrator.domain.states import EntryState
from orchestrator.engine.batch import run_batch, submit_batch
from orchestrator.journal.backend import is_shared
from orchestrator.journal.reading import JournalReader
from orchestrator.settings.sources import EffectiveSettings

if TYPE_CHECKING:
    from orchestrator.engine.report import RunOutcome
    from orchestrator.fleet.enqueueing import Enqueued, Enqueuer

_STOPPED_BY = {
    ExitCode.HUNG_UP: "stopped by SIGHUP",
    ExitCode.INTERRUPTED: "interrupted",
    ExitCode.TERMINATED: "stopped by SIGTERM",
}


def run_manifest(invocation: Invocation, request: ManifestRequest) -> int:
    """Run the manifest's batch to its end and return the exit code.

    Errors of the manifest are reported before any other error.
    """
    with problems_first(invocation, request) as problems:
        effective = invocation.settings(beside=request.path)
        refuse_fleet(effective.values.state, request.path)
        return run_on_network(run_once, invocation, request, effective, problems)


async def run_once(
    invocation: Invocation,
    request: ManifestRequest,
    effective: EffectiveSettings,
    problems: ProblemReport,
    environ: Mapping[str, str] = os.environ,
) -> int:
    """Run the batch once with the *effective* settings and the credentials of *environ*."""
    manifest = request.open(effective.values)
    check_patterns(manifest, request.patterns)
    output = invocation.output
    async with open_shown_session(
        output,
        effective,
        manifest.batch_name,
        is_submit_wanted=manifest.is_submit_wanted,
        environ=environ,
    ) as session:
        run = run_request(
            session, request, manifest, with_media=effective.values.media_check, on_problems=problems
        )
        report = await run_batch(run, session.journal, session.events, session.clocks)
        await print_run(output, report, session.journal, had_work=session.has_worked)
        await session.report_end(report)
    return report.exit_code


def submit_jobs(invocation: Invocation, name: str, patterns: Collection[str] | None = None) -> int:
    """Submit the uploaded jobs of the batch called *name*, all or those matching *patterns*; return the exit code."""
    known = known_batch(invocation, name)
    with known_kept_in_history(invocation.output, known):
        return run_on_network(_submit, invocation.output, known, patterns)


async def _submit(output: Output, known: KnownBatch, patterns: Collection[str] | None) -> int:
    name = known.record.name
    if is_shared(known.effective.values.state):

        async def act(session: Session, enqueuer: Enqueuer) -> Enqueued:
            ids = await matching_entries(session.journal, known.record, patterns)
            return await enqueuer.submit(session.work, name, ids)

        from orchestrator.cli.work.enqueue import enqueue_by  # noqa: PLC0415 - for a fleet's journal only

        return await enqueue_by(output, known.as_enqueued, name, act, is_submit_wanted=True)
    async with open_shown_session(
        output, known.effective, name, is_submit_wanted=True, environ=os.environ
    ) as session:
        ids = await matching_entries(session.journal, known.record, patterns)
        report = await submit_batch(
            session.work, name, session.journal, session.events, session.clocks, entry_ids=ids
        )
        await print_run(output, report, session.journal, had_work=session.has_worked)
        await session.report_end(report)
    return report.exit_code


async def print_run(output: Output, report: RunOutcome, journal: JournalReader, *, had_work: bool) -> None:
    """Print the document, or the table and its summary; *had_work* is True if the run started an entry."""
    notes = [line async for line in left_alone(report, journal)]
    if output.is_json:
        found = (result.as_dict() async for result in results(journal, report.batch_digest))
        await output.stream_document(await head_of(report, journal), "results", found)
    elif had_work:
        await print_entries(output, journal, report.batch_digest, report.counts, name=report.batch)
    summary = list(_summary(report, had_work=had_work))
    for line in summary:
        output.say(line)
    if output.is_quiet and report.exit_code != ExitCode.OK:
        output.complain(f"{summary[0]}; `orchestrator status {quote(report.batch)}` shows more")
    if isinstance(report.cause, LimitReachedError):
        output.complain(f"stopped: {report.cause.message}")
    elif report.cause is not None:
        output.print_error(report.cause)
    for line in decisions(report):
        output.complain(line)
    for line in (*_next_steps(report), *notes):
        output.note(line)
    if output.is_json or report.exit_code != ExitCode.OK or had_work:
        output.say(f"run {report.run_id}: exit code {int(report.exit_code)}")


def _summary(report: RunOutcome, *, had_work: bool) -> Iterator[str]:
    entries, tally = report.entries, report.tally
    rejected = report.counts.get(EntryState.REVIEW_FAILED, 0)
    if not had_work and report.exit_code == ExitCode.OK:
        done = "all" if entries.done == entries.total else f"{entries.done} of"
        yield f"{report.batch}: nothing to do, {done} {entries.total} entries are done"
        return
    others = {
        "failed": entries.failed,
        "review failed": rejected,
        "need a decision": len(report.undecided),
        "skipped": max(entries.skipped - rejected - len(report.undecided), 0),
        "left": entries.pending,
    }
    counts = "".join(f", {count} {name}" for name, count in others.items() if count)
    yield (
        f"{report.batch}: {entries.done} of {entries.total} entries done{counts}, "
        f"in {as_clock(report.elapsed_seconds)}"
    )
    if tally.sent_segments:
        rate = format_bytes(tally.sent_bytes / max(report.elapsed_seconds, 0.001))
        retries = f", {tally.retried} retried" if tally.retried else ""
        yield f"sent {format_bytes(tally.sent_bytes)} in {tally.sent_segments} segments ({rate}/s){retries}"
    if report.resumed_bytes:
        yield f"resumed: {format_bytes(report.resumed_bytes)} were already stored and not sent again"


def _next_steps(report: RunOutcome) -> Iterator[str]:
    if report.undecided:
        yield (
            "run again with --on-change update or --on-change recreate to apply what the manifest says now, "
            "or put the manifest and the files back as they were"
        )
    if report.undecided and report.earlier_manifest is not None:
        yield (
            f"batch {report.batch} was made from {report.earlier_manifest}; "
            "if this is another batch, give it a name of its own with --batch-name NAME"
        )
    if report.exit_code in _STOPPED_BY:
        yield (
            f"{_STOPPED_BY[ExitCode(report.exit_code)]}; state is saved, "
            "run the same command again to continue"
        )
    elif report.exit_code == ExitCode.CONFIGURATION:
        yield "stopped; state is saved: once that is fixed, run the same command again to continue"
    elif report.cause is not None:
        yield "stopped; state is saved, run the same command again to continue"
    elif report.entries.failed and report.exit_code == ExitCode.DECISION_NEEDED:
        yield f"{report.entries.failed} need a decision; see the hints above."
    elif report.entries.failed:
        yield f"{report.entries.failed} failed. Fix the problems above, then run the same command again."
