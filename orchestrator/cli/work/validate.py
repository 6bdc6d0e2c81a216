"""`validate`: reports every problem of a manifest, its files and its films; nothing is sent."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from orchestrator.api.checking import CheckedFilm, EntryFilm, ManifestRequest, check, check_films
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import SCHEMA, Output
from orchestrator.cli.work.listings import counted, grouped_problems
from orchestrator.domain.errors import ConfigurationError, ExitCode, UsageError
from orchestrator.domain.quantities import as_clock
from orchestrator.manifest import Problem
from orchestrator.settings.values import ProgressStyle, Settings

#: Seconds between two lines of progress without a terminal.
_PLAIN_SECONDS = 30.0


def validate_manifest(
    invocation: Invocation, request: ManifestRequest, report: Path | None = None
) -> ExitCode:
    """Print every problem of the manifest, and write the page *report* about its films.

    Only files are read, and for rows of results and missing files the journal.
    """
    output = invocation.output
    effective = invocation.settings(beside=request.path)
    settings = effective.values
    if report is not None and settings.look == "off":
        raise UsageError("--report needs --look", hint="add --look quick")
    checked = check(request, settings, lambda films: check_films_shown(films, settings, output))
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
        output.say(f"{request.path}: {listed_entries} entr{'y' if listed_entries == 1 else 'ies'}, {verdict}")
    return ExitCode.OK if checked.is_valid else ExitCode.MANIFEST_INVALID


def check_films_shown(films: Sequence[EntryFilm], settings: Settings, output: Output) -> list[CheckedFilm]:
    """Check *films* as the settings say, and show the progress in a line."""
    progress = _Progress(output, settings)
    looked = check_films(films, settings, note=output.note, on_progress=progress)
    progress.end()
    return looked


class _Progress:
    """The progress line `looking at 31 of 200 films, 4:10 left`: updated in place on a terminal, else repeated."""

    def __init__(self, output: Output, settings: Settings) -> None:
        self._output = output
        self._is_shown = not settings.quiet and settings.progress is not ProgressStyle.NONE
        self._is_bar = settings.progress is ProgressStyle.BAR or (
            settings.progress is ProgressStyle.AUTO and sys.stderr.isatty()
        )
        self._began = self._last = time.monotonic()
        self._has_bar = False

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if not self._is_shown or (not self._is_bar and now - self._last < _PLAIN_SECONDS and done < total):
            return
        self._last = now
        left = (now - self._began) / done * (total - done)
        ending = f", {as_clock(left)} left" if done < total else ""
        text = f"looking at {done} of {total} films{ending}"
        if self._is_bar:
            self._has_bar = True
            self._output.overwrite(text)
        else:
            self._output.note(text)

    def end(self) -> None:
        """End the line that was updated in place."""
        if self._has_bar:
            self._output.note("")


def write_film_page(
    path: Path, title: str, looked: Sequence[CheckedFilm], problems: Sequence[Problem], *, jobs: int
) -> None:
    """Write the page to *path* with mode 0600; raises ConfigurationError if it cannot be written.

    *problems* are all problems of the manifest; those of a film are shown next to its pictures.
    """
    from orchestrator.preflight.look.pool import strips_of_films  # noqa: PLC0415 - needs the extra
    from orchestrator.preflight.page.rendering import FilmRow, render_page  # noqa: PLC0415 - needs the extra
    from orchestrator.preflight.rulebook import Finding  # noqa: PLC0415 - as above

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
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - opens a descriptor
            file.write(text)
        new.replace(path)
    except OSError as error:
        raise ConfigurationError(
            f"the page cannot be written: {path}: {error.strerror}", hint="give another file with --report"
        ) from None
