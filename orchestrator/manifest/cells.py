"""A table's cells: how a field is written in one, and how an avatar becomes a row."""

from __future__ import annotations

import re
from enum import Enum
from typing import Any

from orchestrator.domain.avatar import Avatar
from orchestrator.manifest.fields import COLUMNS, PATH_FIELDS, Shape
from orchestrator.manifest.paths import escaped_path
from orchestrator.manifest.raw_entry import Draft, Value
from orchestrator.manifest.spreadsheets import protected, read_cell

#: By column: the field, the field inside it or '', and whether the cell is a list.
_PARTS = {
    column: (column.partition(".")[0], column.partition(".")[2], rule.shape is Shape.LIST)
    for column, rule in COLUMNS.items()
}
#: Columns whose cell is the field's value as it is.
PLAIN_COLUMNS = frozenset(
    column for column, (_, member, is_list) in _PARTS.items() if not member and not is_list
)
_LIST_PIECE = re.compile(r"(?:[^;\\]|\\[;\\]|\\)+")


def read_into(draft: Draft, column: str, text: str) -> str:
    """The text of a cell that is not blank; reports in *draft* what a spreadsheet did to it."""
    cell = read_cell(column, text)
    if cell.complaint is not None:
        (draft.report if cell.is_error else draft.warn)(cell.complaint, column, rule="M11")
    return cell.text


def set_cell(values: dict[str, Value], column: str, text: str) -> None:
    """Put the cell *text* of *column*, a name of COLUMNS, into *values*; a blank one says nothing."""
    text = text.strip()
    if not text:
        return
    name, member, is_list = _PARTS[column]
    if member:
        group = values.setdefault(name, {})
        if isinstance(group, dict):
            group[member] = text
    else:
        values[name] = split_list(text) if is_list else text


def split_list(text: str) -> list[str]:
    r"""The items of a `;`-separated cell; `\;` and `\\` stand for the characters themselves."""
    pieces = (re.sub(r"\\([;\\])", r"\1", piece).strip() for piece in _LIST_PIECE.findall(text))
    return [piece for piece in pieces if piece]


def join_list(items: tuple[str, ...]) -> str:
    """Write *items* so that `split_list` gives them back."""
    return ";".join(re.sub(r"([;\\])", r"\\\1", item) for item in items)


def csv_cells(avatar: Avatar) -> dict[str, str]:
    """The cells of an avatar by column; a table with them describes the same avatar again, and computes nothing."""
    return {column: protected(_cell(_value_at(avatar, column), column)) for column in COLUMNS}


def _value_at(avatar: Avatar, column: str) -> Any:
    name, _, member = column.partition(".")
    value = getattr(avatar, name)
    return getattr(value, member, None) if member else value


def _cell(value: Any, column: str) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case tuple():
            return join_list(value)
        case Enum():
            return str(value.value)
        case _:
            return escaped_path(value) if column in PATH_FIELDS else str(value)
