"""From a path and the command line to a manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from orchestrator.domain.entries import Place
from orchestrator.domain.foreign import repaired
from orchestrator.manifest.cells import read_into, set_cell
from orchestrator.manifest.fields import COLUMNS, unknown_field
from orchestrator.manifest.inspection import HEAD_BYTES, format_of
from orchestrator.manifest.manifest import Manifest, Source, folder_of
from orchestrator.manifest.raw_entry import Draft
from orchestrator.manifest.rows import csv_rows, xlsx_rows
from orchestrator.manifest.table_source import TableSource
from orchestrator.manifest.text import CHINESE, UnreadableError, check_is_file, table_encoding
from orchestrator.manifest.validation import Head, check_defaults, check_head, in_order, resolve_paths
from orchestrator.manifest.yaml_source import YamlSource

T = TypeVar("T")

YAML_SUFFIXES = frozenset({".yaml", ".yml", ".json"})
CSV_SUFFIXES = frozenset({".csv", ".tsv"})
WORKBOOK_SUFFIXES = frozenset({".xlsx", ".xlsm"})
#: What Excel wrote before 2007, and writes around a workbook with a password.
_OLD_WORKBOOK = bytes.fromhex("d0cf11e0a1b11ae1")


class UnreadableSource:
    """Stands for a file that could not be opened: nothing in it but the problem."""

    def __init__(self, path: Path, error: UnreadableError) -> None:
        self.head = Draft(file=str(path), start=Place(), problems=[error.problem(path)])
        self.defaults = Draft(file=str(path), start=Place())

    def drafts(self) -> Iterator[Draft]:
        """No avatars."""
        return iter(())


def open_manifest(
    path: Path,
    *,
    batch_name: str | None = None,
    defaults: Mapping[str, str] | None = None,
    is_submit_wanted: bool | None = None,
) -> Manifest:
    """Open *path*; whatever is wrong with it becomes a problem, never an exception.

    *batch_name* and *is_submit_wanted* override the file; *defaults*, written like table cells, override the
    file's defaults, but not the values of an avatar.
    """
    given = draft_of_defaults(defaults or {})
    given_head = Draft(file="--batch-name", start=Place())
    if batch_name is not None:
        given_head.values["batch_name"] = batch_name or " "  # an empty name is a mistake, not no name
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
        # It names the batch, and the journal keeps it.
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
    """The *defaults* of the command line, written like table cells."""
    draft = Draft(file="--default", start=Place())
    for name, text in defaults.items():
        if name in COLUMNS:
            set_cell(draft.values, name, read_into(draft, name, text.strip()) if text.strip() else "")
        else:
            draft.report(unknown_field(name, COLUMNS), name, rule="M02")
    return draft
