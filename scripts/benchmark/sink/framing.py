"""Where a body ends, and what of it is payload: taken apart piece by piece, without a copy."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

#: Chunk sizes with their signatures, and trailers with checksums, are far shorter.
LINE_LIMIT_BYTES = 1 << 12
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(;.*)?")

Consume = Callable[[memoryview], object]


class MalformedRequestError(Exception):
    """What came is not HTTP, or not what S3's clients send; the text says why."""


class Framing(Protocol):
    """A body on its way."""

    @property
    def is_complete(self) -> bool:
        """True once its last byte was fed."""

    def feed(self, data: memoryview) -> memoryview:
        """Hand the payload on and return what lies behind the body; raises MalformedRequestError."""


class Sized:
    """A body whose length is known."""

    def __init__(self, length: int, consume: Consume) -> None:
        self._left = length
        self._consume = consume

    @property
    def is_complete(self) -> bool:
        """True once all of it was fed."""
        return not self._left

    def feed(self, data: memoryview) -> memoryview:
        """Hand on what belongs to the body."""
        piece = data[: self._left]
        self._left -= len(piece)
        self._consume(piece)
        return data[len(piece) :]


class Chunked:
    """A body in chunks with trailers: HTTP's transfer coding, and S3's `aws-chunked`, which has the same form."""

    def __init__(self, consume: Consume) -> None:
        self.is_complete = False
        self._consume = consume
        self._line = b""
        self._left = 0
        self._is_behind_chunk = False
        self._is_behind_last_chunk = False

    def feed(self, data: memoryview) -> memoryview:
        """Hand on what the chunks hold."""
        while data and not self.is_complete:
            data = self._take_chunk(data) if self._left else self._take_line(data)
        return data

    def _take_chunk(self, data: memoryview) -> memoryview:
        piece = data[: self._left]
        self._left -= len(piece)
        self._consume(piece)
        return data[len(piece) :]

    def _take_line(self, data: memoryview) -> memoryview:
        begun, end, _ = bytes(data[:LINE_LIMIT_BYTES]).partition(b"\n")
        self._line += begun
        if len(self._line) >= LINE_LIMIT_BYTES:
            raise MalformedRequestError("a chunk's size or a trailer is too long")
        if end:
            line, self._line = self._line.removesuffix(b"\r"), b""
            self._read(line)
        return data[len(begun) + len(end) :]

    def _read(self, line: bytes) -> None:
        if self._is_behind_last_chunk:
            self.is_complete = not line
        elif not self._is_behind_chunk:
            self._begin_chunk(line)
        elif line:
            raise MalformedRequestError("a chunk is longer than it says")
        else:
            self._is_behind_chunk = False

    def _begin_chunk(self, line: bytes) -> None:
        match = _SIZE.fullmatch(line)
        if match is None:
            raise MalformedRequestError("a chunk has no size")
        self._left = int(match[1], 16)
        self._is_behind_chunk = True
        self._is_behind_last_chunk = not self._left
