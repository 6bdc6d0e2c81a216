"""The MD5s of segments, computed in worker threads, several streams at once in one lane each.

If the compiled module is missing, because there was no C compiler when the package was installed, hashlib hashes one
stream after another: the same digests at several times the cost.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from threading import Lock
from typing import Any, Final, Protocol

from orchestrator.domain.assets import Asset, Segment
from orchestrator.transfer.reader import Buffers, Source, Span, result_of

#: The bytes read for all lanes before they are hashed: a core's own cache holds them and its other data.
_CACHED_BYTES = 512 * 1024
_MOST_PIECE_BYTES = 256 * 1024
#: The bytes read at once from each segment of a file that is compared.
_COMPARED_BYTES: Final = 128 * 1024
#: How long a sender waits for a full batch before forcing a partial one. In this time the kernel sends less than it
#: has buffered of the previous bytes.
_PATIENCE_SECONDS = 0.02

Piece = bytes | bytearray | memoryview


class Digest(Protocol):
    """An incremental MD5."""

    def hexdigest(self) -> str:
        """Return the digest of all data so far."""


@dataclass(frozen=True, slots=True)
class Md5:
    """An implementation of MD5 for several streams."""

    #: The number of streams that can be hashed in about the time of one.
    lanes: int
    #: Makes the digest of a new stream.
    new_digest: Callable[[], Digest]
    #: Updates at most `lanes` digests, made by `new_digest`, each with its piece.
    update_all: Callable[[Sequence[Any], Sequence[Piece]], None]

    def of_all(self, bodies: Sequence[Piece]) -> list[str]:
        """Return the hex digests of any number of *bodies*."""
        digests = [self.new_digest() for _ in bodies]
        for first in range(0, len(bodies), self.lanes):
            group = slice(first, first + self.lanes)
            self.update_all(digests[group], bodies[group])
        return [digest.hexdigest() for digest in digests]


def _update_in_turn(digests: Sequence[hashlib._Hash], pieces: Sequence[Piece]) -> None:
    for digest, piece in zip(digests, pieces, strict=True):
        digest.update(piece)


HASHLIB: Final = Md5(
    lanes=1,
    # In FIPS mode, MD5 is refused unless it is marked as not used for security.
    new_digest=partial(hashlib.md5, usedforsecurity=False),
    update_all=_update_in_turn,
)


@cache
def best_md5() -> Md5:
    """Return the fastest implementation on this machine that agrees with hashlib."""
    try:
        from orchestrator.transfer import _multibuffer_md5 as multibuffer  # noqa: PLC0415 - may be missing
    except ImportError:
        return HASHLIB
    found = Md5(lanes=multibuffer.LANES, new_digest=multibuffer.Digest, update_all=multibuffer.update_all)
    # Each lane is tested: a compiler error would otherwise look like a store that damages every upload.
    bodies = [bytes([lane]) * (100 + lane) for lane in range(found.lanes)]
    return found if found.of_all(bodies) == HASHLIB.of_all(bodies) else HASHLIB


class HashPool:
    """Hashes the next spans of several streams in one batch.

    Hashing as many streams as there are lanes takes little longer than hashing one. So a span is held back until the
    batch is full, no other stream can join it, or a sender needs the span.
    """

    def __init__(self, workers: ThreadPoolExecutor, md5: Md5) -> None:
        self._workers = workers
        self._md5 = md5
        self._buffers = Buffers(min(_CACHED_BYTES // md5.lanes, _MOST_PIECE_BYTES))
        self._lock = Lock()
        self._queue: list[HashRequest] = []
        #: Streams that will ask for another span but have not yet.
        self._absent: set[Hashed] = set()
        self._is_flushing = False
        self._is_called = False

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__}: {len(self._queue)} spans queued, {len(self._absent)} streams absent,"
            f" {self._md5.lanes} lanes{', flushing' if self._is_flushing else ''}>"
        )

    def join(self, source: Source) -> Hashed:
        """Start a stream; call its `leave` at the end. *source* is opened with its first span."""
        stream = Hashed(self, source, self._md5.new_digest())
        with self._lock:
            self._absent.add(stream)
        return stream

    def submit(self, request: HashRequest) -> Future[None]:
        """Queue *request* to be hashed in a batch with others."""
        with self._lock:
            self._absent.discard(request.stream)
            self._queue.append(request)
            self._call_when_due()
        return request.done

    def flush(self, stream: Hashed) -> None:
        """Hash the queued span of *stream* now, in a partial batch, because its sender waits for it."""
        with self._lock:
            self._is_flushing |= any(request.stream is stream for request in self._queue)
            self._call_when_due()

    def leave(self, stream: Hashed) -> None:
        """Remove *stream*; a span of it that is being hashed is completed."""
        with self._lock:
            self._absent.discard(stream)
            self._queue = [request for request in self._queue if request.stream is not stream]
            self._call_when_due()

    def _call_when_due(self) -> None:
        if self._is_due() and not self._is_called:
            self._is_called = True
            self._workers.submit(self._work)

    def _is_due(self) -> bool:
        queued = len(self._queue)
        return queued > 0 and (self._is_flushing or not self._absent or queued >= self._md5.lanes)

    def _work(self) -> None:
        """Hash batches as long as one is due."""
        with self._lock:
            self._is_called = False
        while batch := self._take():
            try:
                self._hash(batch)
            except Exception as error:  # noqa: BLE001 - whatever broke, the waiting senders must get it
                for request in batch:
                    request.fail(error)

    def _take(self) -> list[HashRequest]:
        with self._lock:
            if not self._is_due():
                return []
            batch, self._queue = self._queue[: self._md5.lanes], self._queue[self._md5.lanes :]
            self._absent.update(request.stream for request in batch if request.ahead.length)
            self._is_flushing = self._is_flushing and bool(self._queue)
            self._call_when_due()
        return batch

    def _hash(self, batch: list[HashRequest]) -> None:
        """Read a piece of each span and hash it while the core's cache holds it, until all spans are done."""
        active = [request for request in batch if request.begin()]
        buffers = [self._buffers.take() for _ in active]
        while active:
            pieces = [request.read_into(buffer) for request, buffer in zip(active, buffers, strict=False)]
            found = [
                (request.stream.digest, piece) for request, piece in zip(active, pieces, strict=True) if piece
            ]
            self._md5.update_all([digest for digest, _ in found], [piece for _, piece in found])
            active = [request for request in active if request.goes_on()]
        for buffer in buffers:
            self._buffers.give_back(buffer)


class Hashed:
    """The stream of one source: hashes each span of *source* in a HashPool.

    A thread reads the span into memory that its core's cache still holds when it is hashed, and the sender reads it
    again from the page cache. This is cheaper than moving the hashed bytes from one core to another. The digest is
    that of the file; a change between the two reads is noticed by the fingerprint or by the store's ETag.
    """

    def __init__(self, pool: HashPool, source: Source, digest: Digest) -> None:
        self._pool = pool
        self.source = source
        self.digest = digest
        self._is_open = False

    @property
    def md5(self) -> str:
        """The hex digest of all hashed spans."""
        return self.digest.hexdigest()

    def start(self, span: Span, ahead: Span, *, is_first: bool) -> Future[None] | None:
        """Queue *span* to be hashed with those of other segments; return None for an empty span."""
        return self._pool.submit(HashRequest(self, span, ahead)) if span.length else None

    async def wait_for(self, prepared: Future[None]) -> None:
        """Wait for the hashing; force a partial batch when that takes too long."""
        if prepared.done():
            return prepared.result()
        flush = asyncio.get_running_loop().call_later(_PATIENCE_SECONDS, self._pool.flush, self)
        try:
            return await result_of(prepared)
        finally:
            flush.cancel()

    def leave(self) -> None:
        """Leave the pool; a span already being hashed is completed."""
        self._pool.leave(self)

    def begin(self, ahead: Span) -> None:
        """Open the file the first time, and announce *ahead*; blocks, and raises the errors of Source."""
        if not self._is_open:
            self.source.open()
            self._is_open = True
        self.source.announce(ahead)


@dataclass(eq=False, slots=True)
class HashRequest:
    """A span to be hashed; `rest` is the part that is not hashed yet."""

    stream: Hashed
    rest: Span
    ahead: Span
    done: Future[None] = field(default_factory=Future)

    def begin(self) -> bool:
        """Open the file; return False when that fails or the sender has left."""
        return self.done.set_running_or_notify_cancel() and self._succeeds(self.stream.begin, self.ahead)

    def read_into(self, buffer: memoryview) -> memoryview:
        """Read the next bytes to be hashed into *buffer* and return them; return none when that fails."""
        piece = buffer[: self.rest.length]
        if not self._succeeds(self.stream.source.read_into, piece, self.rest.offset):
            return buffer[:0]
        self.rest = Span(self.rest.offset + len(piece), self.rest.length - len(piece))
        return piece

    def goes_on(self) -> bool:
        """Return True while bytes remain; resolve the future and return False once the span is hashed or failed."""
        if self.done.done():
            return False
        if self.rest.length:
            return True
        if self.ahead.length or self._succeeds(self.stream.source.check):
            self.done.set_result(None)
        return False

    def fail(self, error: Exception) -> None:
        """Set the error for the sender, unless the future is already resolved."""
        if not self.done.done():
            self.done.set_exception(error)

    def _succeeds(self, work: Callable[..., None], *arguments: object) -> bool:
        # Arguments rather than a closure, because this runs for every piece of every file.
        try:
            work(*arguments)
        except Exception as error:  # noqa: BLE001 - whatever broke, the waiting sender must get it
            self.fail(error)
            return False
        return True


class Unhashed:
    """A stream without hashing: only opens and checks the file."""

    md5 = None

    def __init__(self, source: Source, readers: ThreadPoolExecutor) -> None:
        self.source = source
        self._readers = readers

    def start(self, span: Span, ahead: Span, *, is_first: bool) -> Future[None] | None:
        """Open or check the file in a thread for the first and last span; the others need no thread."""
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
        """Do nothing: no pool waits for this stream."""


def md5s_of(asset: Asset, segments: Sequence[Segment]) -> list[str]:
    """Return the hex MD5s of *segments* of the file, hashing as many at once as there are lanes; blocks.

    Raises SourceChangedError when the file differs from *asset*, or changes while it is read.
    """
    md5 = best_md5()
    source = Source(asset)
    try:
        source.open()
        digests: list[str] = []
        for first in range(0, len(segments), md5.lanes):
            digests += _md5s_in_lanes(source, segments[first : first + md5.lanes], md5)
        source.check()
    finally:
        source.close()
    return digests


def _md5s_in_lanes(source: Source, segments: Sequence[Segment], md5: Md5) -> list[str]:
    digests = [md5.new_digest() for _ in segments]
    buffers = [memoryview(bytearray(_COMPARED_BYTES)) for _ in segments]
    longest = max(segment.length for segment in segments)
    for done in range(0, longest, _COMPARED_BYTES):
        lanes = [number for number, segment in enumerate(segments) if segment.length > done]
        pieces = []
        for number in lanes:
            piece = buffers[number][: segments[number].length - done]
            source.read_into(piece, segments[number].offset + done)
            pieces.append(piece)
        md5.update_all([digests[number] for number in lanes], pieces)
    return [digest.hexdigest() for digest in digests]
