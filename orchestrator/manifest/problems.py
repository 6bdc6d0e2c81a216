"""What is wrong with a manifest, and where: one sentence per problem."""

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
#: What looks like a phone number or an address is not repeated: it may have slipped into another column.
_PERSONAL = re.compile(r"\d(?:[ ()-]?\d){6}|@")


class Severity(StrEnum):
    """Whether a problem stops the batch."""

    ERROR = "error"
    WARNING = "warning"


class Problem(NamedTuple):
    """One thing to fix; `column` is a number in YAML and a column's name in CSV. A tuple, as there may be very many.

    `rule` is the id of the rule that found it, `judged` what the rule says where it may say more than one thing.
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
        """What the review will say, as far as it is known; None where the rule is not about that."""
        return self.judged or RULES[self.rule].verdict_of(is_error=self.is_error)

    def as_dict(self) -> dict[str, str | int | None]:
        """The problem as `validate --json` prints it."""
        names = ("file", "line", "column", "entry", "field", "rule", "verdict", "message", "severity")
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        """The problem as compilers write it, so that editors can jump to it."""
        place = ":".join([str(part) for part in (self.file, self.line, self.column) if part is not None])
        about = ": ".join([part for part in (self.entry, self.field, self.message) if part is not None])
        return f"{place}: {self.severity}: {about} [{self.rule}]"


def without_ignored(problems: Iterable[Problem], ignored: Container[str]) -> list[Problem]:
    """Drop the warnings of *ignored* rules; what stops the batch stays."""
    return [problem for problem in problems if problem.is_error or problem.rule not in ignored]


def quoted(text: object) -> str:
    """*text* as messages show it: short, on one line, never what looks like a phone number or address."""
    shown = str(text)
    if _PERSONAL.search(shown):
        return "the value"
    return repr(shown if len(shown) <= _SHOWN_CHARACTERS else shown[:_SHOWN_CHARACTERS] + "…")


def suggestion(text: str, known: Iterable[str]) -> str:
    """`; did you mean ...?` with the name of *known* nearest to *text*, or ''."""
    folded, names = text.casefold(), {name.casefold(): name for name in known}
    if not 3 <= len(folded) <= _LONGEST_HINTED_NAME:
        return ""
    # A part of a name counts too: `voice` for `voice_properties`, which is not near it by letters.
    near = [*difflib.get_close_matches(folded, names, n=1), *(name for name in names if folded in name)]
    return f"; did you mean {names[near[0]]}?" if near else ""
