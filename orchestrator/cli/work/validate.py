"""Looking at a manifest without doing anything, and telling what is wrong with it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from shlex import quote

from orchestrator.api.settings import Settings, settings_of_flags
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import SCHEMA, Output
from orchestrator.cli.process import run_async
from orchestrator.cli.work.batches import has_journal
from orchestrator.cli.work.look import FilmOfEntry, films_of, look_at, look_problems, strict, write_film_page
from orchestrator.domain.entries import Entry, is_named_by
from orchestrator.domain.errors import ManifestError, OrchestratorError, UsageError
from orchestrator.domain.exit_codes import ExitCode
from orchestrator.engine.result_rows import RowJob, misplaced_rows, rejected_row_jobs, row_job
from orchestrator.journal.journal import open_journal
from orchestrator.manifest import (
    LocalFiles,
    Manifest,
    Problem,
    Severity,
    inspect_files,
    open_manifest,
)

SHOWN_PROBLEMS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The manifest as the command line names it, and what it adds to it."""

    path: Path
    batch_name: str | None = None
    defaults: Sequence[str] = ()
    patterns: Sequence[str] = ()  #: the entries that are meant, as globs; none for all

    def open(self, settings: Settings) -> Manifest:
        """Open it; raises UsageError for a default that is not `field=value`."""
        fields = {}
        for text in self.defaults:
            name, separator, value = text.partition("=")
            if not separator or not name.strip():
                raise UsageError(
                    "--default takes field=value", hint="for example --default contact=ops@example.com"
                )
            fields[name.strip()] = value
        return open_manifest(
            self.path,
            batch_name=self.batch_name,
            defaults=fields,
            is_submit_wanted=settings.submit,
        )


def check_patterns(manifest: Manifest, patterns: Sequence[str]) -> None:
    """Raise UsageError for a pattern that no entry of the manifest fits, unless an error may hide the entry."""
    unmatched = set(patterns)
    if not unmatched:
        return
    for entry in manifest.entries():
        unmatched -= {pattern for pattern in unmatched if is_named_by(entry.entry_id, pattern)}
    if unmatched and not manifest.has_errors:
        raise UsageError(
            f"--entry {min(unmatched)} fits no entry of {manifest.path}",
            hint=f"`orchestrator plan {quote(str(manifest.path))}` lists them",
        )


class ProblemReport:
    """Prints the problems of a manifest, errors first, up to a limit."""

    def __init__(self, output: Output) -> None:
        self.problems: list[Problem] = []
        self.was_called = False
        self._output = output

    def __call__(self, problems: Sequence[Problem]) -> None:
        """Print *problems*: errors always, warnings unless quiet."""
        self.was_called = True
        self.problems = list(problems)
        ordered = sorted(problems, key=lambda problem: problem.severity is not Severity.ERROR)
        for problem in islice(ordered, SHOWN_PROBLEMS):
            write_line = self._output.complain if problem.severity is Severity.ERROR else self._output.note
            write_line(str(problem))
        if len(ordered) > SHOWN_PROBLEMS:
            self._output.note(f"... and {len(ordered) - SHOWN_PROBLEMS} more ({counted(problems)} in all)")
        if any(problem.severity is Severity.ERROR for problem in problems):
            self._output.known["problems"] = [problem.as_dict() for problem in problems]


#: Hears an entry and the problems of its files.
OnEntry = Callable[[Entry, list[Problem]], None]


def counted(problems: Sequence[Problem]) -> str:
    """`2 errors, 1 warning`."""
    counts = Counter(problem.severity for problem in problems)
    return ", ".join(
        f"{counts[severity]} {severity}{'' if counts[severity] == 1 else 's'}"
        for severity in Severity
        if counts[severity]
    )


def check_manifest(
    manifest: Manifest, *, with_media: bool, on_entry: OnEntry = lambda _entry, _problems: None
) -> tuple[int, list[Problem]]:
    """The number of valid entries, and every problem of manifest and files.

    *on_entry* hears each entry with the problems of its files.
    """
    count = 0
    found: list[Problem] = []
    local, copies, manifest_file = LocalFiles(), manifest.copies(), str(manifest.path)
    for entry in manifest.entries():
        count += 1
        _, problems = inspect_files(entry, local, copies, with_media=with_media, manifest_file=manifest_file)
        on_entry(entry, problems)
        found += problems
    return count, [*manifest.problems, *found]


def refuse_invalid(invocation: Invocation, asked: Asked, report: ProblemReport) -> None:
    """Raise ManifestError when the manifest has errors; of the settings only the flags count."""
    settings = settings_of_flags(invocation.flags).values
    _, problems = check_manifest(asked.open(settings), with_media=settings.media_check)
    errors = sum(problem.severity is Severity.ERROR for problem in problems)
    if errors:
        report(problems)
        raise ManifestError(f"{asked.path} has {errors} error{'' if errors == 1 else 's'}; nothing was sent")


def validate_manifest(invocation: Invocation, asked: Asked, report: Path | None = None) -> ExitCode:
    """Print every problem of the manifest, and write the page *report* about its films.

    Nothing is asked but files, and the journal about the rows of results.
    """
    output = invocation.output
    effective = invocation.settings(beside=asked.path)
    settings = effective.values
    if report is not None and settings.look == "off":
        raise UsageError("--report needs --look", hint="add --look quick")
    rows: list[RowJob] = []
    films: list[FilmOfEntry] = []
    manifest = asked.open(settings)

    def note(entry: Entry, problems: list[Problem]) -> None:
        if settings.look != "off":
            films.extend(films_of(entry, problems))
        if (row := row_job(entry)) is not None:
            rows.append(row)

    count, problems = check_manifest(manifest, with_media=settings.media_check, on_entry=note)
    rows += rejected_row_jobs(manifest)
    if rows and has_journal(effective):
        problems += run_async(_misplaced, rows, settings.state, str(asked.path))
    looked = look_at(films, settings, output)
    problems += look_problems(looked, str(asked.path))
    if settings.look_strict:
        problems = strict(problems)
    if report is not None and looked:
        write_film_page(report, manifest.batch_name, looked, problems, jobs=settings.jobs)
        output.note(f"the page about {len(looked)} films: {report}")
    is_valid = not any(problem.severity is Severity.ERROR for problem in problems)
    if output.is_json:
        listed = [problem.as_dict() for problem in problems]
        output.document({"schema": SCHEMA, "ok": is_valid, "entries": count, "problems": listed})
    else:
        for problem in problems:
            output.say(str(problem))
        verdict = counted(problems) or "no problems"
        output.say(f"{asked.path}: {count} valid entr{'y' if count == 1 else 'ies'}, {verdict}")
    return ExitCode.OK if is_valid else ExitCode.MANIFEST_INVALID


async def _misplaced(rows: Sequence[RowJob], state: str, manifest_file: str) -> list[Problem]:
    async with open_journal(state, clock=time.time) as journal:
        return await misplaced_rows(rows, journal, manifest_file)


def is_setting_wrong(error: OrchestratorError) -> bool:
    """True for errors that are reported after those of the manifest, which is fixed first."""
    return error.kind in {"configuration", "credentials"}
