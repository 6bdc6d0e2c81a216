"""Telling is never worth more than the work: streams that fail, and encodings that lack a character."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import pytest

from orchestrator.cli.output import Output
from orchestrator.cli.session import open_shown_session
from orchestrator.engine.events import RunStarted, StepReached
from orchestrator.settings.sources import load_settings
from orchestrator.simulator import Simulator
from tests.cli.conftest import Batch, Cli

Broken = Callable[[], TextIO | None]


def on_a_full_disk() -> TextIO:
    """A file that takes nothing."""
    return Path("/dev/full").open("w", encoding="utf-8")


def without_a_reader() -> TextIO:
    """A pipe whose other end is closed."""
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w", encoding="utf-8")


def closed() -> None:
    """What `2>&-` leaves."""
    return


BROKEN = (on_a_full_disk, without_a_reader, closed)


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, Broken], None]]:
    """Put a broken stream in the place of sys.stdout or sys.stderr."""
    opened: list[TextIO] = []

    def replace(name: str, broken: Broken) -> None:
        stream = broken()
        if stream is not None:
            opened.append(stream)
        monkeypatch.setattr(sys, name, stream)

    yield replace
    monkeypatch.undo()
    for stream in opened:
        stream.close()


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.usefixtures("simulator")
def test_a_run_does_its_work_whatever_becomes_of_stderr(
    cli: Cli,
    batch: Batch,
    tmp_path: Path,
    breaking: Callable[[str, Broken], None],
    broken: Broken,
) -> None:
    """Exit 0, every file stored, also with -v; the log file has a note of it, once."""
    log = tmp_path / "run.log"
    breaking("stderr", broken)

    result = cli("run", batch.manifest, "-v", "--log-file", log, "--json")

    assert result.exit_code == result.document["exit_code"] == 0
    assert result.document["entries"]["done"] == 2
    assert [json.loads(line)["event"] for line in log.read_text().splitlines()].count("stderr.lost") == 1


@pytest.mark.parametrize("broken_and_form", [(each, form) for each in BROKEN for form in ((), ("--json",))])
@pytest.mark.usefixtures("simulator")
def test_a_result_that_cannot_be_written_ends_a_run_with_5(
    cli: Cli,
    batch: Batch,
    tmp_path: Path,
    breaking: Callable[[str, Broken], None],
    broken_and_form: tuple[Broken, tuple[str, ...]],
) -> None:
    """One sentence and what to do; the work is done, so that the same command only tells of it."""
    broken, form = broken_and_form
    breaking("stdout", broken)

    lost = cli("run", batch.manifest, "--progress", "none", *form)

    assert lost.exit_code == 5
    assert lost.stderr.startswith("error: the result cannot be written to stdout: ")
    assert len(lost.stderr.splitlines()) == 2
    assert cli("results", "studio", "-o", tmp_path / "results.csv").exit_code == 0
    assert (tmp_path / "results.csv").read_text().count(",confirmed,") == 2


def test_a_run_that_failed_keeps_its_code_when_its_result_is_lost(
    cli: Cli, batch: Batch, breaking: Callable[[str, Broken], None]
) -> None:
    """What kind of day it was is worth more than that nobody could read of it."""
    batch.manifest.write_text("avatars: 7\n")
    breaking("stdout", on_a_full_disk)

    assert cli("run", batch.manifest, "--json").exit_code == 3


@pytest.mark.usefixtures("simulator")
def test_a_log_file_on_a_full_disk_is_given_up_with_a_note(cli: Cli, batch: Batch) -> None:
    """The run goes on to its own exit code."""
    result = cli("run", batch.manifest, "--log-file", "/dev/full", "-q")

    assert result.exit_code == 0
    assert result.stderr == (
        "warning: the log file /dev/full can no longer be written: No space left on device; "
        "the run continues without it\n"
    )


def test_a_log_file_that_is_a_pipe_without_a_reader_is_not_waited_for(
    cli: Cli, batch: Batch, simulator: Simulator, tmp_path: Path
) -> None:
    """A sentence, exit 4, and nothing is sent."""
    os.mkfifo(tmp_path / "log")

    result = cli("run", batch.manifest, "--log-file", tmp_path / "log")

    assert result.exit_code == 4
    assert "cannot be opened: no program reads from this pipe" in result.stderr
    assert not simulator.jobs


def test_documents_are_utf_8_whatever_stdout_is(
    cli: Cli, batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 8259 section 8.1."""
    batch.write({"name": "Zoë-😀", "training_video": "Zoë-😀.mp4"})
    with (tmp_path / "told").open("w", encoding="latin-1") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert cli("validate", batch.manifest, "--json").exit_code == 3
        monkeypatch.undo()

    (missing, *_) = json.loads((tmp_path / "told").read_bytes().decode())["problems"]
    assert "Zoë-😀.mp4: no such file" in missing["message"]


def test_text_is_escaped_where_the_encoding_lacks_a_character(
    cli: Cli, batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name is never a reason to fail."""
    batch.write({"name": "张三", "training_video": "张三.mp4"})
    with (tmp_path / "told").open("w", encoding="latin-1") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert cli("validate", batch.manifest).exit_code == 3
        monkeypatch.undo()

    assert rb"\u5f20\u4e09.mp4" in (tmp_path / "told").read_bytes()


def test_the_interpreter_has_nothing_to_complain_of_at_its_exit() -> None:
    """Neither a traceback nor its own exit code 120."""
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        process = subprocess.run(
            [sys.executable, "-m", "orchestrator", "schema"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert process.returncode == 5
    assert [line.split(":")[0] for line in process.stderr.splitlines()] == ["error", "hint"]


@pytest.mark.parametrize("progress", ["none", "plain", "line", "bar"])
@pytest.mark.usefixtures("simulator")
async def test_no_way_to_show_a_run_makes_entries_publish_their_steps(progress: str) -> None:
    """They have dozens each, for logs only: a subscriber that does not say what it wants would be told of all."""
    settings = load_settings(flags={"progress": progress}, config=None, beside=None)
    output = Output(io.StringIO(), io.StringIO())

    async with open_shown_session(
        output, settings, "studio", is_submit_wanted=False, environ=os.environ
    ) as session:
        assert session.events.has_subscriber(RunStarted)
        assert not session.events.has_subscriber(StepReached)
