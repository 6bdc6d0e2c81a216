"""Segments small enough to be held whole: opened, read, hashed and checked in one hop into a thread.

A hop costs the CPU more than reading and hashing a small file, so those asked for at the same moment share it.
"""

from __future__ import annotations

import asyncio
import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from orchestrator.domain.assets import Asset
from orchestrator.domain.segments import Segment
from orchestrator.transfer.source import Source, Span

#: Below this a segment is held whole, which is no more than what sending it piece by piece holds of it.
SMALL_BYTES = 256 * 1024
#: How many files one hop reads: on a slow disk the first of them waits for the last.
_FILES_PER_HOP = 8


class SmallSegment:
    """A segment in memory, in the form in which a SegmentPayload takes it; what is sent is what was hashed."""

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

    async def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill *buffer* with the bytes at *offset*."""
        begin = offset - self._offset
        buffer[:] = self._body[begin : begin + len(buffer)]
        return len(buffer)

    async def check(self) -> None:
        """The file was found unchanged after the last byte was read, and no byte is read again."""

    def close(self) -> None:
        """Hold no file open."""


class SmallSegmentReader:
    """Reads small segments in worker threads; those asked for in one turn of the loop are read together."""

    def __init__(self, readers: ThreadPoolExecutor, *, is_hashing: bool) -> None:
        """Read in *readers*; *is_hashing* decides whether MD5s are computed."""
        self._readers = readers
        self._is_hashing = is_hashing
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
        found = [self._found(wish) for wish in wishes]
        loop.call_soon_threadsafe(_fulfil, wishes, found)

    def _found(self, wish: _Wish) -> SmallSegment | Exception:
        try:
            return read_small(wish.asset, wish.segment, is_hashing=self._is_hashing)
        except Exception as error:  # noqa: BLE001 - whatever broke, the one who waits must hear of it
            return error


def read_small(asset: Asset, segment: Segment, *, is_hashing: bool) -> SmallSegment:
    """Read *segment* and find its file unchanged before and after; blocks, raises what Source raises."""
    source = Source(asset)
    body = bytearray(segment.length)
    try:
        source.open()
        source.read_into(memoryview(body), segment.offset)
        source.check()
    finally:
        source.close()
    md5 = hashlib.md5(body, usedforsecurity=False).hexdigest() if is_hashing else None
    return SmallSegment(body, segment.offset, md5)


@dataclass(frozen=True, slots=True)
class _Wish:
    """A segment that somebody waits for."""

    asset: Asset
    segment: Segment
    result: asyncio.Future[SmallSegment]


def _fulfil(wishes: list[_Wish], found: list[SmallSegment | Exception]) -> None:
    for wish, outcome in zip(wishes, found, strict=True):
        if wish.result.done():
            continue  # whoever waited was cancelled
        if isinstance(outcome, Exception):
            wish.result.set_exception(outcome)
        else:
            wish.result.set_result(outcome)
