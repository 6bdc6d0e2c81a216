"""A manifest: entries one by one, and every problem of the file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Protocol

from orchestrator.domain.entries import Entry, Place, normal, slug
from orchestrator.domain.foreign import repaired
from orchestrator.manifest.copies import Copies, shared_paths
from orchestrator.manifest.problems import Problem, Severity, quoted, without_ignored
from orchestrator.manifest.raw_entry import Draft
from orchestrator.manifest.text import UnreadableError
from orchestrator.manifest.validation import Head, check_avatar, check_lists, in_order, resolve_paths


class Source(Protocol):
    """A file that has been opened: what it says of the batch, its defaults, its avatars."""

    head: Draft
    defaults: Draft

    def drafts(self) -> Iterator[Draft]:
        """The avatars in the order of the file, read again for each call; may raise UnreadableError."""


class RejectedRow(NamedTuple):
    """A row that something is wrong with, and the job that it says is its own."""

    entry_id: str
    job_id: str
    place: Place


class Manifest:
    """What a file asks for.

    `problems` are those of the file's head until `entries` has been gone through; then they are all, and
    `rejected_rows` are the rows of a results file that gave no entry because of one, and `listed` is how many avatars
    the file has, valid or not.
    """

    def __init__(
        self, path: Path, *, source: Source, head: Head, defaults: Draft, problems: list[Problem]
    ) -> None:
        self.path = path
        self.batch_name = normal(head.batch_name or repaired(path.stem))
        self.is_submit_wanted = head.submit
        self.submit_requires = head.submit_requires
        self._ignored = frozenset(head.ignore or ())
        self.problems = list(problems)
        self.rejected_rows: list[RejectedRow] = []
        self.listed = 0
        self._opening_problems = problems
        self._source = source
        self._folder = folder_of(path)
        self._defaults = defaults

    @property
    def has_errors(self) -> bool:
        """True when a problem found so far stops the batch."""
        return any(problem.severity is Severity.ERROR for problem in self.problems)

    def copies(self) -> Copies:
        """Know no file yet, but those that the defaults give to many avatars."""
        return Copies(shared_paths(self._defaults.values))

    def entries(self) -> Iterator[Entry]:
        """The valid entries in the order of the file; finds the problems of all of them on the way."""
        self.problems[:] = self._opening_problems
        self.rejected_rows.clear()
        self.listed = 0
        taken = _Taken()
        try:
            for draft in self._source.drafts():
                entry = self._entry(draft, taken)
                if entry is not None:
                    yield entry
        except UnreadableError as error:
            self.problems.append(error.problem(self.path))
        if not self.listed and not self.has_errors:
            self.problems.append(
                Problem(file=str(self.path), message="the manifest has no avatars", rule="M17")
            )

    def _entry(self, draft: Draft, taken: _Taken) -> Entry | None:
        self.listed += 1
        if draft.is_broken:
            self.problems += in_order(draft.problems, None)
            return None
        resolve_paths(draft, self._folder)
        check_lists(draft)
        whole = draft.over(self._defaults)
        avatar = check_avatar(whole)
        entry_id = entry_id_of(whole)
        is_new = taken.take(whole, entry_id)
        ignored = self._ignored.union(avatar.ignore or ()) if avatar else self._ignored
        self.problems += without_ignored(in_order(whole.problems, entry_id), ignored)
        if avatar is None or entry_id is None or not is_new:
            if draft.job_id is not None and entry_id is not None and not whole.is_faulty("id"):
                self.rejected_rows.append(RejectedRow(entry_id, draft.job_id, whole.place_of("job_id")))
            return None
        return Entry(entry_id, avatar, draft.start.line or 1, whole.places, ignored, draft.job_id)


@dataclass(slots=True)
class _Taken:
    """The ids and names of the entries before, with their lines."""

    ids: dict[str, int | None] = field(default_factory=dict)
    names: dict[str, int | None] = field(default_factory=dict)

    def take(self, draft: Draft, entry_id: str | None) -> bool:
        """Note the draft's id and name; False, with a problem in *draft*, when the id is taken."""
        if entry_id is None:
            return False
        name = str(draft.values.get("name") or "").strip()
        if entry_id in self.ids:
            source = "id" if draft.values.get("id") else "name"
            made = "" if source == "id" else " (made from the name; give it an id)"
            first = self.ids[entry_id]
            draft.report(
                f"the id {quoted(entry_id)}{made} is already used by the avatar in line {first}",
                source,
                rule="M04",
            )
            return False
        self.ids[entry_id] = draft.start.line
        if name in self.names:
            draft.report(f"the avatar in line {self.names[name]} has the same name", "name", rule="M04")
            draft.problems[-1] = replace(draft.problems[-1], severity=Severity.WARNING)
        elif name:
            self.names[name] = draft.start.line
        return True


def entry_id_of(draft: Draft) -> str | None:
    """The id, or a slug of the name; reports a name that leaves none."""
    given, name = draft.values.get("id"), draft.values.get("name")
    if isinstance(given, str) and given.strip():
        return normal(given.strip())
    if not isinstance(name, str) or not name.strip():
        return None
    made = slug(name)
    if not made:
        draft.report("has no letters or digits to make an id from; add the field id", "name", rule="M04")
    return made or None


def folder_of(path: Path) -> str:
    """The folder that the manifest's relative paths start from."""
    return str(path.absolute().parent)
