"""Streams for people: one that fails is no longer used, and never stops the work (design section 2.1)."""

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
    """An open file that takes whatever is written to it; after its first failure it drops everything.

    `failure` is that first one; *on_failure* gets it once, and must not write to this file. Closing it leaves the
    descriptor open where another owns it.
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
        """Write all of *data*, which is bytes or like them, or drop it; the number of its bytes either way."""
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
                # Another program made the terminal or the pipe that we share non-blocking.
                select.select([], [self], [])


def open_at_once(path: str | Path, flags: int, mode: int = 0o666) -> int:
    """Open *path* to write as *flags* say; a pipe that no program reads is an OSError rather than waited for."""
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, mode)
    os.set_blocking(descriptor, True)
    return descriptor


def text_on(file: SinkFile, encoding: str = "utf-8") -> TextIO:
    """A text stream on *file* that writes each text at once; what the encoding lacks is written as an escape."""
    # Without a buffer in between nothing is left for the interpreter to write at its exit.
    return io.TextIOWrapper(
        file,
        encoding=encoding,
        errors="backslashreplace",
        write_through=True,
    )


def failure_of(stream: TextIO | None) -> OSError | None:
    """Why *stream* was given up; None while it works, and for streams that are not on a SinkFile."""
    file = getattr(stream, "buffer", None)
    return file.failure if isinstance(file, SinkFile) else None


def reason_of(error: Exception) -> str:
    """Why something cannot be written, for people."""
    if isinstance(error, OSError) and error.errno == errno.ENXIO:
        return "no program reads from this pipe"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What reports need of their program: texts in `hidden` are in none, `warn` hears why one is not made.

    `stdout` gives a descriptor of the standard output, or raises UsageError where there is none to give;
    `command_output` is where commands write that are run, a descriptor or DEVNULL.
    """

    hidden: Collection[str]
    warn: Callable[[str], None]
    stdout: Callable[[], int]
    command_output: int
