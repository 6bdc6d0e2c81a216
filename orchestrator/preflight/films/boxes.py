"""MP4 as boxes (ISO/IEC 14496-12 section 4.2): what a file is made of, whatever is wrong with it."""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass

#: `read(offset, length)`: those bytes of the file, fewer at its end.
Read = Callable[[int, int], bytes]

#: More boxes on top, or in one box, than any film has: fragments of a second each of a day's recording.
MAX_BOXES = 200_000
_HEADER_BYTES = 16


class DamagedError(Exception):
    """The bytes are not the box they should be; the text says which."""


@dataclass(frozen=True, slots=True)
class Box:
    """A box of a file: its four-letter type, where it starts, where its content does, and where it ends."""

    type: str
    start: int
    content: int
    end: int
    #: True when the box says that it goes on to the end of the file, however long that is.
    is_open_ended: bool = False


def boxes_of_file(read: Read, size: int) -> Iterator[Box]:
    """The boxes on top of a file of *size* bytes; the last may end beyond it. Raises DamagedError."""
    start = 0
    for _ in range(MAX_BOXES):
        if start + 8 > size:
            return
        box = _box(read(start, _HEADER_BYTES), start, size)
        yield box
        start = box.end
    raise DamagedError(f"over {MAX_BOXES} boxes")


def boxes_in(content: memoryview) -> Iterator[tuple[str, memoryview]]:
    """Type and content of the boxes in *content*; raises DamagedError where one does not fit."""
    start = 0
    for _ in range(MAX_BOXES):
        if start + 8 > len(content):
            return
        box = _box(bytes(content[start : start + _HEADER_BYTES]), start, len(content))
        if box.end > len(content):
            raise DamagedError(f"the box {box.type} does not fit")
        yield box.type, content[box.content : box.end]
        start = box.end
    raise DamagedError(f"over {MAX_BOXES} boxes in one")


def first_in(content: memoryview, *path: str) -> memoryview | None:
    """The content of the first box at *path*, such as `mdia`, `minf`, `stbl`; None when there is none."""
    for name in path:
        found = next((inside for type_, inside in boxes_in(content) if type_ == name), None)
        if found is None:
            return None
        content = found
    return content


def _box(header: bytes, start: int, size: int) -> Box:
    length, type_ = struct.unpack_from(">I4s", header)
    name = type_.decode("latin-1")
    if length == 0:
        return Box(name, start, start + 8, size, is_open_ended=True)
    if length != 1:
        if length < 8:
            raise DamagedError(f"a box of {length} bytes")
        return Box(name, start, start + 8, start + length)
    if len(header) < _HEADER_BYTES:
        raise DamagedError(f"the box {name} has no length")
    (length,) = struct.unpack_from(">Q", header, 8)
    if length < _HEADER_BYTES:
        raise DamagedError(f"a box of {length} bytes")
    return Box(name, start, start + _HEADER_BYTES, start + length)


def table(content: memoryview, offset: int, count: int, *, is_long: bool = False) -> array[int]:
    """*count* big-endian numbers of 32 or, if *is_long*, 64 bits from *offset*; raises DamagedError if cut."""
    width = 8 if is_long else 4
    raw = content[offset : offset + count * width]
    if len(raw) != count * width:
        raise DamagedError("a table of the index is cut")
    numbers = array("Q" if is_long else "I", bytes(raw))
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


def number(content: memoryview, offset: int, width: int = 4) -> int:
    """The big-endian number of *width* bytes at *offset*; raises DamagedError if it is cut."""
    raw = content[offset : offset + width]
    if len(raw) != width:
        raise DamagedError("a number of the index is cut")
    return int.from_bytes(raw, "big")


def is_long(content: memoryview) -> bool:
    """True when a box with a version writes its times in 64 bits: version 1."""
    return number(content, 0, 1) == 1
