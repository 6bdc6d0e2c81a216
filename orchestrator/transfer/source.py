"""The local file behind an asset, read by position and checked against what was planned."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from orchestrator.domain.assets import Asset, Fingerprint
from orchestrator.domain.errors import OrchestratorError, RetryableError, SourceChangedError

#: The machine is short of something for the moment; the file itself is all right.
_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})


class Source:
    """An open file to read segments of; every method blocks, so call them in a worker thread."""

    def __init__(self, asset: Asset) -> None:
        """Take the *asset* whose path and fingerprint count; nothing is opened yet."""
        self._path = asset.path
        self._planned = asset.fingerprint
        self._descriptor = -1

    def open(self) -> None:
        """Open and check the file; raises SourceChangedError, or RetryableError when descriptors run out."""
        try:
            # Without O_NONBLOCK a pipe put in the file's place would hold the thread for ever.
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise _unreadable(self._path, error) from None
        self.check()

    def read(self, offset: int, length: int) -> bytes:
        """Exactly *length* bytes at *offset*; raises SourceChangedError when the file ends before."""
        chunk = self._pread(offset, length)
        if len(chunk) == length:
            return chunk
        pieces = [chunk]
        missing = length - len(chunk)
        while missing:
            pieces.append(self._pread(offset + length - missing, missing))
            missing -= len(pieces[-1])
        return b"".join(pieces)

    def check(self) -> None:
        """Raise SourceChangedError unless the open file, and the one now at its path, are as planned."""
        try:
            found = [os.fstat(self._descriptor), Path(self._path).stat()]
        except OSError as error:
            raise _unreadable(self._path, error) from None
        for status in found:
            differences = _differences(self._planned, _fingerprint(status))
            if differences:
                raise SourceChangedError(
                    f"{self._path} changed after it was planned: {differences}",
                    hint="let the file rest until the run is over, then retry the entry",
                )

    def close(self) -> None:
        """Close the descriptor; closing twice is allowed."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _pread(self, offset: int, length: int) -> bytes:
        try:
            chunk = os.pread(self._descriptor, length, offset)
        except OSError as error:
            raise _unreadable(self._path, error) from None
        if length and not chunk:
            raise SourceChangedError(
                f"{self._path} became shorter while it was read: it ends before byte {offset}"
            )
        return chunk


def _fingerprint(status: os.stat_result) -> Fingerprint:
    return Fingerprint(size=status.st_size, mtime_ns=status.st_mtime_ns, inode=status.st_ino)


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
