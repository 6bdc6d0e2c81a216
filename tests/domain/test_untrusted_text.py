"""Words of others: whole when they are read, harmless when they are shown."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.untrusted_text import disarmed_json, repaired, repaired_json, shown

#: Halves of characters too, which hypothesis leaves out unless it is asked.
ANY_TEXT = st.text(st.characters(exclude_categories=()))
LIVE = {"Cc", "Cs", "Zl", "Zp"}
DIRECTIONS = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@given(ANY_TEXT)
def test_whatever_is_shown_is_one_line_that_a_terminal_only_prints(text: str) -> None:
    """No escape, no C1, no direction, no line end, and it can be encoded."""
    line = shown(text)

    assert not {character for character in line if unicodedata.category(character) in LIVE}
    assert not DIRECTIONS & set(line)
    line.encode()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x9b2J", "\\x9b2J"),
        ("a\u202eb", "a\\u202eb"),
        ("a\r\nb\tc\u2028d", "a b c d"),
        ("caf\udce9.mp4", "caf\\xe9.mp4"),
        ("陈\u3000静 [red]", "陈\u3000静 [red]"),
        ("👩\u200d🎤", "👩\u200d🎤"),
    ],
)
def test_what_is_shown_can_still_be_read(text: str, line: str) -> None:
    """Names in any script and emoji stay as they are."""
    assert shown(text) == line


@given(st.recursive(ANY_TEXT, lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner)))
def test_a_document_decodes_to_whole_characters_however_it_was_written(value: object) -> None:
    """Escaped or raw, halves become U+FFFD and pairs stay."""
    for document in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        decoded = json.dumps(json.loads(repaired_json(document)), ensure_ascii=False)

        assert decoded == json.dumps(json.loads(json.dumps(_repaired(value))), ensure_ascii=False)
        decoded.encode()


def _repaired(value: object) -> object:
    match value:
        case str():
            # Two halves in a row are a character once they are written as escapes.
            return repaired(value.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
        case list():
            return [_repaired(each) for each in value]
        case dict():
            return {_repaired(name): _repaired(each) for name, each in value.items()}
    return value


def test_an_escaped_backslash_before_a_u_is_no_escape() -> None:
    """The text is a backslash and five letters."""
    assert json.loads(repaired_json(r'"\\ud83d"')) == "\\ud83d"


@given(ANY_TEXT)
def test_a_document_for_programs_has_nothing_a_terminal_acts_on_and_the_same_values(text: str) -> None:
    """C1, DEL and directions as escapes; of halves no strict parser would take, what people would see."""
    document = disarmed_json(json.dumps(text, ensure_ascii=False))

    assert not {character for character in document if unicodedata.category(character) in LIVE}
    assert not DIRECTIONS & set(document)
    if repaired(text).replace("\ufffd", "") == text.replace("\x00", "").replace("\ufffd", ""):
        assert json.loads(document) == text
    document.encode()
