"""Problems of a manifest, each with its place and one sentence."""

from __future__ import annotations

import difflib
import re
from collections.abc import Container, Iterable
from enum import StrEnum
from typing import NamedTuple

from orchestrator.preflight.rulebook import RULES
from orchestrator.preflight.rules.rule import Verdict

_SHOWN_CHARACTERS = 40
_LONGEST_HINTED_NAME = 64
#: Matches phone numbers and email addresses. They are not repeated, as they may have slipped into another column.
_PERSONAL = re.compile(r"\d(?:[ ()-]?\d){6}|@")


class Severity(StrEnum):
    """The severity of a problem; an error stops the batch."""

    ERROR = "error"
    WARNING = "warning"


class Problem(NamedTuple):
    """One thing to fix; `column` is a number in YAML and a column's name in CSV.

    `rule` is the id of the rule that found it; `judged` is its verdict when the rule has more than one. A tuple,
    because a manifest may have very many problems.
    """

    file: str
    message: str
    rule: str
    line: int | None = None
    column: int | str | None = None
    entry: str | None = None
    field: str | None = None
    severity: Severity = Severity.ERROR
    judged: Verdict | None = None

    @property
    def is_error(self) -> bool:
        """True when the problem stops the batch."""
        return self.severity is Severity.ERROR

    @property
    def verdict(self) -> Verdict | None:
        """The expected outcome of the review, as far as it is known; None when the rule is not about the review."""
        return self.judged or RULES[self.rule].verdict_of(is_error=self.is_error)

    def as_dict(self) -> dict[str, str | int | None]:
        """Return the problem in the form that `validate --json` prints."""
        names = ("file", "line", "column", "entry", "field", "rule", "verdict", "message", "severity")
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        """Return the problem in the format of compiler errors, so that editors can jump to it."""
        place = ":".join([str(part) for part in (self.file, self.line, self.column) if part is not None])
        about = ": ".join([part for part in (self.entry, self.field, self.message) if part is not None])
        return f"{place}: {self.severity}: {about} [{self.rule}]"


def without_ignored(problems: Iterable[Problem], ignored: Container[str]) -> list[Problem]:
    """Drop the warnings of *ignored* rules and keep all errors."""
    return [problem for problem in problems if problem.is_error or problem.rule not in ignored]


def quoted(text: object) -> str:
    """Quote *text* for a message: short, on one line, and never a possible phone number or email address."""
    shown = str(text)
    if _PERSONAL.search(shown):
        return "the value"
    return repr(shown if len(shown) <= _SHOWN_CHARACTERS else shown[:_SHOWN_CHARACTERS] + "…")


def suggestion(text: str, known: Iterable[str]) -> str:
    """Return `; did you mean ...?` with the name in *known* nearest to *text*, or ''."""
    folded, names = text.casefold(), {name.casefold(): name for name in known}
    if not 3 <= len(folded) <= _LONGEST_HINTED_NAME:
        return ""
    # Also match parts of names: `voice` suggests `voice_properties`, which is not a close match by letters.
    near = [*difflib.get_close_matches(folded, names, n=1), *(name for name in names if folded in name)]
    return f"; did you mean {names[near[0]]}?" if near else ""
