"""Output streams for people: a stream is not used after an error, and never stops the work (design section 2.1)."""

from __future__ import annotations

import errno
import io
import os
import select
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO


class SinkFile(io.FileIO):
    """An open file whose writes never fail: after its first error it discards all data.

    `failure` is the first error. *on_failure* receives it once and must not write to this file. Closing the file
    leaves the descriptor open unless *is_owner*.
    """

    def __init__(
        self,
        descriptor: int,
        *,
        is_owner: bool,
        on_failure: Callable[[OSError], None] | None = None,
    ) -> None:
        super().__init__(descriptor, "w", closefd=is_owner)
        self.failure: OSError | None = None
        self._on_failure = on_failure

    def write(self, data: Any, /) -> int:
        """Write all of *data*, a bytes-like object, or discard it; return the number of its bytes in both cases."""
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view) and self.failure is None:
            try:
                done += self._write_some(view[done:])
            except OSError as error:
                self.failure = error
                if self._on_failure is not None:
                    self._on_failure(error)
        return len(view)

    def _write_some(self, view: memoryview) -> int:
        while True:
            try:
                return os.write(self.fileno(), view)
            except BlockingIOError:
                # Another program that shares the terminal or pipe has made it non-blocking.
                select.select([], [self], [])


def open_at_once(path: str | Path, flags: int, mode: int = 0o666) -> int:
    """Open *path* for writing with *flags*; a pipe without a reader raises OSError instead of blocking."""
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, mode)
    os.set_blocking(descriptor, True)
    return descriptor


def text_on(file: SinkFile, encoding: str = "utf-8") -> TextIO:
    """Return an unbuffered text stream on *file*; characters that *encoding* lacks are written as escapes."""
    # Without a buffer, the interpreter has nothing to flush at exit.
    return io.TextIOWrapper(
        file,
        encoding=encoding,
        errors="backslashreplace",
        write_through=True,
    )


def failure_of(stream: TextIO | None) -> OSError | None:
    """Return the error that ended *stream*; None while it works, and for streams that are not on a SinkFile."""
    file = getattr(stream, "buffer", None)
    return file.failure if isinstance(file, SinkFile) else None


def reason_of(error: Exception) -> str:
    """Return the reason for a failed write as text for users."""
    if isinstance(error, OSError) and error.errno == errno.ENXIO:
        return "no program reads from this pipe"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportingContext:
    """The context that a reporter gets from the program it runs in.

    Texts in `hidden` appear in no report. `warn` is called with the reason when a report cannot be made. `stdout`
    returns a descriptor of the standard output, or raises UsageError if none is available. `command_output`, a
    descriptor or DEVNULL, receives the output of commands that are run.
    """

    hidden: Collection[str]
    warn: Callable[[str], None]
    stdout: Callable[[], int]
    command_output: int
