"""Segments small enough to be held whole: opened, read, hashed and checked in one hop into a thread.

A hop costs the CPU more than reading and hashing a small file, so those asked for at the same moment share it.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from orchestrator.domain.assets import Asset
from orchestrator.domain.segments import Segment
from orchestrator.transfer.md5 import Md5
from orchestrator.transfer.source import Source, Span

#: Below this a segment is held whole, which is no more than what sending it piece by piece holds of it.
SMALL_BYTES = 256 * 1024
#: How many files one hop reads: on a slow disk the first of them waits for the last.
_FILES_PER_HOP = 8


class SmallSegment:
    """A segment in memory, as a Reader of it; what is sent is what was hashed."""

    def __init__(self, body: bytearray, offset: int, md5: str | None) -> None:
        """Hold *body*, which begins at *offset* of its file."""
        self._body = memoryview(body)
        self._offset = offset
        self._span: Span | None = Span(offset, len(body))
        self.md5 = md5

    async def next_span(self) -> Span | None:
        """All of it, once; then None."""
        span, self._span = self._span, None
        return span

    async def view(self, piece: Span) -> memoryview:
        """The bytes of *piece*."""
        begin = piece.offset - self._offset
        return self._body[begin : begin + piece.length]

    def release(self) -> None:
        """They are nobody else's."""

    async def check(self) -> None:
        """The file was found unchanged after the last byte was read, and no byte is read again."""

    def close(self) -> None:
        """Hold no file open."""


class SmallSegmentReader:
    """Reads small segments in worker threads, those asked for in one turn of the loop together."""

    def __init__(self, readers: ThreadPoolExecutor, md5: Md5 | None) -> None:
        """Read in *readers*; *md5* is how MD5s are computed, if at all."""
        self._readers = readers
        self._md5 = md5
        self._wishes: list[_Wish] = []

    async def read(self, asset: Asset, segment: Segment) -> SmallSegment:
        """Read *segment*; raises SourceChangedError unless its file is as planned before and after."""
        loop = asyncio.get_running_loop()
        wish = _Wish(asset, segment, loop.create_future())
        if not self._wishes:
            loop.call_soon(self._send_out, loop)
        self._wishes.append(wish)
        return await wish.result

    def _send_out(self, loop: asyncio.AbstractEventLoop) -> None:
        wishes, self._wishes = self._wishes, []
        for first in range(0, len(wishes), _FILES_PER_HOP):
            self._readers.submit(self._read, wishes[first : first + _FILES_PER_HOP], loop)

    def _read(self, wishes: list[_Wish], loop: asyncio.AbstractEventLoop) -> None:
        found = [_found(wish) for wish in wishes]
        bodies = [body for body in found if isinstance(body, bytearray)]
        digests = iter(self._md5.of_all(bodies) if self._md5 else [None] * len(bodies))
        outcomes = [
            SmallSegment(body, wish.segment.offset, next(digests)) if isinstance(body, bytearray) else body
            for wish, body in zip(wishes, found, strict=True)
        ]
        loop.call_soon_threadsafe(_fulfil, wishes, outcomes)


@dataclass(frozen=True, slots=True)
class _Wish:
    """A segment that somebody waits for."""

    asset: Asset
    segment: Segment
    result: asyncio.Future[SmallSegment]


def _found(wish: _Wish) -> bytearray | Exception:
    try:
        return _read_whole(wish.asset, wish.segment)
    except Exception as error:  # noqa: BLE001 - whatever broke, the one who waits must hear of it
        return error


def _read_whole(asset: Asset, segment: Segment) -> bytearray:
    """The bytes of *segment*, its file found unchanged before and after; blocks, raises what Source raises."""
    source = Source(asset)
    body = bytearray(segment.length)
    try:
        source.open()
        source.read_into(memoryview(body), segment.offset)
        source.check()
    finally:
        source.close()
    return body


def _fulfil(wishes: list[_Wish], outcomes: list[SmallSegment | Exception]) -> None:
    for wish, outcome in zip(wishes, outcomes, strict=True):
        if wish.result.done():
            continue  # whoever waited was cancelled
        if isinstance(outcome, Exception):
            wish.result.set_exception(outcome)
        else:
            wish.result.set_result(outcome)
