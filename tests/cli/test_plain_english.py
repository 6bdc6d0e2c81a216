"""What users read is plain technical English: the words of the project's own past stay out of it."""

from __future__ import annotations

import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.advice import DOCUMENTS, ROOT, SOURCE, STARTERS, literals, place_of

#: Every room: what it may print, its docstrings, and its comments.
ROOMS = sorted(path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists())
PAGES = (
    *DOCUMENTS,
    *sorted((ROOT / "docs/runbooks").iterdir()),
    *STARTERS,
    *sorted((ROOT / "manifests").glob("example.*")),
)
#: Each with what to write.
BANNED = {
    r"mend(s|ed|ing)?": "fix",
    r"anew": "again",
    r"beforehand": "first",
    r"nobody|somebody|whoever": "the entry, caller, writer, user",
    r"tells?|told": "shows, prints, returns, reports",
    r"(take|took|taken|takes) up again|takes? up what": "retry, resume",
    r"(is|are) there already|is not there|that is there|must be there": "exists",
    r"so (many|much|long)": "the number of, how much",
    r"what is left|what was left": "the rest",
    r"to be had|had back": "available",
    r"settings? that holds?|what holds": "effective",
    r"(its|one's|their) turn": "slot",
    r"lets? go|be let go": "release",
    r"(two|next) looks?": "check",
    r"is on its way": "is running",
    r"got there|needs? somebody|time (was|is) over": "reached, needs attention, timed out",
    r"(is|are|were) gone|has gone": "deleted, missing, exited",
    r"of ours": "of this journal",
    r"the same command goes on|goes on": "continues",
    r"before what": "overrides",
}
#: The name of a parameter is no prose.
_NAME = re.compile(r"\*\w+\*")
_PATTERN = re.compile("|".join(rf"\b(?:{words})\b" for words in BANNED), re.IGNORECASE)


def _faults(text: str) -> list[str]:
    """The banned words of *text*, each with the words around it."""
    plain = _NAME.sub("*name*", " ".join(text.split()))
    return [plain[max(found.start() - 40, 0) : found.end() + 30] for found in _PATTERN.finditer(plain)]


def _texts(path: Path) -> Iterator[tuple[int, str]]:
    """What the module may print, and what only its readers see."""
    yield from literals(path, is_help=False)
    yield from literals(path, is_help=True)
    with path.open("rb") as source:
        tokens = tokenize.tokenize(source.readline)
        yield from ((token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT)


@pytest.mark.parametrize("room", ROOMS)
def test_no_message_docstring_or_comment_has_a_banned_word(room: str) -> None:
    """Every string of the room's code, and every comment."""
    found = [
        f"{place_of(path)}:{line}: {words}"
        for path in sorted((SOURCE / room).rglob("*.py"))
        for line, text in _texts(path)
        if " " in text
        for words in _faults(text)
    ]

    assert found == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_document_or_starter_has_a_banned_word(path: Path) -> None:
    """Names of tests stand in code and are left out."""
    text = re.sub(r"`[^`]*`", "` `", path.read_text(encoding="utf-8"))

    assert _faults(text) == []


def test_banned_words_are_found() -> None:
    """Also over the break of a line, and not inside of others."""
    assert _faults("Mend what\nis left.") == ["Mend what is left.", "Mend what is left."]
    assert _faults("recommended settings of the newsletter") == []
