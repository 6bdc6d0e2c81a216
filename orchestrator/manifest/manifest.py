"""A manifest, opened from a path and command-line options: its entries one by one, and every problem of the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from orchestrator.domain.entries import Entry, Place, normal, slug
from orchestrator.domain.untrusted_text import repaired
from orchestrator.manifest.cells import read_into, set_cell
from orchestrator.manifest.fields import COLUMNS, Draft, unknown_field
from orchestrator.manifest.files import HEAD_BYTES, Copies, format_of, shared_paths
from orchestrator.manifest.problems import Problem, Severity, quoted, without_ignored
from orchestrator.manifest.rows import csv_rows, xlsx_rows
from orchestrator.manifest.table_source import TableSource
from orchestrator.manifest.text import CHINESE, UnreadableError, check_is_file, table_encoding
from orchestrator.manifest.validation import (
    Head,
    check_avatar,
    check_defaults,
    check_head,
    check_lists,
    in_order,
    resolve_paths,
)
from orchestrator.manifest.yaml_source import YamlSource

T = TypeVar("T")

YAML_SUFFIXES = frozenset({".yaml", ".yml", ".json"})
CSV_SUFFIXES = frozenset({".csv", ".tsv"})
WORKBOOK_SUFFIXES = frozenset({".xlsx", ".xlsm"})
#: The signature of Excel files before 2007, and of workbooks with a password.
_OLD_WORKBOOK = bytes.fromhex("d0cf11e0a1b11ae1")


class Source(Protocol):
    """An opened file: its batch fields, its defaults and its avatars."""

    head: Draft
    defaults: Draft

    def drafts(self) -> Iterator[Draft]:
        """Yield the avatars in the order of the file, which each call reads again; may raise UnreadableError."""


class RowJob(NamedTuple):
    """The entry of a row, the job that the row names, and the place of that cell."""

    entry_id: str
    job_id: str
    place: Place


class Manifest:
    """The avatars and batch settings that a file requests.

    Until `entries` has been consumed, `problems` only has those of the file's head and defaults; afterwards it has
    all. Then `rejected_rows` has the rows of a results file that gave no entry because of a problem, and `listed`
    is the number of avatars in the file, valid or not.
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
        self.rejected_rows: list[RowJob] = []
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
        """Return a new `Copies` that ignores the files in the defaults, which many avatars share."""
        return Copies(shared_paths(self._defaults.values))

    def entries(self) -> Iterator[Entry]:
        """Yield the valid entries in the order of the file, and collect the problems of all entries."""
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
        ignored = self._ignored.union(avatar.ignore) if avatar and avatar.ignore else self._ignored
        if whole.problems:
            self.problems += without_ignored(in_order(whole.problems, entry_id), ignored)
        if avatar is None or entry_id is None or not is_new:
            if draft.job_id is not None and entry_id is not None and not whole.is_faulty("id"):
                self.rejected_rows.append(RowJob(entry_id, draft.job_id, whole.place_of("job_id")))
            return None
        return Entry(entry_id, avatar, draft.start.line or 1, whole.places, ignored, draft.job_id)


@dataclass(slots=True)
class _Taken:
    """The ids and names of the earlier entries, with their lines."""

    ids: dict[str, int | None] = field(default_factory=dict)
    names: dict[str, int | None] = field(default_factory=dict)

    def take(self, draft: Draft, entry_id: str | None) -> bool:
        """Record the draft's id and name; return False without an id, or with a used one, reported in *draft*."""
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
            draft.warn(f"the avatar in line {self.names[name]} has the same name", "name", rule="M04")
        elif name:
            self.names[name] = draft.start.line
        return True


def entry_id_of(draft: Draft) -> str | None:
    """Return the id, or a slug of the name; reports a name from which no id can be made."""
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
    """Return the folder that the manifest's relative paths refer to."""
    return str(path.absolute().parent)


class UnreadableSource:
    """The source for a file that could not be opened, with only the problem."""

    def __init__(self, path: Path, error: UnreadableError) -> None:
        self.head = Draft(file=str(path), start=Place(), problems=[error.problem(path)])
        self.defaults = Draft(file=str(path), start=Place())

    def drafts(self) -> Iterator[Draft]:
        """Return no avatars."""
        return iter(())


def open_manifest(
    path: Path,
    *,
    batch_name: str | None = None,
    defaults: Mapping[str, str] | None = None,
    is_submit_wanted: bool | None = None,
) -> Manifest:
    """Open *path*; every error in it becomes a problem, never an exception.

    *batch_name* and *is_submit_wanted* override the file; *defaults*, written like table cells, override the
    file's defaults, but not the values of an avatar.
    """
    given = draft_of_defaults(defaults or {})
    given_head = Draft(file="--batch-name", start=Place())
    if batch_name is not None:
        given_head.values["batch_name"] = batch_name or " "  # an empty name is an error, not a missing name
    if is_submit_wanted is not None:
        given_head.values["submit"] = str(is_submit_wanted)
    source: Source
    try:
        source = _readable_source(path, given)
    except UnreadableError as error:
        source = UnreadableSource(path, error)
    for draft in (source.defaults, given):
        resolve_paths(draft, folder_of(path))
        check_defaults(draft)
    heads = (source.head, given_head)
    checked = [check_head(head) or Head() for head in heads]
    drafts = (*heads, source.defaults, given)
    return Manifest(
        path,
        source=source,
        head=checked[0].model_copy(update=checked[1].model_dump(exclude_unset=True)),
        defaults=given.over(source.defaults),
        problems=[problem for draft in drafts for problem in in_order(draft.problems, None)],
    )


def _readable_source(path: Path, given: Draft) -> Source:
    check_is_file(path)
    if repaired(where := str(path.absolute())) != where:
        # The path gives the batch its name, and the journal stores it.
        raise UnreadableError(
            "the path of the manifest has bytes that are not UTF-8; rename the file or its folder"
        )
    suffix = path.suffix.lower()
    if suffix in YAML_SUFFIXES:
        return YamlSource(path)
    if suffix in CSV_SUFFIXES:
        return _csv_source(path, given)
    if suffix in WORKBOOK_SUFFIXES:
        return _workbook_source(path, given)
    if suffix == ".xls":
        raise UnreadableError("this is a workbook of the old kind (.xls); save it as .xlsx")
    raise UnreadableError("the name of a manifest ends in .yaml, .yml, .csv or .xlsx")


def _csv_source(path: Path, given: Draft) -> TableSource:
    if _is_workbook(path):
        raise UnreadableError(
            "this is an Excel workbook under another name; name it .xlsx, or save it as CSV UTF-8"
        )
    encoding = _read(table_encoding, path)
    source = TableSource(path, lambda: csv_rows(path, encoding), given.values.keys())
    if encoding == CHINESE:
        if not source.has_known_columns:
            raise UnreadableError("the file is not UTF-8; save it as UTF-8 (in a spreadsheet: CSV UTF-8)", 1)
        source.head.warn("the file is not UTF-8; it was read as GB18030, in which it is Chinese", rule="M11")
    return source


def _workbook_source(path: Path, given: Draft) -> TableSource:
    if _read(_head_of, path).startswith(_OLD_WORKBOOK):
        raise UnreadableError(
            "the workbook has a password, or is of the old kind (.xls); save it as plain .xlsx"
        )
    if not _is_workbook(path):
        raise UnreadableError("this is not an Excel workbook; name it .csv if it is a table in text")
    return TableSource(path, lambda: xlsx_rows(path), given.values.keys())


def _is_workbook(path: Path) -> bool:
    head = _read(_head_of, path)
    return format_of(head) == "zip" or head.startswith(_OLD_WORKBOOK)


def _head_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def _read(function: Callable[[Path], T], path: Path) -> T:
    try:
        return function(path)
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror}") from None


def draft_of_defaults(defaults: Mapping[str, str]) -> Draft:
    """Return a draft of the *defaults* of the command line, which are written like table cells."""
    draft = Draft(file="--default", start=Place())
    for name, text in defaults.items():
        if name in COLUMNS:
            set_cell(draft.values, name, read_into(draft, name, text.strip()) if text.strip() else "")
        else:
            draft.report(unknown_field(name, COLUMNS), name, rule="M02")
    return draft
