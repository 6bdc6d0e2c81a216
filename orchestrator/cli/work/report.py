"""`report`: writes the page about a batch, completely or not at all."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from anyio import to_thread

from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import SCHEMA, Output
from orchestrator.cli.process import run_async
from orchestrator.cli.work.batches import KnownBatch, known_batch
from orchestrator.cli.work.results import written_file
from orchestrator.domain.errors import ExitCode, UsageError
from orchestrator.journal.backend import has_password, is_url
from orchestrator.journal.journal import Journal, open_journal
from orchestrator.preflight.look.measures import is_installed
from orchestrator.preflight.rules.rule import Extra, install_command
from orchestrator.report.document import ReportData, report_data
from orchestrator.report.reading import BatchFacts, read_batch

#: Seconds between two lines of progress.
_PROGRESS_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """The page's file, and whether it includes pictures."""

    file: Path | None
    with_pictures: bool


def write_report(invocation: Invocation, name: str, request: PageRequest) -> ExitCode:
    """Write the page about the batch called *name*; raises UsageError, ConfigurationError or JournalError."""
    if request.file is None:
        raise UsageError("no file named for the page", hint="add -o report.html, or --live to serve it")
    known = known_batch(invocation, name)
    document = run_async(_write, known, request, request.file, invocation.output)
    if invocation.is_json:
        invocation.output.document({"schema": SCHEMA, "file": str(request.file.absolute()), **document})
    else:
        invocation.output.note(f"wrote {document['entries']} avatars to {request.file}")
    return ExitCode.OK


async def _write(known: KnownBatch, request: PageRequest, file: Path, output: Output) -> dict[str, object]:
    from orchestrator.report.page import render_page  # noqa: PLC0415 - loads the template engine

    async with open_journal(known.effective.values.state, clock=time.time) as journal:
        facts, data = await read_report(journal, known)
    made: dict[str, str] = {}
    if request.with_pictures and can_show(output):
        made = await to_thread.run_sync(pictures, facts, data, picture_progress(output))
    page = await to_thread.run_sync(render_page, data, made)
    async with written_file(file) as write:
        await write(page)
    return {
        "batch": known.record.name,
        "digest": known.record.batch,
        "bytes": len(page.encode("utf-8")),
        "entries": len(data.rows),
        "pictures": len(made),
        "waiting": len(data.attention),
    }


async def read_report(journal: Journal, known: KnownBatch) -> tuple[BatchFacts, ReportData]:
    """Return the journal's current facts about the batch, and the page's data made from them."""
    # The record is read again: a run may have started since the lookup.
    record = await journal.batch(known.record.batch) or known.record
    facts = await read_batch(journal, record)
    data = await to_thread.run_sync(lambda: report_data(facts, now=time.time(), options=options_of(known)))
    return facts, data


def options_of(known: KnownBatch) -> str:
    """Return the options with which the page's commands find this journal, shell-quoted; never a password."""
    effective = known.effective
    if effective.source_of("state") == "default":
        return ""
    state = effective.values.state
    if has_password(state):
        # The page is passed on; a reader with access to the journal knows its location.
        return ""
    return f" --state {quote(state if is_url(state) else str(Path(state).absolute()))}"


def can_show(output: Output) -> bool:
    """True when pictures can be made; otherwise print what to install for them."""
    if is_installed(Extra.PREFLIGHT):
        return True
    output.note(f"note: the page has no pictures: {install_command(Extra.PREFLIGHT)} installs what they need")
    return False


def pictures(facts: BatchFacts, data: ReportData, on_progress: Callable[[int, int], None]) -> dict[str, str]:
    """Return the avatars' pictures by entry, entries that need attention first; blocks."""
    from orchestrator.report.pictures import pictures_of  # noqa: PLC0415 - it starts processes

    first = {str(item["entry_id"]) for item in data.attention}
    return pictures_of(facts.entries, first, jobs=os.cpu_count() or 1, on_progress=on_progress)


def picture_progress(output: Output) -> Callable[[int, int], None]:
    """Return a callback that prints the progress of pictures on stderr if they take long."""
    last = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _PROGRESS_SECONDS:
            last = time.monotonic()
            output.note(f"pictures: {done} of {total}")

    return show
