"""Text of others (the service, reviewers, file names): made whole where it is read, disarmed where it is shown."""

from __future__ import annotations

import re
from typing import Final

REPLACEMENT: Final = "\ufffd"

#: No database, encoder or parser takes half a character, and PostgreSQL no NUL.
_BROKEN = re.compile("[\x00\ud800-\udfff]")
#: The escapes of a JSON text, a whole pair as one, so that only half of one is found alone.
_ESCAPE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(?P<broken>\\u(?:[dD][89a-fA-F][0-9a-fA-F]{2}|0000))|\\.",
    re.DOTALL,
)
_LINE_BREAKS: Final = frozenset("\t\n\v\f\r\x1c\x1d\x1e\x1f\x85\u2028\u2029")
#: Invisible, but part of how scripts and emoji are written.
_JOINERS: Final = frozenset("\u200c\u200d")
#: What JSON allows in a string though a terminal or an editor acts on it: C1, DEL, directions, line ends, halves.
_LIVE_IN_JSON = re.compile(
    "[\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def repaired(text: str) -> str:
    """*text* with U+FFFD for each lone surrogate and NUL, so that it can be stored and encoded."""
    return _BROKEN.sub(REPLACEMENT, text)


def repaired_json(document: str) -> str:
    """A JSON *document* whose strings hold no lone surrogate and no NUL once they are decoded."""
    # Most answers are ASCII without an escape, and there are thousands of them in a run.
    whole = document if document.isascii() and "\0" not in document else repaired(document)
    return _ESCAPE.sub(_whole_escape, whole) if "\\u" in whole else whole


def _whole_escape(found: re.Match[str]) -> str:
    return r"\ufffd" if found["broken"] else found[0]


def shown(text: str) -> str:
    """*text* as one line that cannot move the cursor, colour the terminal or turn the writing round.

    Line breaks and tabs become blanks, all else that is not printable its escape; a byte of a path that is not
    UTF-8 is shown as `\\xff`.
    """
    if text.isprintable():
        return text
    return "".join(map(_shown_character, text.replace("\r\n", "\n")))


def _shown_character(character: str) -> str:
    if character in _LINE_BREAKS:
        return " "
    if character.isprintable() or character.isspace() or character in _JOINERS:
        return character
    return escaped_byte(character) or repr(character)[1:-1]


def escaped_byte(character: str) -> str | None:
    """The escape of a byte that Python carries as a lone surrogate in paths and arguments; None for all else."""
    code = ord(character)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else None


def disarmed_json(document: str) -> str:
    """A JSON *document* with escapes for what a terminal would act on; it decodes to the same values.

    Only lone surrogates, which no strict parser takes, become what `shown` makes of them.
    """
    return (
        document
        if document.isascii() and "\x7f" not in document
        else _LIVE_IN_JSON.sub(_json_escape, document)
    )


def _json_escape(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    if 0xD800 <= code <= 0xDFFF:
        return (escaped_byte(character) or REPLACEMENT).replace("\\", "\\\\")
    if code > 0xFFFF:
        high, low = divmod(code - 0x10000, 0x400)
        return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
    return f"\\u{code:04x}"


def one_line(text: str) -> str:
    """*text* with single blanks for whatever separates its words."""
    return " ".join(text.split())
