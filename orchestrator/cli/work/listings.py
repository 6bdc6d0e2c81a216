"""Listings of entries, of their failures, and of a manifest's problems."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from shlex import quote
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import Output, print_table
from orchestrator.domain.errors import ManifestError
from orchestrator.domain.quantities import format_bytes
from orchestrator.domain.states import EntryState
from orchestrator.settings.sources import settings_of_flags

if TYPE_CHECKING:
    from orchestrator.api.checking import ManifestRequest
    from orchestrator.journal.reading import JournalReader
    from orchestrator.journal.records import EntryRecord
    from orchestrator.manifest import Problem

SHOWN_ENTRIES = 40
SHOWN_PROBLEMS = 50
#: Entries with the same message share a line from this number on.
GROUPED_ENTRIES = 4
_EXAMPLES = 2
_FAILED = frozenset({EntryState.FAILED, EntryState.REVIEW_FAILED})


def review_text(record: EntryRecord) -> str | None:
    """Return the reviewer's reason with its code; None if no review failed since the last submission."""
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
    """Print the entries of batch *name* in *states* whose ids are in *only*; None stands for all.

    *counts* are the batch's entries per state. If there are more than *limit*, failed entries are shown first.
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
    # Each complaint gets its own line, since no column is wide enough.
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
    """The failure of an entry, and the id of the request that failed."""

    entry: str
    text: str
    request_id: str | None = None


def _complaint(record: EntryRecord) -> Complaint | None:
    """Return why the entry needs attention, None if it does not."""
    if record.state is EntryState.REVIEW_FAILED:
        return Complaint(record.entry_id, f"review failed: {review_text(record) or 'no reason was given'}")
    error = record.error
    if record.state is not EntryState.FAILED or error is None:
        return None
    code = f" ({error.code})" if error.code else ""
    return Complaint(record.entry_id, f"{error.message}{code}", error.request_id)


def grouped(complaints: Iterable[Complaint]) -> Iterator[str]:
    """Yield a line for each complaint, or one line for many entries with the same text."""
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
    """Return the first two of *entries*, for the end of a line about all of them."""
    return ", ".join(entries[:_EXAMPLES]) + (", ..." if len(entries) > _EXAMPLES else "")


class ProblemReport:
    """A callable that prints the problems of a manifest, errors first, up to a limit."""

    def __init__(self, output: Output) -> None:
        self.problems: list[Problem] = []
        self.was_called = False
        self._output = output

    def __call__(self, problems: Sequence[Problem]) -> None:
        """Print *problems*: errors always, warnings unless quiet."""
        self.was_called = True
        self.problems = list(problems)
        lines = list(grouped_problems(sorted(problems, key=lambda problem: not problem.is_error)))
        for line in lines[:SHOWN_PROBLEMS]:
            write_line = self._output.complain if line.is_error else self._output.note
            write_line(line.text)
        if len(lines) > SHOWN_PROBLEMS:
            self._output.note(f"... and {len(lines) - SHOWN_PROBLEMS} more ({counted(problems)} in all)")
        if any(problem.is_error for problem in problems):
            self._output.known["problems"] = [problem.as_dict() for problem in problems]


class ProblemLine(NamedTuple):
    """A line about one problem, or about the same problem of many entries."""

    text: str
    is_error: bool


def grouped_problems(problems: Iterable[Problem]) -> Iterator[ProblemLine]:
    """Yield a line for each problem, in order; problems shared by many entries appear at the first of them."""
    alike: dict[tuple[object, ...], list[Problem]] = {}
    for problem in problems:
        key = (problem.rule, problem.severity, problem.field, problem.message)
        # A problem of the file as a whole is never grouped.
        alike.setdefault(key if problem.entry is not None else (problem,), []).append(problem)
    for first, *others in alike.values():
        if len(others) + 1 < GROUPED_ENTRIES:
            yield from (ProblemLine(str(one), one.is_error) for one in (first, *others))
            continue
        entries = [one.entry or "" for one in (first, *others)]
        whole = first._replace(
            entry=f"{len(entries)} entries", message=f"{first.message} ({examples(entries)})"
        )
        yield ProblemLine(str(whole), first.is_error)


def counted(problems: Sequence[Problem], *, is_of_entries: bool = False) -> str:
    """Return `10 errors, 1 warning`, or `10 errors in 2 of them` for text after a number of entries."""
    errors = [problem for problem in problems if problem.is_error]
    warnings = len(problems) - len(errors)
    faulty = len({problem.entry for problem in errors if problem.entry is not None})
    parts = []
    if errors:
        where = f" in {faulty} of them" if faulty and is_of_entries else ""
        parts.append(f"{len(errors)} error{'' if len(errors) == 1 else 's'}{where}")
    if warnings:
        parts.append(f"{warnings} warning{'' if warnings == 1 else 's'}")
    return ", ".join(parts)


def refuse_invalid(invocation: Invocation, request: ManifestRequest, report: ProblemReport) -> None:
    """Raise ManifestError if the manifest has errors; only settings from flags apply."""
    from orchestrator.api.checking import check_manifest  # noqa: PLC0415 - loads what listing entries does not need

    settings = settings_of_flags(invocation.flags).values
    _, problems = check_manifest(request.open(settings), with_media=settings.media_check)
    errors = sum(problem.is_error for problem in problems)
    if errors:
        report(problems)
        raise ManifestError(
            f"{request.path} has {errors} error{'' if errors == 1 else 's'}; nothing was sent"
        )
