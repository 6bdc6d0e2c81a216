"""A requested manifest, and every problem of it that can be found without sending anything."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import anyio

from orchestrator.domain.assets import AssetKind
from orchestrator.domain.entries import Entry, is_named_by
from orchestrator.domain.errors import JournalError, UsageError
from orchestrator.domain.states import is_done
from orchestrator.engine.selection import misplaced_rows, row_job
from orchestrator.journal.backend import is_shared
from orchestrator.manifest import (
    LocalFiles,
    Manifest,
    Problem,
    RowJob,
    Severity,
    inspect_files,
    open_manifest,
)
from orchestrator.manifest.files import finding_problem
from orchestrator.manifest.problems import without_ignored
from orchestrator.preflight.cache import Cache
from orchestrator.preflight.rules.rule import Extra, Verdict, install_command
from orchestrator.settings.values import Settings

if TYPE_CHECKING:
    from orchestrator.journal.journal import Journal
    from orchestrator.preflight.look.measures import Measures
    from orchestrator.preflight.rulebook import Finding

#: The rule for a file that is named but cannot be read.
MISSING_FILE_RULE = "M05"
_ENTRIES_AT_ONCE = 500
#: Rules whose errors leave nothing to check in a film: no such file, truncated, encrypted.
_UNPLAYABLE = frozenset({"M05", "P01", "P05"})
_FILM_KINDS = (AssetKind.TRAINING_VIDEO, AssetKind.ACTION_VIDEO)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRequest:
    """A manifest, with the caller's additions and selection of entries."""

    path: Path
    batch_name: str | None = None
    defaults: Mapping[str, str] = field(default_factory=dict)  #: fields for avatars that do not set them
    patterns: Sequence[str] = ()  #: globs that select entries; empty for all

    def open(self, settings: Settings) -> Manifest:
        """Open the manifest; every error in it becomes a problem."""
        return open_manifest(
            self.path,
            batch_name=self.batch_name,
            defaults=self.defaults,
            is_submit_wanted=settings.submit,
        )


def refuse_fleet(state: str, manifest: Path) -> None:
    """Raise UsageError if the journal at *state* is a fleet's: a run would take over its workers' entries."""
    if is_shared(state):
        name = quote(str(manifest))
        raise UsageError(
            "this journal is a fleet's: its workers upload what is queued, and `run` would interfere with them",
            hint=f"`orchestrator enqueue {name}` queues the manifest, "
            f"`orchestrator enqueue {name} --wait` also waits for the end",
        )


def check_patterns(manifest: Manifest, patterns: Sequence[str]) -> None:
    """Raise UsageError for a pattern that matches no entry of the manifest, unless an error may hide the entry."""
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


#: Called with an entry and the problems of its files.
OnEntry = Callable[[Entry, list[Problem]], None]


def check_manifest(
    manifest: Manifest, *, with_media: bool, on_entry: OnEntry = lambda _entry, _problems: None
) -> tuple[int, list[Problem]]:
    """Return the number of valid entries, and every problem of the manifest and its files.

    *on_entry* is called with each entry and the problems of its files.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The result of checking a manifest and its files."""

    manifest: Manifest
    entries: int  #: the number of valid entries
    problems: list[Problem]
    looked: list[CheckedFilm]  #: the films whose pictures and sound were checked

    @property
    def is_valid(self) -> bool:
        """True when the manifest has no errors, so a run would send it."""
        return Severity.ERROR not in (problem.severity for problem in self.problems)


def check(
    request: ManifestRequest, settings: Settings, look: Callable[[Sequence[EntryFilm]], list[CheckedFilm]]
) -> Checked:
    """Find every problem; reads only files and, for rows of results and missing files, the journal.

    Blocks, for minutes if films are checked, and runs its own event loop. Raises JournalError if the journal cannot
    be read, ConfigurationError if this program cannot use its location.
    """
    rows: list[RowJob] = []
    films: list[EntryFilm] = []
    manifest = request.open(settings)

    def note(entry: Entry, problems: list[Problem]) -> None:
        if settings.look != "off":
            films.extend(films_of(entry, problems))
        if (row := row_job(entry)) is not None:
            rows.append(row)

    count, problems = check_manifest(manifest, with_media=settings.media_check, on_entry=note)
    rows += manifest.rejected_rows
    faulty = {problem.entry for problem in problems if _is_missing_file(problem) and problem.entry}
    if rows or faulty:
        # Few manifests have either: loading the journal and its event loop takes as long as loading a thousand
        # entries.
        from orchestrator.journal.journal import exists  # noqa: PLC0415

        if exists(settings.state):
            problems = anyio.run(
                _compared_with_journal, problems, rows, sorted(faulty), settings.state, manifest
            )
    looked = look(films)
    problems += film_problems(looked, str(request.path))
    return Checked(
        manifest=manifest,
        entries=count,
        problems=refused_if_likely(problems) if settings.look_strict else problems,
        looked=looked,
    )


def _is_missing_file(problem: Problem) -> bool:
    return problem.is_error and problem.rule == MISSING_FILE_RULE and problem.entry is not None


async def _compared_with_journal(
    found: list[Problem], rows: Sequence[RowJob], faulty: Sequence[str], state: str, manifest: Manifest
) -> list[Problem]:
    """Return *found*, adjusted by the journal's state of the *rows* of results and of the *faulty* entries.

    Raises JournalError if there are rows and the journal cannot be read. Without rows, the journal could only
    downgrade errors to warnings, so *found* is returned unchanged.
    """
    from orchestrator.journal.journal import open_journal  # noqa: PLC0415 - as above

    try:
        async with open_journal(state, clock=time.time) as journal:
            misplaced = await misplaced_rows(rows, journal, str(manifest.path)) if rows else []
            return await _forgiven(found, faulty, journal, manifest) + misplaced
    except JournalError:
        if rows:
            raise
        return found


async def _forgiven(
    found: list[Problem], faulty: Sequence[str], journal: Journal, manifest: Manifest
) -> list[Problem]:
    """Return *found*, with a missing file of a *faulty* entry that is done downgraded to a warning.

    This requires exactly one known batch of that name; otherwise a missing file stays an error.
    """
    if not faulty:
        return found
    named = await journal.batches_named(manifest.batch_name)
    if len(named) != 1:
        return found
    done = set()
    for start in range(0, len(faulty), _ENTRIES_AT_ONCE):
        few = faulty[start : start + _ENTRIES_AT_ONCE]
        records = await journal.entries_named(named[0].batch, few)
        done |= {
            entry
            for entry, record in records.items()
            if is_done(record.state, with_submit=manifest.is_submit_wanted)
        }
    return [
        problem._replace(
            severity=Severity.WARNING,
            message=f"{problem.message}; the entry's job is done, and a run does not need the file",
        )
        if _is_missing_file(problem) and problem.entry in done
        else problem
        for problem in found
    ]


@dataclass(frozen=True, slots=True)
class EntryFilm:
    """A film to check."""

    entry: Entry
    kind: AssetKind
    path: str


@dataclass(frozen=True, slots=True)
class CheckedFilm:
    """A film with its measurements and findings."""

    film: EntryFilm
    measures: Measures
    findings: Sequence[Finding]


def films_of(entry: Entry, problems: Sequence[Problem]) -> list[EntryFilm]:
    """Return the films of *entry* that can be checked: wrong length or size is fine, a truncated film is not."""
    faulty = {problem.field for problem in problems if problem.is_error and problem.rule in _UNPLAYABLE}
    files = entry.avatar.files()
    return [
        EntryFilm(entry, kind, files[kind]) for kind in _FILM_KINDS if kind in files and kind not in faulty
    ]


#: `on_progress(done, total)` is called after each film.
OnProgress = Callable[[int, int], None]


def check_films(
    films: Sequence[EntryFilm],
    settings: Settings,
    *,
    note: Callable[[str], None],
    on_progress: OnProgress,
) -> list[CheckedFilm]:
    """Check *films* as the settings say; without the extra, call *note* with the command that installs it."""
    if settings.look == "off" or not films:
        return []
    # Loaded only if films are checked.
    from orchestrator.preflight.look.measures import Purpose, is_installed, judge_look  # noqa: PLC0415

    if not is_installed(Extra.PREFLIGHT):
        note(
            f"note: the look at films was left out: {install_command(Extra.PREFLIGHT)} installs what it needs"
        )
        return []
    from orchestrator.preflight.look.pool import look_at_films  # noqa: PLC0415

    measures = look_at_films(
        (film.path for film in films),
        jobs=settings.jobs,
        is_deep=settings.look == "deep",
        cache=Cache(),
        on_progress=on_progress,
    )
    return [
        CheckedFilm(
            film,
            measures[film.path],
            tuple(judge_look(measures[film.path], Purpose.of(film.entry.avatar, film.kind))),
        )
        for film in films
    ]


def film_problems(looked: Sequence[CheckedFilm], manifest_file: str) -> list[Problem]:
    """Return the findings as problems of the manifest; ignored rules are left out."""
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


def refused_if_likely(problems: Sequence[Problem]) -> list[Problem]:
    """Return *problems* with those that the review will likely refuse turned into errors."""
    return [
        problem._replace(severity=Severity.ERROR, judged=Verdict.LIKELY_REFUSED)
        if problem.verdict is Verdict.LIKELY_REFUSED
        else problem
        for problem in problems
    ]
