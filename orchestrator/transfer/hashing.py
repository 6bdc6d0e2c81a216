"""Segments' MD5s, computed in worker threads for several segments at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock

from orchestrator.transfer.buffers import Buffers
from orchestrator.transfer.md5 import Digest, Md5
from orchestrator.transfer.source import Source, Span

#: What is read of all lanes before it is hashed: a core's own cache holds it, and what else the core works on.
_CACHED_BYTES = 512 * 1024
_MOST_PIECE_BYTES = 256 * 1024


class HashPool:
    """Hashes the next spans of several streams in one go.

    To hash as many streams as there are lanes takes little longer than to hash one. So a span waits for company as
    long as nobody waits for it: until all lanes are taken, or nobody is left who could join.
    """

    def __init__(self, workers: ThreadPoolExecutor, md5: Md5) -> None:
        """Read and hash in *workers*, the way *md5* does."""
        self._workers = workers
        self._md5 = md5
        self._buffers = Buffers(min(_CACHED_BYTES // md5.lanes, _MOST_PIECE_BYTES))
        self._lock = Lock()
        self._wishes: list[Wish] = []
        #: Streams that will ask for another span but have not yet.
        self._absent: set[HashedStream] = set()
        self._is_hurried = False
        self._is_called = False

    def join(self, source: Source) -> HashedStream:
        """Begin a stream, whose `leave` must follow; *source* is opened with its first span."""
        stream = HashedStream(self, source, self._md5.new_digest())
        with self._lock:
            self._absent.add(stream)
        return stream

    def submit(self, wish: Wish) -> Future[None]:
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
        """Read a piece of each and hash it while the core's cache holds it, until all are done."""
        active = [wish for wish in batch if wish.begin()]
        buffers = [self._buffers.take() for _ in active]
        while active:
            pieces = [wish.read_into(buffer) for wish, buffer in zip(active, buffers, strict=False)]
            found = [(wish.stream.digest, piece) for wish, piece in zip(active, pieces, strict=True) if piece]
            self._md5.update_all([digest for digest, _ in found], [piece for _, piece in found])
            active = [wish for wish in active if wish.goes_on()]
        for buffer in buffers:
            self._buffers.give_back(buffer)


class HashedStream:
    """A segment on its way through a HashPool."""

    def __init__(self, pool: HashPool, source: Source, digest: Digest) -> None:
        """`HashPool.join` makes these."""
        self._pool = pool
        self.source = source
        self.digest = digest
        self._is_open = False

    def hash(self, span: Span, ahead: Span) -> Future[None]:
        """Hash *span*, the next one, in a worker thread.

        The bytes of *ahead*, which comes after it, are announced. Where nothing comes after it the file is found
        unchanged at last. The future may hold a Source's error.
        """
        return self._pool.submit(Wish(self, span, ahead))

    def hurry(self) -> None:
        """Have what is asked for hashed without more company: somebody waits for it."""
        self._pool.hurry(self)

    def leave(self) -> None:
        """Keep nobody waiting any more; a span that is being hashed is finished."""
        self._pool.leave(self)

    def begin(self, ahead: Span) -> None:
        """Open the file the first time, and announce *ahead*; blocks, raises what Source raises."""
        if not self._is_open:
            self.source.open()
            self._is_open = True
        self.source.announce(ahead)


@dataclass(eq=False, slots=True)
class Wish:
    """A span to be hashed; `rest` is what of it is not yet."""

    stream: HashedStream
    rest: Span
    ahead: Span
    done: Future[None] = field(default_factory=Future)

    def begin(self) -> bool:
        """Open the file; False when that fails or nobody waits any more."""
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
        """False when all is hashed or has failed, and whoever waits knows."""
        if self.done.done():
            return False
        if self.rest.length:
            return True
        if self.ahead.length or self._succeeds(self.stream.source.check):
            self.done.set_result(None)
        return False

    def fail(self, error: Exception) -> None:
        """Tell whoever waits why there will be no digest, unless they know."""
        if not self.done.done():
            self.done.set_exception(error)

    def _succeeds(self, work: Callable[[], None]) -> bool:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever broke, the one who waits must hear of it
            self.fail(error)
            return False
        return True
