"""In which encoding a table is: UTF-8, or what Chinese Excel writes."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

UTF8 = "utf-8"
#: What Chinese Windows calls ANSI is a part of it.
CHINESE = "gb18030"
#: Names and paths in Chinese are nearly all in the oldest part of the standard. Bytes of another encoding, read as
#: GB18030, give characters from all over it.
_COMMON = "gb2312"
_COMMON_SHARE = 0.7
_CHUNK_BYTES = 256 * 1024


def table_encoding(path: Path) -> str:
    """CHINESE where *path* is no UTF-8 and reads as Chinese, else UTF8, also when it is neither. Raises OSError."""
    if _decodes_as_utf8(path):
        return UTF8
    common = others = 0
    try:
        for text in _decoded(path, CHINESE):
            foreign = [character for character in text if not character.isascii()]
            kept = sum(map(_is_common, foreign))
            common, others = common + kept, others + len(foreign) - kept
    except UnicodeDecodeError:
        return UTF8
    return CHINESE if common and common >= _COMMON_SHARE * (common + others) else UTF8


def _decodes_as_utf8(path: Path) -> bool:
    try:
        return all(True for _ in _decoded(path, UTF8))
    except UnicodeDecodeError:
        return False


def _decoded(path: Path, encoding: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield decoder.decode(chunk)
    yield decoder.decode(b"", final=True)


def _is_common(character: str) -> bool:
    try:
        character.encode(_COMMON)
    except UnicodeEncodeError:
        return False
    return True
