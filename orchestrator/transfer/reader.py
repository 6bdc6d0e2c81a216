"""A segment's bytes, made ready and hashed in worker threads one span ahead of whoever sends them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from orchestrator.domain.assets import Asset
from orchestrator.domain.segments import Segment
from orchestrator.transfer.source import Source, Span

#: What is made ready in one hop into a thread: a hop costs the CPU as much as hashing 50 KB.
SPAN_BYTES = 2 * 1024 * 1024
#: What is read and hashed at a time, small enough to stay in a core's cache.
_HASHED_BYTES = 256 * 1024


class SegmentReader:
    """Tells span by span which bytes may be sent, once and in order, and hands them out.

    Where they are to be hashed they are first; and the last span is told only after the file has been found
    unchanged, so that a segment of a changed file never gets out whole. A cold disk makes a thread wait and never
    the event loop.
    """

    def __init__(
        self, asset: Asset, segment: Segment, readers: ThreadPoolExecutor, *, is_hashing: bool
    ) -> None:
        """Open the file and prepare the first span at once; `close` must follow."""
        self.source = Source(asset)
        self._end = segment.offset + segment.length
        self._readers = readers
        self._hash = hashlib.md5(usedforsecurity=False) if is_hashing else None
        self._scratch = memoryview(b"")
        self._span = self._span_at(segment.offset)
        self._preparation: Future[None] | None = readers.submit(self._open_and_prepare)
        self._reading: Future[None] | None = None

    async def next_span(self) -> Span | None:
        """The next bytes that may be sent, None after the last; raises what Source raises."""
        preparation, span = self._preparation, self._span
        if preparation is not None:
            await _result_of(preparation)
        if not span.length:
            return None
        self._span = self._span_at(span.end)
        self._preparation = self._readers.submit(self._prepare) if self._needs_preparation() else None
        return span

    async def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill *buffer*, or its beginning, with the bytes at *offset*; returns how many there are, never 0."""
        count = self.source.read_cached_into(buffer, offset) if self.source.can_tell_cached else 0
        if not count:
            count = len(buffer)
            await self._wait_for(lambda: self._read_into(buffer, offset))
        return count

    async def fetch(self, span: Span) -> None:
        """Bring *span* into memory."""
        await self._wait_for(lambda: self._fetch(span))

    async def check(self) -> None:
        """Raise SourceChangedError unless the file is still as planned."""
        await self._wait_for(self.source.check)

    @property
    def md5(self) -> str | None:
        """The hex digest of the segment, right once all of it is handed out; None when not hashing."""
        return self._hash.hexdigest() if self._hash else None

    def close(self) -> None:
        """Close the file as soon as no thread works on it any more; never blocks."""
        hops = [hop for hop in (self._preparation, self._reading) if hop is not None and not hop.cancel()]
        running = [hop for hop in hops if not hop.done()]
        if not running:
            self.source.close()
        for hop in running:
            hop.add_done_callback(lambda _: self._close_after(running))

    def _close_after(self, running: list[Future[None]]) -> None:
        if all(hop.done() for hop in running):
            self.source.close()

    async def _wait_for(self, work: Callable[[], None]) -> None:
        self._reading = self._readers.submit(work)
        await _result_of(self._reading)

    def _read_into(self, buffer: memoryview, offset: int) -> None:
        self.source.announce(Span(offset, SPAN_BYTES))
        self.source.read_into(buffer, offset)

    def _fetch(self, span: Span) -> None:
        self.source.fetch(span)
        self.source.announce(self._span_at(span.end))

    def _span_at(self, offset: int) -> Span:
        return Span(offset, min(SPAN_BYTES, self._end - offset))

    def _needs_preparation(self) -> bool:
        span = self._span
        return span.length > 0 and (self._hash is not None or span.end == self._end)

    def _open_and_prepare(self) -> None:
        self.source.open()
        self._prepare()

    def _prepare(self) -> None:
        if self._hash:
            self._feed(self._hash)
        if self._span.end == self._end:
            self.source.check()

    def _feed(self, digest: hashlib._Hash) -> None:
        """Hash the span; it passes through the system's memory, where those who send it will find it."""
        span = self._span
        self.source.announce(self._span_at(span.end))
        if not self._scratch:
            self._scratch = memoryview(bytearray(min(_HASHED_BYTES, span.length)))
        for offset in range(span.offset, span.end, _HASHED_BYTES):
            piece = self._scratch[: span.end - offset]
            self.source.read_into(piece, offset)
            digest.update(piece)


async def _result_of(hop: Future[None]) -> None:
    """Wait for what a thread does; a hop that is over needs no way through the event loop."""
    if hop.done():
        hop.result()
    else:
        await asyncio.wrap_future(hop)
