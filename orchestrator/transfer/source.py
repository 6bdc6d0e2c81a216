"""The local file behind an asset, read by position and checked against what was planned; memory for its pieces."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from orchestrator.domain.assets import Asset, Fingerprint
from orchestrator.domain.errors import OrchestratorError, RetryableError, SourceChangedError

#: The machine is short of something for the moment; the file itself is all right.
_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
#: How far apart the bytes are by which a span is taken to be in memory. What is evicted goes in long runs.
_STRIDE_BYTES = 512 * 1024


class Span(NamedTuple):
    """A range of bytes of a file."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        """The offset after the last byte."""
        return self.offset + self.length


class Source:
    """An open file to read segments of; what may wait for a disk blocks, so call it in a worker thread.

    Nothing is opened before `open`.
    """

    def __init__(self, asset: Asset) -> None:
        self._path = asset.path
        self._planned = asset.fingerprint
        self._descriptor = -1
        self._closing = Lock()
        self._probe = memoryview(bytearray(1))
        #: True where the system can say what is in memory, which is then read without waiting.
        self.can_tell_cached = False

    def open(self) -> None:
        """Open and check the file; raises SourceChangedError, or RetryableError when descriptors run out."""
        try:
            # Without O_NONBLOCK a pipe put in the file's place would hold the thread for ever.
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise _unreadable(self._path, error) from None
        self.check()
        self.can_tell_cached = self._is_telling_cached()

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill *buffer* with the bytes at *offset*; raises SourceChangedError when the file ends before."""
        done = 0
        while done < len(buffer):
            done += self._read_some(buffer[done:], offset + done)

    def read_cached_into(self, buffer: memoryview, offset: int) -> int:
        """Read what is in memory of the bytes at *offset* and return how many they are; never blocks."""
        try:
            return self._preadv_cached(buffer, offset)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise _unreadable(self._path, error) from None

    def is_cached(self, span: Span) -> bool:
        """True when *span* can be had without waiting, as far as a few of its bytes tell; never blocks."""
        return all(self.read_cached_into(self._probe, position) for position in _positions(span))

    def fetch(self, span: Span) -> None:
        """Bring *span* into memory."""
        self.announce(span)
        for position in _positions(span):
            self._read_some(self._probe, position)

    def announce(self, span: Span) -> None:
        """Let the system begin to bring *span* into memory, without waiting for it."""
        # A length of 0 would mean all of the file.
        if sys.platform == "linux" and span.length:
            os.posix_fadvise(self._descriptor, span.offset, span.length, os.POSIX_FADV_WILLNEED)

    def send(self, socket: int, span: Span) -> int:
        """Let the kernel copy bytes of *span* to a non-blocking *socket* and return how many it took.

        Blocks only where the span is not in memory; raises OSError as the socket has it, BlockingIOError when it
        takes nothing now, SourceChangedError at the end of the file.
        """
        sent = os.sendfile(socket, self._descriptor, span.offset, span.length)
        if not sent:
            raise self._too_short(span.offset)
        return sent

    def check(self) -> None:
        """Raise SourceChangedError unless the open file, and the one now at its path, are as planned."""
        try:
            found = [os.fstat(self._descriptor), Path(self._path).stat()]
        except OSError as error:
            raise _unreadable(self._path, error) from None
        for status in found:
            differences = _differences(self._planned, Fingerprint.of(status))
            if differences:
                raise SourceChangedError(
                    f"{self._path} changed after it was planned: {differences}",
                    hint="let the file rest until the run is over, then retry the entry",
                )

    def close(self) -> None:
        """Close the descriptor; closing twice is allowed, from whichever thread."""
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

    def _is_telling_cached(self) -> bool:
        """Network file systems and some others do not tell, and neither do systems other than Linux."""
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


def _positions(span: Span) -> Iterator[int]:
    """Offsets of bytes that stand for all of *span*."""
    yield from range(span.offset, span.end, _STRIDE_BYTES)
    if span.length:
        yield span.end - 1


def _differences(planned: Fingerprint, found: Fingerprint) -> str:
    changes = []
    if found.inode != planned.inode:
        changes.append("another file is in its place")
    if found.size != planned.size:
        changes.append(f"its size was {planned.size} bytes and is {found.size}")
    if found.mtime_ns != planned.mtime_ns:
        changes.append("its modification time differs")
    return ", ".join(changes)


def _unreadable(path: str, error: OSError) -> OrchestratorError:
    reason = os.strerror(error.errno) if error.errno else "unknown error"
    if error.errno in _SHORTAGES:
        return RetryableError(f"{path} cannot be opened right now: {reason}")
    return SourceChangedError(f"{path} can no longer be read: {reason}")


class Buffers:
    """Buffers that are used again, the last one first: the core's cache still knows it.

    Threads may share them.

    Each has *size* bytes.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._free: list[memoryview] = []

    def take(self) -> memoryview:
        """A buffer no one else has."""
        try:
            return self._free.pop()
        except IndexError:
            return memoryview(bytearray(self._size))

    def give_back(self, buffer: memoryview) -> None:
        """Take back a buffer that is no longer read."""
        self._free.append(buffer)
