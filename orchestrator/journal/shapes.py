"""What rows may look like: a damaged or edited journal is noticed before anything is made of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import NoneType, TracebackType
from typing import get_args, get_type_hints

from orchestrator.domain.errors import JournalError

#: What to do about a journal that cannot be read.
DAMAGE_HINT = (
    "move the file away and run with --on-existing adopt, which takes over the jobs already made; "
    "or name another place with --state"
)


class RowShape:
    """The types that a row of a table may have, column by column; SQLite keeps whatever was put there.

    *annotations* are those of the columns, such as `float | None`.
    """

    def __init__(self, table: str, annotations: Iterable[object]) -> None:
        self._table = table
        #: As which the driver returns them: SQLite has no booleans, and may keep a whole number without its point.
        stored: dict[object, set[object]] = {bool: {bool, int, NoneType}, float: {float, int}}
        kinds = [get_args(annotation) or (annotation,) for annotation in annotations]
        self._allowed = [{found for kind in each for found in stored.get(kind, {kind})} for each in kinds]
        self._seen: set[tuple[type, ...]] = set()

    def check(self, row: Sequence[object]) -> None:
        """Raise JournalError for a row that this program cannot have written."""
        types = tuple(map(type, row))
        # Rows of a table differ little: of tens of thousands some ten are looked at.
        if types in self._seen:
            return
        if not all(found in allowed for found, allowed in zip(types, self._allowed, strict=True)):
            raise damaged(f"a row of the table {self._table}")
        self._seen.add(types)


#: What reading a value of this program's own form raises when it is not of it.
UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, RecursionError)


class intact:  # noqa: N801 - reads as a word of the `with` statement
    """Raise JournalError where the journal's own words for *what* are not those this program writes.

    Nothing of what was found is told: it may be a part of an upload URL.
    """

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        """Read inside."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Turn what reading raised into the one error."""
        if isinstance(error, UNREADABLE):
            raise damaged(self._what) from None


def damaged(what: str) -> JournalError:
    """The error for *what*, which cannot be read any more."""
    return JournalError(f"the journal is damaged: {what} cannot be read", hint=DAMAGE_HINT)


def types_of(record: type, columns: Iterable[str], **others: object) -> list[object]:
    """What *record* annotates its fields as, for *columns*; those of *others* as they are given."""
    annotations = {**get_type_hints(record), **others}
    return [annotations[column] for column in columns]
