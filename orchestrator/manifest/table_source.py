"""Manifests in the form of a table, CSV or a workbook's sheet, read row by row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path

from orchestrator.domain.entries import Place
from orchestrator.manifest.cells import (
    PLAIN_COLUMNS,
    is_suspect,
    may_be_suspect,
    read_cell,
    read_into,
    set_cell,
)
from orchestrator.manifest.fields import (
    BATCH_COLUMNS,
    COLUMNS,
    FIELDS,
    KNOWN_COLUMNS,
    Draft,
    Shape,
    unknown_field,
)
from orchestrator.manifest.rows import Row, looks_like_header
from orchestrator.manifest.text import UnreadableError

MAX_COLUMNS = 1000
#: The result columns of a results file are skipped, except for the job that the row belongs to.
_JOB_COLUMN = "job_id"
#: A column without a name is read to check that it is empty.
_READ_COLUMNS = {*COLUMNS, *BATCH_COLUMNS, _JOB_COLUMN, ""}
_REQUIRED = ("name", "training_video")
#: Prefixes of columns that users keep for their own purposes.
_OWN_MARKS = ("x-", "#")
#: The number of rows below the first that are searched for a misplaced header.
_ROWS_BEFORE_HEADER = 5

#: Each call reads the table from its start: the header, then every row. Raises UnreadableError.
ReadRows = Callable[[], Generator[Row, None, None]]


class RowPlaces(Mapping[str, Place]):
    """The places of a row's fields: the line of the row and the name of the column."""

    __slots__ = ("_columns", "_line")

    def __init__(self, line: int, columns: Collection[str]) -> None:
        """Store the row's *line*, and *columns*, which all rows share."""
        self._line = line
        self._columns = columns

    def __getitem__(self, name: str) -> Place:
        """Return the place of a field; raise KeyError when the table has no column for it."""
        if name not in self._columns:
            raise KeyError(name)
        return Place(self._line, name)

    def __contains__(self, name: object) -> bool:
        """Return True when the table has the column."""
        return name in self._columns

    def __iter__(self) -> Iterator[str]:
        """Iterate over the columns."""
        return iter(self._columns)

    def __len__(self) -> int:
        """Return the number of columns."""
        return len(self._columns)


class TableSource:
    """A table that is read as drafts; fields *given* elsewhere need no column.

    Raises UnreadableError when it has no readable header.
    """

    def __init__(self, path: Path, read_rows: ReadRows, given: Collection[str] = ()) -> None:
        self._rows = read_rows
        with closing(self._rows()) as rows:
            line, header = next(rows, (1, []))
            self.head = Draft(file=str(path), start=Place(line))
            self.defaults = Draft(file=str(path), start=Place())
            if KNOWN_COLUMNS.isdisjoint(map(str.strip, header)):
                for below, cells in islice(rows, _ROWS_BEFORE_HEADER):
                    if looks_like_header(cells):
                        raise UnreadableError(
                            f"line {below} looks like the header; delete the lines above it", 1
                        )
            self._columns = self._read_header(header)
            first = next((row for row in rows if any(map(str.strip, row[1]))), None)
        self._places = frozenset(self._columns.values())
        self._plain = self._columns_among(PLAIN_COLUMNS)
        self._shaped = self._columns_among(COLUMNS.keys() - PLAIN_COLUMNS)
        self._others = self._columns_among(self._places - COLUMNS.keys())
        self._absent = [name for name in _REQUIRED if name not in self._places and name not in given]
        for name in self._absent:
            self.head.report("the column is missing, and every avatar needs it", name, rule="M16")
        # The batch fields come from the first row; the other rows must have the same values.
        line, cells = first or (1, [])
        self.head.places = RowPlaces(line, self._places)
        self._first = {
            name: _batch_cell(name, cells[index])
            for index, name in self._columns.items()
            if name in BATCH_COLUMNS and index < len(cells)
        }
        self.head.values |= self._first

    @property
    def has_known_columns(self) -> bool:
        """True when the header has at least one column of a manifest."""
        return bool(self._places - {""})

    def _read_header(self, header: list[str]) -> dict[int, str]:
        """Return the known columns by position, and report the others."""
        if len(header) > MAX_COLUMNS:
            raise UnreadableError(f"the header has over {MAX_COLUMNS} columns; is this a manifest?", 1)
        names = [name.strip() for name in header]
        if len(names) == 1 and names[0] not in KNOWN_COLUMNS:
            raise UnreadableError("the header has one column; separate them by commas", self.head.start.line)
        for name, count in Counter(names).items():
            if not name or name.startswith(_OWN_MARKS):
                continue
            place = Place(self.head.start.line, name[:64])
            if count > 1:
                self.head.report(f"the column appears {count} times", name, rule="M15", place=place)
            if name not in KNOWN_COLUMNS:
                self.head.report(unknown_column(name), name, rule="M02", place=place)
        return {index: name for index, name in enumerate(names) if name in _READ_COLUMNS}

    def _columns_among(self, names: Collection[str]) -> list[tuple[int, str]]:
        """Return index and name of the columns in *names*; checking the column of each cell would cost more."""
        return [(index, name) for index, name in self._columns.items() if name in names]

    def drafts(self) -> Iterator[Draft]:
        """Yield the rows in the order of the file, without blank ones."""
        with closing(self._rows()) as rows:
            _, header = next(rows, (1, []))
            width = len(header)
            for row in rows:
                if any(map(str.strip, row[1])):
                    yield self._draft(row, width)

    def _draft(self, row: Row, width: int) -> Draft:
        line, written = row
        places = RowPlaces(line, self._places)
        draft = Draft(file=self.head.file, start=Place(line), places=places, faulty=set(self._absent))
        cells = written if len(written) == width else self._of_width(written, width)
        if len(cells) != width:
            draft.is_broken = True
            draft.report(
                f"the row has {len(cells)} cells, the header {width}; look for a missing comma or quote",
                rule="M16",
            )
            return draft
        values, is_doubtful = draft.values, may_be_suspect(cells)
        for index, name in self._plain:
            if text := cells[index].strip():
                values[name] = (
                    read_into(draft, name, text) if is_doubtful and is_suspect(name, text) else text
                )
        for index, name in self._shaped:
            if text := cells[index].strip():
                is_damaged = is_doubtful and is_suspect(name, text)
                set_cell(values, name, read_into(draft, name, text) if is_damaged else text)
        for index, name in self._others:
            self._check_other(draft, name, cells[index].strip())
        return draft

    def _of_width(self, cells: list[str], width: int) -> list[str]:
        """Fit *cells* to the header's width by dropping a blank tail, or by padding columns that are not required.

        *cells* that cannot be fitted are returned as they are. Excel omits the blank tail from some row on, in
        blocks of 16 rows.
        """
        if len(cells) > width:
            return cells if any(map(str.strip, cells[width:])) else cells[:width]
        missing = {self._columns.get(index) for index in range(len(cells), width)}
        return cells if missing.intersection(_REQUIRED) else [*cells, *[""] * (width - len(cells))]

    def _check_other(self, draft: Draft, name: str, text: str) -> None:
        """Check a cell that is not a field of the avatar."""
        if name == "" and text:
            draft.report("there is a value in a column without a name", "", rule="M16", place=draft.start)
        if name == _JOB_COLUMN and text:
            draft.job_id = read_into(draft, name, text)
        if name in BATCH_COLUMNS and text and _batch_cell(name, text) != self._first.get(name):
            draft.report("differs from the first row's; a manifest is one batch", name, rule="M17")


def _batch_cell(name: str, text: str) -> str:
    """Return the text of a batch cell, stripped and undamaged; every row of a results file has one."""
    return read_cell(name, stripped).text if (stripped := text.strip()) else ""


def unknown_column(name: str) -> str:
    """Return a message that a table has no column *name*, with the column that may have been meant."""
    if name == "defaults":
        return "a table has no defaults; use --default field=value"
    rule = FIELDS.get(name)
    if rule is not None and rule.shape is Shape.GROUP:
        return f"is a group; its columns are {', '.join(f'{name}.{member}' for member in rule.members)}"
    sentence = unknown_field(name, COLUMNS)
    return sentence if "did you mean" in sentence else f"{sentence}; a column of your own begins with x- or #"
