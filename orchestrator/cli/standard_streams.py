"""What the shell hands over and may be broken: stdout, stderr, and the file for the keys of TLS connections."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from orchestrator.observe.streams import SinkFile, open_at_once, text_on


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


_VARIABLE = "SSLKEYLOGFILE"


def drop_unusable_key_log(warn: Callable[[str], object]) -> None:
    """Take the variable from the environment where its file cannot be written, and report it through *warn*.

    Python's TLS contexts would raise, some as soon as a library is imported, which is no reason to send nothing.
    """
    name = os.environ.get(_VARIABLE)
    if not name:
        return
    try:
        os.close(open_at_once(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT))
    except OSError as error:
        del os.environ[_VARIABLE]
        warn(f"warning: {_VARIABLE} is ignored: {name} cannot be written: {error.strerror}")
