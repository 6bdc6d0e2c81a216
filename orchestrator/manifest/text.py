"""Reading any file as manifest text, in UTF-8 or, for a table, in the encoding that Chinese Excel writes."""

from __future__ import annotations

import codecs
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from orchestrator.domain.quantities import format_bytes
from orchestrator.manifest.problems import Problem

MAX_LINE_CHARACTERS = 16 * 1024**2
MAX_YAML_BYTES = 256 * 1024**2
_UTF16_MARKS = ("\udcff\udcfe", "\udcfe\udcff")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SAVE_AS = "save it as UTF-8 (in a spreadsheet: CSV UTF-8)"
UTF8 = "utf-8"
#: The encoding that Chinese Windows calls ANSI is a subset of it.
CHINESE = "gb18030"
#: Nearly all characters of Chinese names and paths are in the oldest part of the standard. Bytes of another encoding
#: that are decoded as GB18030 give characters from all parts of it.
_COMMON = "gb2312"
_COMMON_SHARE = 0.7
_CHUNK_BYTES = 256 * 1024


class UnreadableError(Exception):
    """The manifest cannot be read, or not beyond this place; the message is a sentence for the user."""

    def __init__(self, message: str, line: int | None = None, column: int | str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column

    def problem(self, path: Path) -> Problem:
        """Return the error as a problem of the manifest *path*."""
        return Problem(file=str(path), line=self.line, column=self.column, message=self.message, rule="M01")


def check_is_file(path: Path) -> int:
    """Return the size of *path* in bytes; raises UnreadableError unless it is a regular file that is not empty."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise UnreadableError("there is no such file") from None
    except (OSError, ValueError) as error:
        raise UnreadableError(_reason(error)) from None
    if stat.S_ISDIR(status.st_mode):
        raise UnreadableError("this is a directory; name the manifest in it")
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableError("this is not a regular file; a manifest is read more than once")
    if status.st_size == 0:
        raise UnreadableError("the file is empty")
    return status.st_size


def read_lines(path: Path, encoding: str = "utf-8") -> Iterator[str]:
    """Yield the lines of *path* with their original line ends; raises UnreadableError at a line that is not text."""
    try:
        with path.open(encoding=encoding, errors="surrogateescape", newline="") as file:
            number = 0
            while line := file.readline(MAX_LINE_CHARACTERS):
                number += 1
                # A printable line has no control character, no byte-order mark and no undecodable byte.
                is_plain = len(line) < MAX_LINE_CHARACTERS and line.rstrip("\r\n").isprintable()
                yield line if is_plain else checked_line(line, number)
    except OSError as error:
        raise UnreadableError(_reason(error)) from None


def read_text(path: Path) -> str:
    """Return the content of *path*; raises UnreadableError when it is not text or too large for memory."""
    size = check_is_file(path)
    if size > MAX_YAML_BYTES:
        raise UnreadableError(
            f"the file has {format_bytes(size)}; a YAML manifest may have {format_bytes(MAX_YAML_BYTES)}, "
            "a CSV manifest any size"
        )
    return "".join(read_lines(path))


def checked_line(line: str, number: int) -> str:
    """Return *line* without byte-order marks; raises UnreadableError when it is not text or too long."""
    if number == 1 and line.startswith(_UTF16_MARKS):
        raise UnreadableError(f"the file is UTF-16; {_SAVE_AS}", 1)
    if not line.isascii():
        try:
            line.encode()
        except UnicodeEncodeError as error:
            raise UnreadableError(f"the file is not UTF-8; {_SAVE_AS}", number, error.start + 1) from None
    check_characters(line, number)
    if len(line) >= MAX_LINE_CHARACTERS:
        raise UnreadableError("the line has over 16 million characters; is this a manifest?", number)
    # There are two marks when a program added its own before one that it treated as text.
    return line.lstrip("\ufeff") if number == 1 else line


def check_characters(text: str, line: int) -> None:
    """Raise UnreadableError for a control character in *text*, which is in *line*."""
    if match := _CONTROL.search(text):
        message = f"the file has the control character U+{ord(match[0]):04X}, which no text needs; remove it"
        if match[0] == "\0":
            message = f"the file has NUL characters: it is no text, or UTF-16; {_SAVE_AS}"
        raise UnreadableError(message, line, match.start() + 1)


def _reason(error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return f"cannot be read: {reason}"


def table_encoding(path: Path) -> str:
    """Return CHINESE when *path* is not UTF-8 but reads as Chinese, and UTF8 in all other cases. Raises OSError."""
    try:
        for _ in _decoded(path, UTF8):
            pass
    except UnicodeDecodeError:
        pass
    else:
        return UTF8
    common = others = 0
    try:
        for text in _decoded(path, CHINESE):
            foreign = "".join(character for character in text if not character.isascii())
            kept = len(foreign.encode(_COMMON, "ignore").decode(_COMMON))
            common, others = common + kept, others + len(foreign) - kept
    except UnicodeDecodeError:
        return UTF8
    return CHINESE if common and common >= _COMMON_SHARE * (common + others) else UTF8


def _decoded(path: Path, encoding: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield decoder.decode(chunk)
    yield decoder.decode(b"", final=True)
