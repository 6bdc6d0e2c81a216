"""The pictures and the sound of a manifest's films: which are looked at, and what was found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from orchestrator.api.settings import Settings
from orchestrator.domain.assets import AssetKind
from orchestrator.domain.avatar import AudioSourceType
from orchestrator.domain.entries import Entry
from orchestrator.manifest import Problem, Severity
from orchestrator.manifest.files import finding_problem
from orchestrator.manifest.problems import without_ignored
from orchestrator.preflight.cache import Cache
from orchestrator.preflight.finding import Finding
from orchestrator.preflight.look.judging import Purpose, judge_look
from orchestrator.preflight.look.measures import Measures, is_installed
from orchestrator.preflight.rules import Extra, Verdict
from orchestrator.preflight.rules.rule import install_command

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


#: `on_progress(done, total)`, after each film.
OnProgress = Callable[[int, int], None]


def look_at(
    films: Sequence[FilmOfEntry],
    settings: Settings,
    *,
    note: Callable[[str], None],
    on_progress: OnProgress,
) -> list[Looked]:
    """Look at *films* as the settings want it; without the extra *note* hears what to install."""
    if settings.look == "off" or not films:
        return []
    if not is_installed(Extra.PREFLIGHT):
        note(
            f"note: the look at films was left out: {install_command(Extra.PREFLIGHT)} installs what it needs"
        )
        return []
    from orchestrator.preflight.look.pool import look_at_films  # noqa: PLC0415 - loads what starts processes

    measures = look_at_films(
        (film.path for film in films),
        jobs=settings.jobs,
        is_deep=settings.look == "deep",
        cache=Cache(),
        on_progress=on_progress,
    )
    return [
        Looked(film, measures[film.path], tuple(judge_look(measures[film.path], film.purpose)))
        for film in films
    ]


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
