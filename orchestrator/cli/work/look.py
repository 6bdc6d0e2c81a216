"""Checking the pictures and sound of a manifest: which films, with what progress, what was found, and the page."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.api.settings import ProgressStyle, Settings
from orchestrator.cli.output import Output
from orchestrator.domain.assets import AssetKind
from orchestrator.domain.avatar import AudioSourceType
from orchestrator.domain.entries import Entry
from orchestrator.domain.errors import ConfigurationError
from orchestrator.manifest import Problem, Severity
from orchestrator.manifest.files import finding_problem
from orchestrator.manifest.problems import without_ignored
from orchestrator.preflight.cache import Cache
from orchestrator.preflight.finding import Finding
from orchestrator.preflight.look.judging import Purpose, clock, judge_look
from orchestrator.preflight.look.measures import Measures, is_installed
from orchestrator.preflight.rules import Extra, Verdict
from orchestrator.preflight.rules.rule import install_command

#: Seconds between two lines of progress where there is no terminal.
_PLAIN_SECONDS = 30.0
#: With an error of these there is nothing to look at: no such file, not whole, encrypted.
_UNPLAYABLE = frozenset({"M05", "P01", "P05"})
_FILM_KINDS = (AssetKind.TRAINING_VIDEO, AssetKind.ACTION_VIDEO)


@dataclass(frozen=True, slots=True)
class FilmOfEntry:
    """One film to look at, and what it is for."""

    entry: Entry
    kind: AssetKind
    path: str

    @property
    def purpose(self) -> Purpose:
        """What decides which rules are for it."""
        avatar, is_training = self.entry.avatar, self.kind is AssetKind.TRAINING_VIDEO
        is_voice_elsewhere = avatar.audio_source_type is AudioSourceType.AUDIO or avatar.is_only_human_model
        return Purpose(
            is_green_wanted=avatar.is_background_replacement is not False,
            is_flexus=avatar.is_any_flexus,
            is_voice_wanted=is_training and not is_voice_elsewhere,
            is_training=is_training,
        )


@dataclass(frozen=True, slots=True)
class Looked:
    """A film with what was measured and found."""

    film: FilmOfEntry
    measures: Measures
    findings: Sequence[Finding]


def films_of(entry: Entry, problems: Sequence[Problem]) -> list[FilmOfEntry]:
    """The films of *entry* that can be looked at: also one of a wrong length or size, not one that is cut."""
    faulty = {problem.field for problem in problems if problem.is_error and problem.rule in _UNPLAYABLE}
    files = entry.avatar.files()
    return [
        FilmOfEntry(entry, kind, files[kind]) for kind in _FILM_KINDS if kind in files and kind not in faulty
    ]


def look_at(films: Sequence[FilmOfEntry], settings: Settings, output: Output) -> list[Looked]:
    """Look at *films* as the settings want it; without the extra a line says what to install."""
    if settings.look == "off" or not films:
        return []
    if not is_installed(Extra.PREFLIGHT):
        command = install_command(Extra.PREFLIGHT)
        output.note(f"note: the look at films was left out: {command} installs what it needs")
        return []
    from orchestrator.preflight.look.pool import look_at_films  # noqa: PLC0415 - loads what starts processes

    shown = _Progress(output, settings)
    measures = look_at_films(
        (film.path for film in films),
        jobs=settings.jobs,
        is_deep=settings.look == "deep",
        cache=Cache(),
        on_progress=shown,
    )
    shown.end()
    return [_judged(film, measures) for film in films]


def _judged(film: FilmOfEntry, measures: Mapping[str, Measures]) -> Looked:
    measured = measures[film.path]
    findings = tuple(judge_look(measured, film.purpose))
    return Looked(film, measured, findings)


def look_problems(looked: Sequence[Looked], manifest_file: str) -> list[Problem]:
    """What was found, as problems of the manifest; ignored rules are left out."""
    found: list[Problem] = []
    for one in looked:
        film = one.film
        problems = [
            finding_problem(
                film.entry,
                film.kind,
                replace(finding, message=f"{film.path}: {finding.message}"),
                manifest_file,
            )
            for finding in one.findings
        ]
        found += without_ignored(problems, film.entry.ignored)
    return found


def strict(problems: Sequence[Problem]) -> list[Problem]:
    """The same, with what is likely refused as errors."""
    return [
        replace(problem, severity=Severity.ERROR, judged=Verdict.LIKELY_REFUSED)
        if problem.verdict is Verdict.LIKELY_REFUSED
        else problem
        for problem in problems
    ]


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
    from orchestrator.preflight.look.pool import strips_of_films  # noqa: PLC0415 - needs the extra
    from orchestrator.preflight.page.rendering import FilmRow, render_page  # noqa: PLC0415 - needs the extra

    strips = strips_of_films((one.film.path for one in looked), jobs=jobs)
    rows = [
        FilmRow(
            entry=one.film.entry.entry_id,
            kind=one.film.kind.value.replace("_", " "),
            name=Path(one.film.path).name,
            seconds=one.measures.seconds,
            findings=_findings(one, problems),
            strip=strips.get(one.film.path, ()),
            curve=one.measures.curve,
        )
        for one in looked
    ]
    made_at = time.strftime("%Y-%m-%d %H:%M")
    _write_private(path, render_page(title, rows, made_at))


def _findings(one: Looked, problems: Sequence[Problem]) -> list[Finding]:
    """What is said of the film, without its path."""
    film = one.film
    about = (p for p in problems if (p.entry, p.field) == (film.entry.entry_id, film.kind.value))
    return [
        Finding(p.rule, p.message.removeprefix(f"{film.path}: "), p.verdict, is_error=p.is_error)
        for p in about
    ]


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
