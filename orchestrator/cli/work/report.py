"""What `run` says at its end: a table, what was done, and what to do next."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from shlex import quote
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.api.run_report import decisions, head_of, left_alone, results
from orchestrator.cli.output import Output, print_table
from orchestrator.domain.errors import LimitReachedError
from orchestrator.domain.exit_codes import ExitCode
from orchestrator.domain.quantities import format_bytes
from orchestrator.domain.states import EntryState
from orchestrator.journal.reading import JournalReader
from orchestrator.journal.records import EntryRecord
from orchestrator.observe.wording import duration

if TYPE_CHECKING:
    from orchestrator.engine.report import RunReport

SHOWN_ENTRIES = 40
#: From this number of entries with the same message on, they share a line.
GROUPED_ENTRIES = 4
_EXAMPLES = 2
_STOPPED_BY = {
    ExitCode.HUNG_UP: "stopped by SIGHUP",
    ExitCode.INTERRUPTED: "interrupted",
    ExitCode.TERMINATED: "stopped by SIGTERM",
}
_FAILED = frozenset({EntryState.FAILED, EntryState.REVIEW_FAILED})


async def print_run(output: Output, report: RunReport, journal: JournalReader, *, had_work: bool) -> None:
    """Print the document, or the table and what it means; *had_work* is True when an entry was started."""
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


def review_text(record: EntryRecord) -> str | None:
    """The reviewer's reason with its code; None when no review has failed since the last submission."""
    code = f" ({record.review_code})" if record.review_code else ""
    return f"{record.review_reason}{code}" if record.review_reason else None


async def print_entries(
    output: Output,
    journal: JournalReader,
    batch: str,
    counts: Mapping[EntryState, int],
    *,
    name: str,
    limit: int = SHOWN_ENTRIES,
    states: Collection[EntryState] | None = None,
    only: Collection[str] | None = None,
) -> None:
    """Print the entries of batch *name* in *states*, of those whose ids are in *only*; None stands for all.

    *counts* are those of the batch. Of more than *limit* the failed ones are shown first.
    """
    wanted = frozenset(EntryState if states is None else states)
    total = sum(count for state, count in counts.items() if state in wanted) if only is None else len(only)
    orders = [wanted] if total <= limit else [wanted & _FAILED, wanted - _FAILED]
    shown: list[EntryRecord] = []
    matching = 0
    for chosen in filter(None, orders):
        async for record in journal.entries(batch, states=chosen):
            if only is not None and record.entry_id not in only:
                continue
            matching += 1
            if len(shown) < limit:
                shown.append(record)
            elif only is None:
                break
    if shown:
        rows = [(one.entry_id, one.state.value, format_bytes(one.bytes), one.job_id or "-") for one in shown]
        print_table(output, ("entry", "state", "size", "job"), rows)
    # A line of its own for each, since no column is wide enough.
    complaints = [complaint for record in shown if (complaint := _complaint(record)) is not None]
    errors = [record.error for record in shown if record.state is EntryState.FAILED]
    hints = dict.fromkeys(error.hint for error in errors if error is not None and error.hint)
    write_line = output.complain if output.is_quiet else output.say
    for line in (*grouped(complaints), *(f"hint: {hint}" for hint in hints)):
        write_line(line)
    more = (total if only is None else matching) - len(shown)
    if more > 0 and limit:
        output.say(f"... and {more} more; `orchestrator status {quote(name)} --all` lists all")


class Complaint(NamedTuple):
    """What is said of an entry, and the id of the request that was answered so."""

    entry: str
    text: str
    request_id: str | None = None


def _complaint(record: EntryRecord) -> Complaint | None:
    """Why the entry needs attention, None where it does not."""
    if record.state is EntryState.REVIEW_FAILED:
        return Complaint(record.entry_id, f"review failed: {review_text(record) or 'no reason was given'}")
    error = record.error
    if record.state is not EntryState.FAILED or error is None:
        return None
    code = f" ({error.code})" if error.code else ""
    return Complaint(record.entry_id, f"{error.message}{code}", error.request_id)


def grouped(complaints: Iterable[Complaint]) -> Iterator[str]:
    """A line for each complaint, and one for all entries of which the same is said."""
    alike: dict[str, list[Complaint]] = {}
    for complaint in complaints:
        alike.setdefault(complaint.text, []).append(complaint)
    for text, said in alike.items():
        if len(said) >= GROUPED_ENTRIES:
            yield f"{len(said)} entries: {text} ({examples([one.entry for one in said])})"
            continue
        for one in said:
            about = f" (request {one.request_id})" if one.request_id else ""
            yield f"{one.entry}: {text}{about}"


def examples(entries: Sequence[str]) -> str:
    """The first two of *entries*, as the end of a line about all of them has them."""
    return ", ".join(entries[:_EXAMPLES]) + (", ..." if len(entries) > _EXAMPLES else "")


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
    elif report.exit_code == ExitCode.CONFIGURATION:
        yield "stopped; state is saved: once that is fixed, run the same command again to continue"
    elif report.cause is not None:
        yield "stopped; state is saved, run the same command again to continue"
    elif report.entries.failed and report.exit_code == ExitCode.DECISION_NEEDED:
        yield f"{report.entries.failed} need a decision; see the hints above."
    elif report.entries.failed:
        yield f"{report.entries.failed} failed. Fix the problems above, then run the same command again."
