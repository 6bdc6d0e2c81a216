"""What `run` says at its end: a table, what was done, and what to do next."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import islice
from shlex import quote

from orchestrator.cli.output import Output, print_table
from orchestrator.domain.errors import LimitReachedError
from orchestrator.domain.exit_codes import ExitCode
from orchestrator.domain.quantities import format_bytes
from orchestrator.domain.states import EntryState
from orchestrator.engine.report import RunReport
from orchestrator.journal.reading import JournalReader
from orchestrator.journal.records import EntryRecord, OutcomeRecord
from orchestrator.observe.wording import duration

SHOWN_ENTRIES = 40
_SHOWN_UNDECIDED = 20
_NAMED_ENTRIES = 10
_STOPPED_BY = {
    ExitCode.HUNG_UP: "stopped by SIGHUP",
    ExitCode.INTERRUPTED: "interrupted",
    ExitCode.TERMINATED: "stopped by SIGTERM",
}
_ALL_STATES = frozenset(EntryState)
_FAILED = frozenset({EntryState.FAILED, EntryState.REVIEW_FAILED})


async def print_run(output: Output, report: RunReport, journal: JournalReader, *, had_work: bool) -> None:
    """Print the document, or the table and what it means; *had_work* is True when an entry was started."""
    notes = [line async for line in _left_alone(report, journal)]
    if output.is_json:
        error = {} if report.cause is None else {"error": report.cause.document}
        warnings = [*report.warnings, *_decisions(report), *notes]
        head = {**report.as_dict(), "warnings": warnings, **error}
        await output.stream_document(head, "results", results(journal, report.batch_digest))
    elif had_work:
        await print_entries(output, journal, report.batch_digest, report.totals.entries, name=report.batch)
    summary = list(_summary(report, had_work=had_work))
    for line in summary:
        output.say(line)
    if output.is_quiet and report.exit_code != ExitCode.OK:
        output.complain(f"{summary[0]}; `orchestrator status {quote(report.batch)}` shows more")
    _print_rest(output, report)
    for line in notes:
        output.note(line)
    if had_work:
        output.say(f"run {report.run_id}: exit code {int(report.exit_code)}")


async def results(journal: JournalReader, batch: str) -> AsyncIterator[dict[str, object]]:
    """The outcome of every entry in manifest order."""
    async for record in journal.outcomes(batch):
        yield {
            "entry": record.entry_id,
            "state": record.state.value,
            "job_id": record.job_id,
            "error": error_of(record),
        }


def error_of(record: EntryRecord | OutcomeRecord) -> dict[str, str | None] | None:
    """Why the entry stands where it stands, None when nothing is wrong."""
    is_failed = record.state is EntryState.FAILED
    return record.error.as_dict() if is_failed and record.error is not None else None


def review_text(record: EntryRecord) -> str | None:
    """The reviewer's reason with its code; None when no review has failed since the last submission."""
    code = f" ({record.review_code})" if record.review_code else ""
    return f"{record.review_reason}{code}" if record.review_reason else None


async def print_entries(
    output: Output,
    journal: JournalReader,
    batch: str,
    total: int,
    *,
    name: str,
    limit: int = SHOWN_ENTRIES,
    states: frozenset[EntryState] = _ALL_STATES,
) -> None:
    """Print the *total* entries in *states* of batch *name*; of more than *limit* the failed first."""
    orders = [states] if total <= limit else [states & _FAILED, states - _FAILED]
    shown: list[EntryRecord] = []
    for chosen in orders:
        async for record in journal.entries(batch, states=chosen):
            if len(shown) == limit:
                break
            shown.append(record)
    rows = [(one.entry_id, one.state.value, format_bytes(one.bytes), one.job_id or "-") for one in shown]
    print_table(output, ("entry", "state", "size", "job"), rows)
    write_line = output.complain if output.is_quiet else output.say
    for line in (*filter(None, map(_complaint, shown)), *_hints(shown)):
        write_line(line)
    if total > len(shown):
        output.say(f"... and {total - len(shown)} more; `orchestrator status {quote(name)} --all` lists all")


def _complaint(record: EntryRecord) -> str | None:
    """Why the entry needs attention: a line of its own, since no column is wide enough."""
    if record.state is EntryState.REVIEW_FAILED:
        return f"{record.entry_id}: review failed: {review_text(record) or 'no reason was given'}"
    error = record.error
    if record.state is not EntryState.FAILED or error is None:
        return None
    about = ", ".join(filter(None, (error.code, error.request_id and f"request {error.request_id}")))
    return f"{record.entry_id}: {error.message}{f' ({about})' if about else ''}"


def _hints(records: Sequence[EntryRecord]) -> Iterator[str]:
    """What to do about the entries that failed, each advice once."""
    errors = [record.error for record in records if record.state is EntryState.FAILED]
    for hint in dict.fromkeys(error.hint for error in errors if error is not None and error.hint):
        yield f"hint: {hint}"


def _summary(report: RunReport, *, had_work: bool) -> Iterator[str]:
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
        f"in {duration(report.elapsed_seconds)}"
    )
    if tally.sent_segments:
        rate = format_bytes(tally.sent_bytes / max(report.elapsed_seconds, 0.001))
        retries = f", {tally.retried} retried" if tally.retried else ""
        yield f"sent {format_bytes(tally.sent_bytes)} in {tally.sent_segments} segments ({rate}/s){retries}"
    if report.resumed_bytes:
        yield f"resumed: {format_bytes(report.resumed_bytes)} were already stored and not sent again"


def _print_rest(output: Output, report: RunReport) -> None:
    """On stderr: what did not get done, why, and what to do."""
    if isinstance(report.cause, LimitReachedError):
        output.complain(f"stopped: {report.cause.message}")
    elif report.cause is not None:
        output.print_error(report.cause)
    for line in _decisions(report):
        output.complain(line)
    for line in _next_steps(report):
        output.note(line)


def _decisions(report: RunReport) -> Iterator[str]:
    for entry, reason in islice(report.undecided.items(), _SHOWN_UNDECIDED):
        yield f"{entry} needs a decision: {reason}"
    if len(report.undecided) > _SHOWN_UNDECIDED:
        yield f"... and {len(report.undecided) - _SHOWN_UNDECIDED} more"


def _next_steps(report: RunReport) -> Iterator[str]:
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
    elif report.cause is not None:
        yield "stopped; state is saved, run the same command again to continue"
    elif report.entries.failed and report.exit_code == ExitCode.DECISION_NEEDED:
        yield f"{report.entries.failed} need a decision; see the hints above."
    elif report.entries.failed:
        yield f"{report.entries.failed} failed. Fix the problems above, then run the same command again."


async def _left_alone(report: RunReport, journal: JournalReader) -> AsyncIterator[str]:
    """Entries that this run did not touch, and the command for each kind."""
    name = quote(report.batch)
    rejected = await _ids_in(journal, report, EntryState.REVIEW_FAILED)
    unchanged = [entry for entry in rejected if entry not in report.replaced]
    if unchanged:
        yield (
            f"review failed, and nothing was replaced since: {named(unchanged)}; replace the files or fields that "
            f"the reviewer names, then `orchestrator retry {name}`; to send an entry as it is: "
            f"`orchestrator retry {name} --entry {quote(unchanged[0])}`"
        )
    if report.replaced:
        waiting = sorted(report.replaced)
        yield (
            f"review failed, replaced since and not sent yet: {named(waiting)}; "
            f"`orchestrator retry {name}` sends them"
        )
    cancelled = await _ids_in(journal, report, EntryState.CANCELLED)
    if cancelled:
        yield (
            f"cancelled, left alone: {named(cancelled)}; `orchestrator retry {name} --entry {quote(cancelled[0])}` "
            f"brings one back, `orchestrator retry {name} --cancelled` brings back all"
        )
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


async def _ids_in(journal: JournalReader, report: RunReport, state: EntryState) -> list[str]:
    """The entries in *state*; reading them costs nothing where there are none."""
    if not report.counts.get(state, 0):
        return []
    return [record.entry_id async for record in journal.entries(report.batch_digest, states={state})]


def named(entries: Sequence[str]) -> str:
    """The first of *entries*, and how many more there are."""
    more = len(entries) - _NAMED_ENTRIES
    return ", ".join(entries[:_NAMED_ENTRIES]) + (f" and {more} more" if more > 0 else "")
