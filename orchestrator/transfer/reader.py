"""A segment's bytes, made ready and hashed in worker threads one span ahead of whoever sends them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from orchestrator.domain.assets import Asset
from orchestrator.domain.segments import Segment
from orchestrator.transfer.hashing import HashPool
from orchestrator.transfer.source import Source, Span

#: What is made ready in one hop into a thread: a hop costs the CPU as much as hashing 50 KB.
SPAN_BYTES = 2 * 1024 * 1024


class SegmentReader:
    """Tells span by span which bytes may be sent, once and in order, and hands them out.

    Where they are to be hashed they are first; and the last span is told only after the file has been found
    unchanged, so that a segment of a changed file never gets out whole. A cold disk makes a thread wait and never
    the event loop.
    """

    def __init__(
        self, asset: Asset, segment: Segment, readers: ThreadPoolExecutor, hash_pool: HashPool | None
    ) -> None:
        """Open the file and prepare the first span at once, hashing in *hash_pool* if any; `close` must follow."""
        self.source = Source(asset)
        self._end = segment.offset + segment.length
        self._readers = readers
        self._stream = hash_pool.join(self.source) if hash_pool else None
        self._span = self._span_at(segment.offset)
        self._preparation = self._prepared(is_first=True)
        self._reading: Future[None] | None = None

    async def next_span(self) -> Span | None:
        """The next bytes that may be sent, None after the last; raises what Source raises."""
        preparation, span = self._preparation, self._span
        if preparation is not None:
            if self._stream and not preparation.done():
                self._stream.hurry()
            await _result_of(preparation)
        if not span.length:
            return None
        self._span = self._span_at(span.end)
        self._preparation = self._prepared(is_first=False)
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
        return self._stream.digest.hexdigest() if self._stream else None

    def close(self) -> None:
        """Close the file as soon as no thread works on it any more; never blocks."""
        hops = [hop for hop in (self._preparation, self._reading) if hop is not None and not hop.cancel()]
        running = [hop for hop in hops if not hop.done()]
        if self._stream:
            self._stream.leave()
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

    def _prepared(self, *, is_first: bool) -> Future[None] | None:
        """Begin to make the span ready in a thread; None when there is nothing to do, or no span."""
        span, ahead = self._span, self._span_at(self._span.end)
        if not span.length:
            return None
        if self._stream:
            return self._stream.hash(span, ahead)
        if is_first:
            return self._readers.submit(self._open, is_last=not ahead.length)
        return None if ahead.length else self._readers.submit(self.source.check)

    def _open(self, *, is_last: bool) -> None:
        self.source.open()
        if is_last:
            self.source.check()


async def _result_of(hop: Future[None]) -> None:
    """Wait for what a thread does; a hop that is over needs no way through the event loop."""
    if hop.done():
        hop.result()
    else:
        await asyncio.wrap_future(hop)
