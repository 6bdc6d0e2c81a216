"""Segments' MD5s, computed in worker threads for several segments at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock

from orchestrator.transfer.md5 import Digest, Md5
from orchestrator.transfer.source import Buffers, Source, Span

#: What is read of all lanes before it is hashed: a core's own cache holds it, and what else the core works on.
_CACHED_BYTES = 512 * 1024
_MOST_PIECE_BYTES = 256 * 1024


class HashPool:
    """Hashes the next spans of several streams in one go.

    To hash as many streams as there are lanes takes little longer than to hash one. So a span is held back until the
    batch is full, no other stream can join, or a sender needs it.
    """

    def __init__(self, workers: ThreadPoolExecutor, md5: Md5) -> None:
        self._workers = workers
        self._md5 = md5
        self._buffers = Buffers(min(_CACHED_BYTES // md5.lanes, _MOST_PIECE_BYTES))
        self._lock = Lock()
        self._queue: list[HashRequest] = []
        #: Streams that will ask for another span but have not yet.
        self._absent: set[HashedStream] = set()
        self._is_flushing = False
        self._is_called = False

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__}: {len(self._queue)} spans queued, {len(self._absent)} streams absent,"
            f" {self._md5.lanes} lanes{', flushing' if self._is_flushing else ''}>"
        )

    def join(self, source: Source) -> HashedStream:
        """Begin a stream, whose `leave` must follow; *source* is opened with its first span."""
        stream = HashedStream(self, source, self._md5.new_digest())
        with self._lock:
            self._absent.add(stream)
        return stream

    def submit(self, request: HashRequest) -> Future[None]:
        """Hash what *request* asks for, with others."""
        with self._lock:
            self._absent.discard(request.stream)
            self._queue.append(request)
            self._call_when_due()
        return request.done

    def flush(self, stream: HashedStream) -> None:
        """What `stream.flush` does."""
        with self._lock:
            self._is_flushing |= any(request.stream is stream for request in self._queue)
            self._call_when_due()

    def leave(self, stream: HashedStream) -> None:
        """What `stream.leave` does."""
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
        """Hash batch after batch as they become due."""
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
        """Read a piece of each and hash it while the core's cache holds it, until all are done."""
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


class HashedStream:
    """A segment on its way through a HashPool."""

    def __init__(self, pool: HashPool, source: Source, digest: Digest) -> None:
        self._pool = pool
        self.source = source
        self.digest = digest
        self._is_open = False

    def hash(self, span: Span, ahead: Span) -> Future[None]:
        """Hash *span*, the next one, in a worker thread.

        The bytes of *ahead*, which comes after it, are announced. Where nothing comes after it the file is found
        unchanged at last. The future may hold a Source's error.
        """
        return self._pool.submit(HashRequest(self, span, ahead))

    def flush(self) -> None:
        """Hash the queued span now, in a partial batch: its sender waits for it."""
        self._pool.flush(self)

    def leave(self) -> None:
        """Leave the pool; a span already being hashed is completed."""
        self._pool.leave(self)

    def begin(self, ahead: Span) -> None:
        """Open the file the first time, and announce *ahead*; blocks, raises what Source raises."""
        if not self._is_open:
            self.source.open()
            self._is_open = True
        self.source.announce(ahead)


@dataclass(eq=False, slots=True)
class HashRequest:
    """A span to be hashed; `rest` is what of it is not yet."""

    stream: HashedStream
    rest: Span
    ahead: Span
    done: Future[None] = field(default_factory=Future)

    def begin(self) -> bool:
        """Open the file; False when that fails or the sender has left."""
        return self.done.set_running_or_notify_cancel() and self._succeeds(
            lambda: self.stream.begin(self.ahead)
        )

    def read_into(self, buffer: memoryview) -> memoryview:
        """The next bytes to be hashed, in *buffer*; none when that fails."""
        piece = buffer[: self.rest.length]
        if not self._succeeds(lambda: self.stream.source.read_into(piece, self.rest.offset)):
            return buffer[:0]
        self.rest = Span(self.rest.offset + len(piece), self.rest.length - len(piece))
        return piece

    def goes_on(self) -> bool:
        """False when all is hashed or has failed, and the sender knows."""
        if self.done.done():
            return False
        if self.rest.length:
            return True
        if self.ahead.length or self._succeeds(self.stream.source.check):
            self.done.set_result(None)
        return False

    def fail(self, error: Exception) -> None:
        """Give the sender the error, unless it has a result."""
        if not self.done.done():
            self.done.set_exception(error)

    def _succeeds(self, work: Callable[[], None]) -> bool:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever broke, the waiting sender must get it
            self.fail(error)
            return False
        return True
