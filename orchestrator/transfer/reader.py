"""A segment's bytes, read in worker threads, and told span by span to whoever sends them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

from orchestrator.domain.assets import Asset
from orchestrator.domain.segments import Segment
from orchestrator.transfer.buffers import Buffers
from orchestrator.transfer.hashing import HashPool
from orchestrator.transfer.source import Source, Span

T = TypeVar("T")

#: How long a connection waits for its next bytes before they are hashed without more company: the kernel has just
#: taken more of the last ones than it sends meanwhile.
_PATIENCE_SECONDS = 0.02

#: What is told at a time of a segment.
SPAN_BYTES = 2 * 1024 * 1024
#: What is read of it at a time to be copied into a connection: a core's own cache holds several.
PIECE_BYTES = 256 * 1024


class Reader(Protocol):
    """Tells span by span which bytes of a segment may be sent, once and in order, and hands them out."""

    @property
    def md5(self) -> str | None:
        """The hex digest of the segment, right once all of it is handed out; None when not hashing."""

    async def next_span(self) -> Span | None:
        """The next bytes that may be sent, when all before are; None after the last. Raises what Source raises."""

    async def view(self, piece: Span) -> memoryview:
        """The bytes of *piece*, which lies in the span told last, or of its beginning.

        They are never none, and stay as they are until `release`.
        """

    def release(self) -> None:
        """The bytes that were viewed last are needed no more; who never says so keeps them."""

    async def check(self) -> None:
        """Raise SourceChangedError unless the file is still as planned."""

    def close(self) -> None:
        """Close the file as soon as no thread works on it any more; never blocks."""


class SegmentReader:
    """Hands out what the file holds.

    The last span is told only after the file has been found unchanged, so that a segment of a changed file never
    gets out whole. A cold disk makes a thread wait and never the event loop.
    """

    def __init__(self, asset: Asset, segment: Segment, readers: ThreadPoolExecutor, buffers: Buffers) -> None:
        """Begin to open the file at once; `close` must follow. *buffers* are of PIECE_BYTES."""
        self._source = Source(asset)
        self._end = segment.offset + segment.length
        self._readers = readers
        self._buffers = buffers
        self._buffer: memoryview | None = None
        self._reading: Future[None] | None = None
        self._span = self._span_at(segment.offset)
        self._preparation = self._prepared(is_first=True)

    @property
    def md5(self) -> str | None:
        """None: nobody asks for it."""
        return None

    @property
    def can_send(self) -> bool:
        """True when `send` will do: for a file of which the system tells what is in memory."""
        return self._source.can_tell_cached

    async def next_span(self) -> Span | None:
        """The next bytes that may be sent, None after the last; raises what Source raises."""
        if self._preparation is not None:
            await self._result_of(self._preparation)
        span = self._span
        if not span.length:
            return None
        self._span = self._span_at(span.end)
        self._preparation = self._prepared(is_first=False)
        return span

    async def view(self, piece: Span) -> memoryview:
        """The bytes of *piece*, or of as much of its beginning as a buffer holds."""
        self._buffer = self._buffers.take()
        wanted = self._buffer[: piece.length]
        count = self._source.read_cached_into(wanted, piece.offset) if self._source.can_tell_cached else 0
        if count:
            return wanted[:count]
        await self._wait_for(lambda: self._read_into(wanted, piece.offset))
        return wanted

    def release(self) -> None:
        """Let another reader have the buffer."""
        if self._buffer is not None:
            self._buffers.give_back(self._buffer)
            self._buffer = None

    async def make_ready(self, span: Span) -> None:
        """Bring *span* into memory."""
        if not self._source.is_cached(span):
            await self._wait_for(lambda: self._fetch(span))

    def send(self, socket: int, span: Span) -> int:
        """Let the kernel copy bytes of *span* from its cache to the non-blocking *socket* (sendfile); tells how many.

        Raises OSError as the socket has it, BlockingIOError when it takes nothing now.
        """
        return self._source.send(socket, span)

    async def check(self) -> None:
        """Raise SourceChangedError unless the file is still as planned."""
        await self._wait_for(self._source.check)

    def close(self) -> None:
        """Close the file as soon as no thread works on it any more; never blocks."""
        close_after(self._source, self._preparation, self._reading)

    async def _wait_for(self, work: Callable[[], None]) -> None:
        self._reading = self._readers.submit(work)
        await result_of(self._reading)

    def _read_into(self, buffer: memoryview, offset: int) -> None:
        self._source.announce(Span(offset, SPAN_BYTES))
        self._source.read_into(buffer, offset)

    def _fetch(self, span: Span) -> None:
        self._source.fetch(span)
        self._source.announce(self._span_at(span.end))

    def _span_at(self, offset: int) -> Span:
        return Span(offset, min(SPAN_BYTES, self._end - offset))

    def _prepared(self, *, is_first: bool) -> Future[None] | None:
        """Have a thread do what must be done before the next span is told, if anything must."""
        is_last = self._span.end == self._end
        if is_first or (self._span.length and is_last):
            return self._readers.submit(self._prepare, is_first=is_first, is_last=is_last)
        return None

    def _prepare(self, *, is_first: bool, is_last: bool) -> None:
        if is_first:
            self._source.open()
        if is_last:
            self._source.check()

    async def _result_of(self, preparation: Future[None]) -> None:
        """Wait for *preparation*."""
        await result_of(preparation)


class HashedReader(SegmentReader):
    """Hands out what the file holds, each span after it was hashed.

    A thread reads it into memory that its core's cache still holds when the digests take it, and whoever sends reads
    again from the system's cache: cheaper than to carry what was hashed from one core to the other. The digest is
    that of the file; a file that changed in between is told by its fingerprint or by the store's ETag.
    """

    def __init__(
        self,
        asset: Asset,
        segment: Segment,
        readers: ThreadPoolExecutor,
        buffers: Buffers,
        hash_pool: HashPool,
    ) -> None:
        """Begin to hash the first span in *hash_pool* at once; `close` must follow."""
        self._hash_pool = hash_pool
        super().__init__(asset, segment, readers, buffers)

    @property
    def md5(self) -> str:
        """The hex digest of the segment, right once all of it is told."""
        return self._stream.digest.hexdigest()

    def close(self) -> None:
        """Close the file as soon as no thread works on it any more; never blocks."""
        self._stream.leave()
        super().close()

    def _prepared(self, *, is_first: bool) -> Future[None] | None:
        if is_first:
            self._stream = self._hash_pool.join(self._source)
        return self._stream.hash(self._span, self._span_at(self._span.end)) if self._span.length else None

    async def _result_of(self, preparation: Future[None]) -> None:
        if preparation.done():
            return preparation.result()
        hurry = asyncio.get_running_loop().call_later(_PATIENCE_SECONDS, self._stream.hurry)
        try:
            return await result_of(preparation)
        finally:
            hurry.cancel()


async def result_of(hop: Future[T]) -> T:
    """Wait for what a thread does; a hop that is over needs no way through the event loop."""
    return hop.result() if hop.done() else await asyncio.wrap_future(hop)


def close_after(source: Source, *hops: Future[T] | Future[None] | None) -> None:
    """Close *source* once none of *hops* works on it; those that have not begun are called off."""
    running = [hop for hop in hops if hop is not None and not hop.cancel() and not hop.done()]

    def close_at_last(_: object) -> None:
        if all(hop.done() for hop in running):
            source.close()

    if not running:
        source.close()
    for hop in running:
        hop.add_done_callback(close_at_last)
