"""Segments' MD5s, computed in worker threads for several segments at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock

from orchestrator.transfer.md5 import Digest, Md5
from orchestrator.transfer.source import Source, Span

#: What all streams together may hold in memory; a few streams hold less.
_MEMORY_BYTES = 32 * 1024 * 1024
#: A stream holds a span that is being sent, and one that is being hashed meanwhile.
_SPANS_HELD = 2
_LEAST_SPAN_BYTES, _MOST_SPAN_BYTES = 128 * 1024, 512 * 1024


def span_bytes_for(streams: int) -> int:
    """What is read and hashed in one go of each of so many *streams* at once.

    The more the better, since a hop into a thread costs the CPU as much as hashing 50 KB, as far as memory lasts.
    """
    fair = _MEMORY_BYTES // (_SPANS_HELD * max(streams, 1))
    return min(max(fair, _LEAST_SPAN_BYTES), _MOST_SPAN_BYTES)


class HashPool:
    """Hashes the next spans of several streams in one go.

    To hash as many streams as there are lanes takes little longer than to hash one. So a span waits for company as
    long as nobody waits for it: until all lanes are taken, or nobody is left who could join.
    """

    def __init__(self, workers: ThreadPoolExecutor, md5: Md5, *, span_bytes: int = _MOST_SPAN_BYTES) -> None:
        """Read and hash in *workers*, the way *md5* does, spans of at most *span_bytes*."""
        self.span_bytes = span_bytes
        self._workers = workers
        self._md5 = md5
        self._lock = Lock()
        self._wishes: list[Wish] = []
        #: Streams that will ask for another span but have not yet.
        self._absent: set[HashedStream] = set()
        self._is_hurried = False
        self._is_called = False

    def join(self, source: Source, length: int) -> HashedStream:
        """Begin a stream of *length* bytes, whose `leave` must follow; *source* is opened with its first span."""
        stream = HashedStream(self, source, self._md5.new_digest(), min(length, self.span_bytes))
        with self._lock:
            self._absent.add(stream)
        return stream

    def submit(self, wish: Wish) -> Future[memoryview]:
        """Hash what *wish* says, with others."""
        with self._lock:
            self._absent.discard(wish.stream)
            self._wishes.append(wish)
            self._call_when_due()
        return wish.done

    def hurry(self, stream: HashedStream) -> None:
        """What `stream.hurry` does."""
        with self._lock:
            self._is_hurried |= any(wish.stream is stream for wish in self._wishes)
            self._call_when_due()

    def leave(self, stream: HashedStream) -> None:
        """What `stream.leave` does."""
        with self._lock:
            self._absent.discard(stream)
            self._wishes = [wish for wish in self._wishes if wish.stream is not stream]
            self._call_when_due()

    def _call_when_due(self) -> None:
        if self._is_due() and not self._is_called:
            self._is_called = True
            self._workers.submit(self._work)

    def _is_due(self) -> bool:
        wishes = len(self._wishes)
        return wishes > 0 and (self._is_hurried or not self._absent or wishes >= self._md5.lanes)

    def _work(self) -> None:
        """Hash batch after batch as they become due."""
        with self._lock:
            self._is_called = False
        while batch := self._take():
            try:
                self._hash(batch)
            except Exception as error:  # noqa: BLE001 - whatever broke, those who wait must hear of it
                for wish in batch:
                    wish.fail(error)

    def _take(self) -> list[Wish]:
        with self._lock:
            if not self._is_due():
                return []
            batch, self._wishes = self._wishes[: self._md5.lanes], self._wishes[self._md5.lanes :]
            self._absent.update(wish.stream for wish in batch if wish.ahead.length)
            self._is_hurried = self._is_hurried and bool(self._wishes)
            self._call_when_due()
        return batch

    def _hash(self, batch: list[Wish]) -> None:
        active = [wish for wish in batch if wish.begin()]
        self._md5.update_all([wish.stream.digest for wish in active], [wish.bytes for wish in active])
        for wish in active:
            wish.settle()


class HashedStream:
    """A segment on its way through a HashPool."""

    def __init__(self, pool: HashPool, source: Source, digest: Digest, span_bytes: int) -> None:
        """`HashPool.join` makes these."""
        self._pool = pool
        self.source = source
        self.digest = digest
        self._span_bytes = span_bytes
        self._is_open = False
        self._buffers: deque[memoryview] = deque()

    def hash(self, span: Span, ahead: Span) -> Future[memoryview]:
        """Read *span*, the next one, and hash it in a worker thread; its bytes are the result.

        They stay as they are until the span after the next is asked for. The bytes of *ahead*, which comes after it,
        are announced. Where nothing comes after it the file is found unchanged at last. The future may hold a
        Source's error.
        """
        return self._pool.submit(Wish(self, span, ahead))

    def hurry(self) -> None:
        """Have what is asked for hashed without more company: somebody waits for it."""
        self._pool.hurry(self)

    def leave(self) -> None:
        """Keep nobody waiting any more; a span that is being hashed is finished."""
        self._pool.leave(self)

    def read(self, span: Span, ahead: Span) -> memoryview:
        """The bytes of *span*, in the buffer that was filled longest ago; blocks, raises what Source raises."""
        if not self._is_open:
            self.source.open()
            self._is_open = True
        self.source.announce(ahead)
        if len(self._buffers) < _SPANS_HELD:
            self._buffers.append(memoryview(bytearray(self._span_bytes)))
        else:
            self._buffers.rotate(-1)
        found = self._buffers[-1][: span.length]
        self.source.read_into(found, span.offset)
        return found

    def check(self) -> None:
        """Raise SourceChangedError unless the file is still as planned."""
        self.source.check()


@dataclass(eq=False, slots=True)
class Wish:
    """A span to be hashed; `bytes` are its own once they are read."""

    stream: HashedStream
    span: Span
    ahead: Span
    bytes: memoryview = field(default_factory=lambda: memoryview(b""))
    done: Future[memoryview] = field(default_factory=Future)

    def begin(self) -> bool:
        """Read the span; False when that fails or nobody waits any more."""
        return self.done.set_running_or_notify_cancel() and self._succeeds(self._read)

    def settle(self) -> None:
        """Tell whoever waits that all is hashed, and if it is the last that the file has changed."""
        if self.ahead.length or self._succeeds(self.stream.check):
            self.done.set_result(self.bytes)

    def fail(self, error: Exception) -> None:
        """Tell whoever waits why there will be no digest, unless they know."""
        if not self.done.done():
            self.done.set_exception(error)

    def _read(self) -> None:
        self.bytes = self.stream.read(self.span, self.ahead)

    def _succeeds(self, work: Callable[[], None]) -> bool:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever broke, the one who waits must hear of it
            self.fail(error)
            return False
        return True
