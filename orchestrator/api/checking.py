"""A manifest as it is asked for, and every problem of it that can be found without sending anything."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote

import anyio

from orchestrator.api.look import FilmOfEntry, Looked, films_of, look_problems, strict
from orchestrator.api.settings import Settings
from orchestrator.domain.entries import Entry, is_named_by, normal
from orchestrator.domain.errors import JournalError, UsageError
from orchestrator.domain.states import is_done
from orchestrator.engine.registration import RowJob, misplaced_rows, rejected_row_jobs, row_job
from orchestrator.journal.backend import is_server
from orchestrator.journal.journal import exists, open_journal
from orchestrator.manifest import LocalFiles, Manifest, Problem, Severity, inspect_files, open_manifest

#: Of a file that is named and cannot be read.
MISSING_FILE_RULE = "M05"
_ENTRIES_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The manifest that is meant, and what is added to it."""

    path: Path
    batch_name: str | None = None
    defaults: Sequence[str] = ()  #: fields of avatars that do not set them, as `field=value`
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


def refuse_fleet(state: str, manifest: Path) -> None:
    """Raise UsageError where the journal at *state* is a fleet's: a run would take over what its workers have."""
    if is_server(state):
        name = quote(str(manifest))
        raise UsageError(
            "this journal is a fleet's: its workers upload what is queued, and `run` would interfere with them",
            hint=f"`orchestrator enqueue {name}` queues the manifest, "
            f"`orchestrator enqueue {name} --wait` also waits for the end",
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


#: Hears an entry and the problems of its files.
OnEntry = Callable[[Entry, list[Problem]], None]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a look at a manifest and its files came to."""

    manifest: Manifest
    entries: int  #: how many are valid
    problems: list[Problem]
    looked: list[Looked]  #: the films whose pictures and sound were checked

    @property
    def is_valid(self) -> bool:
        """True where nothing keeps a run from sending it."""
        return not any(problem.is_error for problem in self.problems)


def check(asked: Asked, settings: Settings, look: Callable[[Sequence[FilmOfEntry]], list[Looked]]) -> Checked:
    """Find every problem; nothing is asked but files, and the journal about the rows of results.

    Blocks, for minutes where films are looked at, and runs an event loop of its own. Raises UsageError and
    ManifestError as `Asked.open` does, JournalError where the journal cannot be read.
    """
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
    if exists(settings.state):
        if rows:
            problems += anyio.run(_misplaced, rows, settings.state, str(asked.path))
        # The journal is only asked what it can forgive: one that cannot be read forgives nothing.
        with suppress(JournalError):
            problems = anyio.run(_forgiven, problems, settings.state, manifest)
    looked = look(films)
    problems += look_problems(looked, str(asked.path))
    return Checked(
        manifest=manifest,
        entries=count,
        problems=strict(problems) if settings.look_strict else problems,
        looked=looked,
    )


def _is_missing_file(problem: Problem) -> bool:
    return problem.is_error and problem.rule == MISSING_FILE_RULE and problem.entry is not None


async def _misplaced(rows: Sequence[RowJob], state: str, manifest_file: str) -> list[Problem]:
    async with open_journal(state, clock=time.time) as journal:
        return await misplaced_rows(rows, journal, manifest_file)


async def _forgiven(found: list[Problem], state: str, manifest: Manifest) -> list[Problem]:
    """The problems *found*; a missing file of an entry that is done is only a warning.

    Which batch is meant is clear where one of that name is known; otherwise a missing file stays an error.
    """
    faulty = {problem.entry for problem in found if _is_missing_file(problem) and problem.entry}
    if not faulty:
        return found
    async with open_journal(state, clock=time.time) as journal:
        named = [
            batch for batch in await journal.batches() if normal(batch.name) == normal(manifest.batch_name)
        ]
        if len(named) != 1:
            return found
        done = set()
        for few in _in_batches(sorted(faulty)):
            records = await journal.entries_named(named[0].batch, few)
            done |= {
                entry
                for entry, record in records.items()
                if is_done(record.state, with_submit=manifest.is_submit_wanted)
            }
    return [
        replace(
            problem,
            severity=Severity.WARNING,
            message=f"{problem.message}; the entry's job is done, and a run does not need the file",
        )
        if _is_missing_file(problem) and problem.entry in done
        else problem
        for problem in found
    ]


def _in_batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """The *ids*, as many at a time as the journal takes."""
    for start in range(0, len(ids), _ENTRIES_AT_ONCE):
        yield ids[start : start + _ENTRIES_AT_ONCE]
