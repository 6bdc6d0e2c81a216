"""A segment's bytes, read in worker threads, and handed out span by span to the sender; small ones as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

from orchestrator.domain.assets import Asset
from orchestrator.domain.segments import Segment
from orchestrator.transfer.hashing import HashPool
from orchestrator.transfer.md5 import Md5
from orchestrator.transfer.source import Buffers, Source, Span

T = TypeVar("T")

#: How long a sender waits for a full batch before forcing a partial one: the kernel has just taken more of the last
#: bytes than it sends meanwhile.
_PATIENCE_SECONDS = 0.02

#: What is handed out at a time of a segment.
SPAN_BYTES = 2 * 1024 * 1024
#: What is read of it at a time to be copied into a connection: a core's own cache holds several.
PIECE_BYTES = 256 * 1024


class Reader(Protocol):
    """Says span by span which bytes of a segment may be sent, once and in order, and hands them out."""

    @property
    def md5(self) -> str | None:
        """The hex digest of the segment, right once all of it is handed out; None when not hashing."""

    async def next_span(self) -> Span | None:
        """The next bytes that may be sent, when all before are; None after the last. Raises what Source raises."""

    async def view(self, piece: Span) -> memoryview:
        """The bytes of *piece*, which lies in the last span, or of its beginning.

        They are never none, and stay as they are until `release`.
        """

    def release(self) -> None:
        """Return the last viewed buffer to the pool; without it the caller keeps the bytes."""

    async def check(self) -> None:
        """Raise SourceChangedError unless the file is still as planned."""

    def close(self) -> None:
        """Close the file as soon as no thread works on it any more; never blocks."""


class SegmentReader:
    """Hands out what the file holds, each span after *preparation* is done with it.

    The last span is handed out only after the file has been found unchanged, so that a segment of a changed file
    never gets out whole. A cold disk makes a thread wait and never the event loop.

    The first span is prepared at once; `close` must follow. *buffers* are of PIECE_BYTES.
    """

    def __init__(
        self,
        segment: Segment,
        preparation: Preparation,
        readers: ThreadPoolExecutor,
        buffers: Buffers,
    ) -> None:
        self._preparation = preparation
        self._source = preparation.source
        self._end = segment.offset + segment.length
        self._readers = readers
        self._buffers = buffers
        self._buffer: memoryview | None = None
        self._reading: Future[None] | None = None
        self._span = self._span_at(segment.offset)
        self._prepared = preparation.start(self._span, self._span_at(self._span.end), is_first=True)

    @property
    def md5(self) -> str | None:
        """The hex digest of the segment, right once all of it is handed out; None when not hashing."""
        return self._preparation.md5

    @property
    def can_send(self) -> bool:
        """True when `send` will do: for a file of which the system tells what is in memory."""
        return self._source.can_tell_cached

    async def next_span(self) -> Span | None:
        """The next bytes that may be sent, None after the last; raises what Source raises."""
        if self._prepared is not None:
            await self._preparation.wait_for(self._prepared)
        span = self._span
        if not span.length:
            return None
        self._span = self._span_at(span.end)
        self._prepared = self._preparation.start(self._span, self._span_at(self._span.end), is_first=False)
        return span

    async def view(self, piece: Span) -> memoryview:
        """The bytes of *piece*, or of as much of its beginning as a buffer holds."""
        self._buffer = self._buffers.take()
        wanted = self._buffer[: piece.length]
        count = self._source.read_cached_into(wanted, piece.offset) if self._source.can_tell_cached else 0
        if count:
            return wanted[:count]

        def read() -> None:
            self._source.announce(Span(piece.offset, SPAN_BYTES))
            self._source.read_into(wanted, piece.offset)

        await self._wait_for(read)
        return wanted

    def release(self) -> None:
        """Return the last viewed buffer to the pool."""
        if self._buffer is not None:
            self._buffers.give_back(self._buffer)
            self._buffer = None

    async def make_ready(self, span: Span) -> None:
        """Bring *span* into memory."""

        def fetch() -> None:
            self._source.fetch(span)
            self._source.announce(self._span_at(span.end))

        if not self._source.is_cached(span):
            await self._wait_for(fetch)

    def send(self, socket: int, span: Span) -> int:
        """Let the kernel copy bytes of *span* from its cache to a non-blocking *socket* and return how many it took.

        Raises OSError as the socket has it, BlockingIOError when it takes nothing now.
        """
        return self._source.send(socket, span)

    async def check(self) -> None:
        """Raise SourceChangedError unless the file is still as planned."""
        await self._wait_for(self._source.check)

    def close(self) -> None:
        """Close the file as soon as no thread works on it any more; never blocks."""
        self._preparation.leave()
        close_after(self._source, self._prepared, self._reading)

    async def _wait_for(self, work: Callable[[], None]) -> None:
        self._reading = self._readers.submit(work)
        await result_of(self._reading)

    def _span_at(self, offset: int) -> Span:
        return Span(offset, min(SPAN_BYTES, self._end - offset))


class Preparation(Protocol):
    """What a thread does before a span of *source* may be handed out."""

    source: Source

    @property
    def md5(self) -> str | None:
        """The hex digest of all spans so far, None when not hashing."""

    def start(self, span: Span, ahead: Span, *, is_first: bool) -> Future[None] | None:
        """Have a thread prepare *span*, and announce *ahead*, which comes after it; None where nothing must be done.

        The file is opened first, and found unchanged after the last span. The future may hold a Source's error.
        """

    async def wait_for(self, prepared: Future[None]) -> None:
        """Wait until what `start` returned is done."""

    def leave(self) -> None:
        """No further span will be asked for."""


class Unhashed:
    """Opens the file and checks it; the bytes go as they are."""

    md5 = None

    def __init__(self, source: Source, readers: ThreadPoolExecutor) -> None:
        self.source = source
        self._readers = readers

    def start(self, span: Span, ahead: Span, *, is_first: bool) -> Future[None] | None:
        """Open or check the file in a thread, which the spans in between need no hop for."""
        is_last = not ahead.length

        def prepare() -> None:
            if is_first:
                self.source.open()
            if is_last:
                self.source.check()

        return self._readers.submit(prepare) if is_first or (span.length and is_last) else None

    async def wait_for(self, prepared: Future[None]) -> None:
        """Wait for the thread."""
        await result_of(prepared)

    def leave(self) -> None:
        """Nothing waits for this."""


class Hashed:
    """Hashes each span in a HashPool.

    A thread reads it into memory that its core's cache still holds when the digests take it, and the sender reads
    again from the system's cache: cheaper than carrying what was hashed from one core to the other. The digest is
    that of the file; a file that changed in between is noticed by its fingerprint or by the store's ETag.
    """

    def __init__(self, source: Source, pool: HashPool) -> None:
        self.source = source
        self._stream = pool.join(source)

    @property
    def md5(self) -> str:
        """The hex digest of all spans so far."""
        return self._stream.digest.hexdigest()

    def start(self, span: Span, ahead: Span, *, is_first: bool) -> Future[None] | None:
        """Hash *span* with those of other segments."""
        return self._stream.hash(span, ahead) if span.length else None

    async def wait_for(self, prepared: Future[None]) -> None:
        """Wait for the digest, and force a partial batch when that takes too long."""
        if prepared.done():
            return prepared.result()
        flush = asyncio.get_running_loop().call_later(_PATIENCE_SECONDS, self._stream.flush)
        try:
            return await result_of(prepared)
        finally:
            flush.cancel()

    def leave(self) -> None:
        """Leave the pool."""
        self._stream.leave()


async def result_of(hop: Future[T]) -> T:
    """Wait for what a thread does; a hop that is over needs no pass through the event loop."""
    return hop.result() if hop.done() else await asyncio.wrap_future(hop)


def close_after(source: Source, *hops: Future[T] | Future[None] | None) -> None:
    """Close *source* once none of *hops* works on it; those that have not started are cancelled."""
    running = [hop for hop in hops if hop is not None and not hop.cancel() and not hop.done()]

    def close_at_last(_: object) -> None:
        if all(hop.done() for hop in running):
            source.close()

    if not running:
        source.close()
    for hop in running:
        hop.add_done_callback(close_at_last)


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
