"""`validate`, and how the problems of a manifest, its files and its films are shown by all commands."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from orchestrator.api.checking import Asked, FilmOfEntry, Looked, check, check_manifest, look_at
from orchestrator.api.settings import ProgressStyle, Settings, settings_of_flags
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import SCHEMA, Output
from orchestrator.cli.work.report import GROUPED_ENTRIES, examples
from orchestrator.domain.errors import ConfigurationError, ManifestError, OrchestratorError, UsageError
from orchestrator.domain.exit_codes import ExitCode
from orchestrator.manifest import Problem

SHOWN_PROBLEMS = 50
#: Seconds between two lines of progress where there is no terminal.
_PLAIN_SECONDS = 30.0


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
        lines = list(grouped_problems(sorted(problems, key=lambda problem: not problem.is_error)))
        for line in lines[:SHOWN_PROBLEMS]:
            write_line = self._output.complain if line.is_error else self._output.note
            write_line(line.text)
        if len(lines) > SHOWN_PROBLEMS:
            self._output.note(f"... and {len(lines) - SHOWN_PROBLEMS} more ({counted(problems)} in all)")
        if any(problem.is_error for problem in problems):
            self._output.known["problems"] = [problem.as_dict() for problem in problems]


class ProblemLine(NamedTuple):
    """A line about one problem, or about many of which it says the same."""

    text: str
    is_error: bool


def grouped_problems(problems: Iterable[Problem]) -> Iterator[ProblemLine]:
    """A line for each problem, in their order; what is said of many entries stands where the first is."""
    alike: dict[tuple[object, ...], list[Problem]] = {}
    for problem in problems:
        key = (problem.rule, problem.severity, problem.field, problem.message)
        # What is about the file as a whole is about nothing else.
        alike.setdefault(key if problem.entry is not None else (problem,), []).append(problem)
    for first, *others in alike.values():
        if len(others) + 1 < GROUPED_ENTRIES:
            yield from (ProblemLine(str(one), one.is_error) for one in (first, *others))
            continue
        entries = [one.entry or "" for one in (first, *others)]
        whole = replace(
            first, entry=f"{len(entries)} entries", message=f"{first.message} ({examples(entries)})"
        )
        yield ProblemLine(str(whole), first.is_error)


def counted(problems: Sequence[Problem], *, is_of_entries: bool = False) -> str:
    """`10 errors, 1 warning`; where a number of entries stands before it, `10 errors in 2 of them`."""
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


def refuse_invalid(invocation: Invocation, asked: Asked, report: ProblemReport) -> None:
    """Raise ManifestError when the manifest has errors; of the settings only the flags count."""
    settings = settings_of_flags(invocation.flags).values
    _, problems = check_manifest(asked.open(settings), with_media=settings.media_check)
    errors = sum(problem.is_error for problem in problems)
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
    checked = check(asked, settings, lambda films: look_shown(films, settings, output))
    problems, looked = checked.problems, checked.looked
    if report is not None and looked:
        write_film_page(report, checked.manifest.batch_name, looked, problems, jobs=settings.jobs)
        output.note(f"the page about {len(looked)} films: {report}")
    if output.is_json:
        listed = [problem.as_dict() for problem in problems]
        output.document(
            {"schema": SCHEMA, "ok": checked.is_valid, "entries": checked.entries, "problems": listed}
        )
    else:
        for line in grouped_problems(problems):
            output.say(line.text)
        listed_entries = checked.manifest.listed
        verdict = counted(problems, is_of_entries=True) or "no problems"
        output.say(f"{asked.path}: {listed_entries} entr{'y' if listed_entries == 1 else 'ies'}, {verdict}")
    return ExitCode.OK if checked.is_valid else ExitCode.MANIFEST_INVALID


def is_setting_wrong(error: OrchestratorError) -> bool:
    """True for errors that are reported after those of the manifest, which is fixed first."""
    return error.kind in {"configuration", "credentials"}


def look_shown(films: Sequence[FilmOfEntry], settings: Settings, output: Output) -> list[Looked]:
    """Look at *films* as the settings want it, with a line that shows how far it is."""
    progress = _Progress(output, settings)
    looked = look_at(films, settings, note=output.note, on_progress=progress)
    progress.end()
    return looked


class _Progress:
    """`looking at 31 of 200 films, 4:10 left`: one line that changes on a terminal, else one now and then."""

    def __init__(self, output: Output, settings: Settings) -> None:
        self._output = output
        self._is_shown = not settings.quiet and settings.progress is not ProgressStyle.NONE
        self._is_bar = settings.progress is ProgressStyle.BAR or (
            settings.progress is ProgressStyle.AUTO and sys.stderr.isatty()
        )
        self._began = self._last = time.monotonic()
        self._has_bar = False

    def __call__(self, done: int, total: int) -> None:
        from orchestrator.preflight.look.judging import clock  # noqa: PLC0415 - loaded when films are looked at

        now = time.monotonic()
        if not self._is_shown or (not self._is_bar and now - self._last < _PLAIN_SECONDS and done < total):
            return
        self._last = now
        left = (now - self._began) / done * (total - done)
        ending = f", {clock(left)} left" if done < total else ""
        text = f"looking at {done} of {total} films{ending}"
        if self._is_bar:
            self._has_bar = True
            self._output.overwrite(text)
        else:
            self._output.note(text)

    def end(self) -> None:
        """Leave the line behind."""
        if self._has_bar:
            self._output.note("")


def write_film_page(
    path: Path, title: str, looked: Sequence[Looked], problems: Sequence[Problem], *, jobs: int
) -> None:
    """Write the page to *path* with mode 0600; raises ConfigurationError when it cannot be written.

    *problems* are all of the manifest; those about a film stand beside its pictures.
    """
    from orchestrator.preflight.finding import Finding  # noqa: PLC0415 - as the others
    from orchestrator.preflight.look.pool import strips_of_films  # noqa: PLC0415 - needs the extra
    from orchestrator.preflight.page.rendering import FilmRow, render_page  # noqa: PLC0415 - needs the extra

    strips = strips_of_films((one.film.path for one in looked), jobs=jobs)
    rows = [
        FilmRow(
            entry=one.film.entry.entry_id,
            kind=one.film.kind.value.replace("_", " "),
            name=Path(one.film.path).name,
            seconds=one.measures.seconds,
            findings=[
                Finding(p.rule, p.message.removeprefix(f"{one.film.path}: "), p.verdict, is_error=p.is_error)
                for p in problems
                if (p.entry, p.field) == (one.film.entry.entry_id, one.film.kind.value)
            ],
            strip=strips.get(one.film.path, ()),
            curve=one.measures.curve,
        )
        for one in looked
    ]
    made_at = time.strftime("%Y-%m-%d %H:%M")
    _write_private(path, render_page(title, rows, made_at))


def _write_private(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.new")
    try:
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
            file.write(text)
        new.replace(path)
    except OSError as error:
        raise ConfigurationError(
            f"the page cannot be written: {path}: {error.strerror}", hint="give another file with --report"
        ) from None
