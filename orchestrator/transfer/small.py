"""Small segments: read whole, several in one hop to a thread, and hashed together."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from orchestrator.domain.assets import Asset
from orchestrator.domain.segments import Segment
from orchestrator.transfer.hashing import Md5
from orchestrator.transfer.reader import Source, Span

#: Below this a segment is held whole, which is no more than what sending it piece by piece holds of it.
SMALL_BYTES = 256 * 1024
#: How many files one hop reads: on a slow disk the first of them waits for the last.
_FILES_PER_HOP = 8


class SmallSegment:
    """A segment in memory, as a Reader of it; what is sent is what was hashed."""

    def __init__(self, body: bytearray, offset: int, md5: str | None) -> None:
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
        """No pool has them."""

    async def check(self) -> None:
        """The file was found unchanged after the last byte was read, and no byte is read again."""

    def close(self) -> None:
        """Hold no file open."""


class SmallSegmentReader:
    """Reads small segments in worker threads, those asked for in one turn of the loop together.

    Without *md5* nothing is hashed.
    """

    def __init__(self, readers: ThreadPoolExecutor, md5: Md5 | None) -> None:
        self._readers = readers
        self._md5 = md5
        self._requests: list[_ReadRequest] = []

    async def read(self, asset: Asset, segment: Segment) -> SmallSegment:
        """Read *segment*; raises SourceChangedError unless its file is as planned before and after."""
        loop = asyncio.get_running_loop()
        request = _ReadRequest(asset, segment, loop.create_future())
        if not self._requests:
            loop.call_soon(self._send_out, loop)
        self._requests.append(request)
        return await request.result

    def _send_out(self, loop: asyncio.AbstractEventLoop) -> None:
        requests, self._requests = self._requests, []
        for first in range(0, len(requests), _FILES_PER_HOP):
            self._readers.submit(self._read, requests[first : first + _FILES_PER_HOP], loop)

    def _read(self, requests: list[_ReadRequest], loop: asyncio.AbstractEventLoop) -> None:
        found: list[bytearray | Exception] = []
        for request in requests:
            try:
                found.append(_read_whole(request.asset, request.segment))
            except Exception as error:  # noqa: BLE001 - whatever broke, the waiting sender must get it
                found.append(error)
        bodies = [body for body in found if isinstance(body, bytearray)]
        digests = iter(self._md5.of_all(bodies) if self._md5 else [None] * len(bodies))
        outcomes = [
            SmallSegment(body, request.segment.offset, next(digests)) if isinstance(body, bytearray) else body
            for request, body in zip(requests, found, strict=True)
        ]
        loop.call_soon_threadsafe(_fulfil, requests, outcomes)


@dataclass(frozen=True, slots=True)
class _ReadRequest:
    """A segment to be read, and the future its sender waits on."""

    asset: Asset
    segment: Segment
    result: asyncio.Future[SmallSegment]


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


def _fulfil(requests: list[_ReadRequest], outcomes: list[SmallSegment | Exception]) -> None:
    for request, outcome in zip(requests, outcomes, strict=True):
        if request.result.done():
            continue  # the sender was cancelled
        if isinstance(outcome, Exception):
            request.result.set_exception(outcome)
        else:
            request.result.set_result(outcome)
