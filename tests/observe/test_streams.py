"""Streams that are given up rather than fail."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

from orchestrator.observe.streams import SinkFile, failure_of, text_on


def test_the_first_failure_is_told_once_and_the_rest_dropped() -> None:
    """Writing never raises, nor does closing."""
    told: list[OSError] = []
    descriptor = os.open("/dev/full", os.O_WRONLY)
    stream = text_on(SinkFile(descriptor, is_owner=True, on_failure=told.append))

    assert stream.write("a line\n") == 7
    stream.write("another\n")
    stream.close()

    assert [error.errno for error in told] == [errno.ENOSPC]


def test_why_a_stream_was_given_up_can_be_asked() -> None:
    """None while it works, and for streams of others."""
    with text_on(SinkFile(os.open("/dev/full", os.O_WRONLY), is_owner=True)) as stream:
        assert failure_of(stream) is None
        stream.write("x")
        failure = failure_of(stream)

    assert failure is not None
    assert failure.errno == errno.ENOSPC
    assert failure_of(None) is None


def test_what_the_encoding_lacks_is_an_escape(tmp_path: Path) -> None:
    """Half a character too, such as a file's name may hold."""
    path = tmp_path / "told"
    with text_on(SinkFile(os.open(path, os.O_WRONLY | os.O_CREAT), is_owner=True), "latin-1") as stream:
        stream.write("Zoë 张 \udcff")

    assert path.read_bytes() == rb"Zo" + "ë".encode("latin-1") + rb" \u5f20 \udcff"


def test_a_pipe_that_another_program_made_non_blocking_is_waited_for() -> None:
    """Nothing is lost where the reader is slower."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    text = "x" * 300_000
    found: list[bytes] = []

    def read() -> None:
        with os.fdopen(reader, "rb") as stream:
            found.append(stream.read())

    thread = threading.Thread(target=read)
    with text_on(SinkFile(writer, is_owner=True)) as stream:
        thread.start()
        stream.write(text)
    thread.join()

    assert found == [text.encode()]
