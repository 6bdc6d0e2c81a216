"""Reading of segments: the file is read by position and checked, and handed out to the sender span by span.

Small segments are read whole, several in one hop to a thread, and hashed together.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from orchestrator.domain.assets import Asset, Fingerprint, Segment
from orchestrator.domain.errors import OrchestratorError, RetryableError, SourceChangedError

if TYPE_CHECKING:
    from orchestrator.transfer.hashing import Md5

T = TypeVar("T")

#: The length of the spans in which a segment is handed out.
SPAN_BYTES = 2 * 1024 * 1024
#: The length of the pieces read from a span and copied into a connection; a core's own cache holds several.
PIECE_BYTES = 256 * 1024

#: Errors of a temporary shortage on this machine; the file itself is fine.
_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
#: The distance of the bytes probed to decide whether a span is in memory; pages are evicted in long runs.
_STRIDE_BYTES = 512 * 1024
#: Shorter segments are held whole, which takes no more memory than sending them piece by piece.
SMALL_BYTES = 256 * 1024
#: The most files read in one hop: on a slow disk the first of them waits for the last.
_FILES_PER_HOP = 8


class Span(NamedTuple):
    """A range of bytes of a file."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        """The offset after the last byte."""
        return self.offset + self.length


class Source:
    """A file to read segments from; methods that may wait for a disk block, so call them in a worker thread.

    The file is opened by `open`.
    """

    def __init__(self, asset: Asset) -> None:
        self._path = asset.path
        self._place = Path(asset.path)
        self._planned = asset.fingerprint
        self._descriptor = -1
        self._closing = Lock()
        self._probe = memoryview(bytearray(1))
        #: True when the system reports which bytes are in memory; these are then read without waiting.
        self.is_cache_known = False

    def open(self) -> None:
        """Open and check the file; raises SourceChangedError, or RetryableError when descriptors run out."""
        try:
            # Without O_NONBLOCK a pipe in the file's place would block the thread forever.
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise _unreadable(self._path, error) from None
        self.check()
        self.is_cache_known = self._probe_cache()

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill *buffer* with the bytes at *offset*; raise SourceChangedError when the file is too short."""
        done = 0
        while done < len(buffer):
            done += self._read_some(buffer[done:], offset + done)

    def read_cached_into(self, buffer: memoryview, offset: int) -> int:
        """Read the bytes at *offset* that are in memory and return their number; never blocks."""
        try:
            return self._preadv_cached(buffer, offset)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise _unreadable(self._path, error) from None

    def is_cached(self, span: Span) -> bool:
        """True when *span* is in memory, judged by a few of its bytes; never blocks."""
        return all(self.read_cached_into(self._probe, position) for position in _positions(span))

    def fetch(self, span: Span) -> None:
        """Bring *span* into memory."""
        self.announce(span)
        for position in _positions(span):
            self._read_some(self._probe, position)

    def announce(self, span: Span) -> None:
        """Have the system start reading *span* into memory, without waiting for it."""
        # A length of 0 would mean the whole file.
        if sys.platform == "linux" and span.length:
            os.posix_fadvise(self._descriptor, span.offset, span.length, os.POSIX_FADV_WILLNEED)

    def send(self, socket: int, span: Span) -> int:
        """Let the kernel copy bytes of *span* to a non-blocking *socket* and return their number.

        Blocks only when the span is not in memory. Raises the socket's OSError, BlockingIOError when the socket takes
        nothing now, and SourceChangedError at the end of the file.
        """
        sent = os.sendfile(socket, self._descriptor, span.offset, span.length)
        if not sent:
            raise self._too_short(span.offset)
        return sent

    def check(self) -> None:
        """Raise SourceChangedError unless the open file and the file now at its path are as planned."""
        try:
            found = (os.fstat(self._descriptor), self._place.stat())
        except OSError as error:
            raise _unreadable(self._path, error) from None
        for status in found:
            if not self._planned.fits(Fingerprint.of(status)):
                raise SourceChangedError(
                    f"{self._path} changed after it was planned: {_differences(self._planned, status)}",
                    hint="let the file rest until the run is over, then retry the entry",
                )

    def close(self) -> None:
        """Close the descriptor; closing twice is allowed, from any thread."""
        with self._closing:
            descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _read_some(self, buffer: memoryview, offset: int) -> int:
        try:
            count = os.preadv(self._descriptor, [buffer], offset)
        except OSError as error:
            raise _unreadable(self._path, error) from None
        if not count:
            raise self._too_short(offset)
        return count

    def _preadv_cached(self, buffer: memoryview, offset: int) -> int:
        if sys.platform == "linux":
            return os.preadv(self._descriptor, [buffer], offset, os.RWF_NOWAIT)
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def _probe_cache(self) -> bool:
        """True when reads can be limited to cached bytes: only on Linux, and not on network file systems."""
        if sys.platform != "linux":
            return False
        try:
            self._preadv_cached(self._probe, 0)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def _too_short(self, offset: int) -> SourceChangedError:
        return SourceChangedError(
            f"{self._path} became shorter while it was read: it ends before byte {offset}"
        )


def check_unchanged(assets: Iterable[Asset]) -> None:
    """Raise SourceChangedError unless every file can be opened and is still the one that was planned; blocks."""
    for asset in assets:
        source = Source(asset)
        try:
            source.open()
        finally:
            source.close()


def _positions(span: Span) -> Iterator[int]:
    """Yield offsets of sample bytes that represent all of *span*."""
    yield from range(span.offset, span.end, _STRIDE_BYTES)
    if span.length:
        yield span.end - 1


def _differences(planned: Fingerprint, found: os.stat_result) -> str:
    changes = []
    if planned.inode not in {0, found.st_ino}:
        changes.append("another file is in its place")
    if found.st_size != planned.size:
        changes.append(f"its size was {planned.size} bytes and is {found.st_size}")
    if found.st_mtime_ns != planned.mtime_ns:
        changes.append("its modification time differs")
    return ", ".join(changes)


def _unreadable(path: str, error: OSError) -> OrchestratorError:
    reason = os.strerror(error.errno) if error.errno else "unknown error"
    if error.errno in _SHORTAGES:
        return RetryableError(f"{path} cannot be opened right now: {reason}")
    return SourceChangedError(f"{path} can no longer be read: {reason}")


class Buffers:
    """A pool of buffers of *size* bytes, reused last in, first out: the core's cache may still hold the last one.

    Threads may share the pool.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._free: list[memoryview] = []

    def take(self) -> memoryview:
        """Return a buffer for exclusive use."""
        try:
            return self._free.pop()
        except IndexError:
            return memoryview(bytearray(self._size))

    def give_back(self, buffer: memoryview) -> None:
        """Return a buffer that is no longer in use to the pool."""
        self._free.append(buffer)


class SegmentReader:
    """Hands out the spans of a segment, each after its *preparation*.

    The last span is handed out only after the file has been found unchanged, so that a segment of a changed file is
    never sent completely. A cold disk blocks a thread, never the event loop.

    The first span is prepared at once; call `close` at the end. *buffers* are of PIECE_BYTES.
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
        """The hex digest of the segment, complete once all of it is handed out; None when not hashing."""
        return self._preparation.md5

    @property
    def can_send(self) -> bool:
        """True when `send` can be used: the system reports which bytes of the file are in memory."""
        return self._source.is_cache_known

    async def next_span(self) -> Span | None:
        """Return the next bytes that may be sent, None after the last; raises the errors of Source."""
        if self._prepared is not None:
            await self._preparation.wait_for(self._prepared)
        span = self._span
        if not span.length:
            return None
        self._span = self._span_at(span.end)
        self._prepared = self._preparation.start(self._span, self._span_at(self._span.end), is_first=False)
        return span

    async def view(self, piece: Span) -> memoryview:
        """Return the bytes of *piece*, or as many of its first bytes as a buffer holds or are in memory."""
        self._buffer = self._buffers.take()
        wanted = self._buffer[: piece.length]
        count = self._source.read_cached_into(wanted, piece.offset) if self._source.is_cache_known else 0
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
        """Let the kernel copy bytes of *span* from its cache to a non-blocking *socket* and return their number.

        Raises the socket's OSError, BlockingIOError when the socket takes nothing now, and SourceChangedError at the
        end of the file.
        """
        return self._source.send(socket, span)

    async def check(self) -> None:
        """Raise SourceChangedError unless the file is still as planned."""
        await self._wait_for(self._source.check)

    def close(self) -> None:
        """Close the file as soon as no thread uses it; never blocks."""
        self._preparation.leave()
        close_after(self._source, self._prepared, self._reading)

    async def _wait_for(self, work: Callable[[], None]) -> None:
        self._reading = self._readers.submit(work)
        await result_of(self._reading)

    def _span_at(self, offset: int) -> Span:
        return Span(offset, min(SPAN_BYTES, self._end - offset))


class Preparation(Protocol):
    """The preparation of each span of *source* in a thread before it may be handed out."""

    source: Source

    @property
    def md5(self) -> str | None:
        """The hex digest of all spans so far, None when not hashing."""

    def start(self, span: Span, ahead: Span, *, is_first: bool) -> Future[None] | None:
        """Have a thread prepare *span* and announce *ahead*, the next one; return None when nothing needs doing.

        The file is opened before the first span, and checked after the last. The future may hold a Source's error.
        """

    async def wait_for(self, prepared: Future[None]) -> None:
        """Wait for *prepared*, the future that `start` returned."""

    def leave(self) -> None:
        """End the stream: no further span will be requested."""


async def result_of(hop: Future[T]) -> T:
    """Wait for the result of a thread; a finished *hop* needs no pass through the event loop."""
    return hop.result() if hop.done() else await asyncio.wrap_future(hop)


def close_after(source: Source, *hops: Future[T] | Future[None] | None) -> None:
    """Close *source* once none of *hops* uses it; cancel those that have not started."""
    running = [hop for hop in hops if hop is not None and not hop.cancel() and not hop.done()]

    def close_at_last(_: object) -> None:
        if all(hop.done() for hop in running):
            source.close()

    if not running:
        source.close()
    for hop in running:
        hop.add_done_callback(close_at_last)


class SmallSegment:
    """A Reader of a segment that is held in memory; the bytes sent are the ones that were hashed."""

    def __init__(self, body: bytearray, offset: int, md5: str | None) -> None:
        self._body = memoryview(body)
        self._offset = offset
        self._span: Span | None = Span(offset, len(body))
        self.md5 = md5

    async def next_span(self) -> Span | None:
        """Return the whole segment once, then None."""
        span, self._span = self._span, None
        return span

    async def view(self, piece: Span) -> memoryview:
        """Return the bytes of *piece*."""
        begin = piece.offset - self._offset
        return self._body[begin : begin + piece.length]

    def release(self) -> None:
        """Do nothing: the bytes belong to no pool."""

    async def check(self) -> None:
        """Do nothing: the file was checked after the last byte was read, and no byte is read again."""

    def close(self) -> None:
        """Do nothing: no file is open."""


class SmallSegmentReader:
    """Reads small segments in worker threads; requests of one pass of the event loop are read together.

    Without *md5* nothing is hashed.
    """

    def __init__(self, readers: ThreadPoolExecutor, md5: Md5 | None) -> None:
        self._readers = readers
        self._md5 = md5
        self._requests: list[_ReadRequest] = []

    async def read(self, asset: Asset, segment: Segment) -> SmallSegment:
        """Read *segment*; raise SourceChangedError unless its file is as planned before and after."""
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
    """A segment to be read, and the future that its sender waits for."""

    asset: Asset
    segment: Segment
    result: asyncio.Future[SmallSegment]


def _read_whole(asset: Asset, segment: Segment) -> bytearray:
    """Return the bytes of *segment*, checking its file before and after; blocks, and raises the errors of Source."""
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
