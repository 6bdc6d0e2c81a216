"""stdout and stderr that outlive a full disk, a reader that has exited, and a shell that closed them."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from orchestrator.observe.streams import SinkFile, text_on


@contextmanager
def standard_streams() -> Iterator[tuple[TextIO, TextIO]]:
    """Put streams that never fail in the place of stdout and stderr, for libraries as well, and return them."""
    before = sys.stdout, sys.stderr
    _occupy_closed_descriptors()
    with _unwritable() as nowhere:
        sys.stdout, sys.stderr = (_steady(stream, nowhere) for stream in before)
        try:
            yield sys.stdout, sys.stderr
        finally:
            sys.stdout, sys.stderr = before


def _occupy_closed_descriptors() -> None:
    """Let no file that is opened later become what libraries in C take for stdin, stdout or stderr."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


@contextmanager
def _unwritable() -> Iterator[int]:
    """A descriptor on which every write fails, for what was closed when Python started."""
    descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _steady(stream: TextIO | None, nowhere: int) -> TextIO:
    if stream is None:
        return text_on(SinkFile(nowhere, is_owner=False))
    try:
        return text_on(SinkFile(stream.fileno(), is_owner=False), stream.encoding)
    except (OSError, io.UnsupportedOperation):
        # A stream in memory, of a test or of a program that calls this one.
        return stream
