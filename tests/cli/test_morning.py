"""The morning after: what a run says at its end is true at a glance."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from tests.cli.conftest import Batch, Cli


def ask_for_another_job(batch: Batch) -> None:
    """Change what a job was made from, so that a person must decide."""
    batch.write(batch.entry("anna"), {**batch.entry("bo"), "name": "another"})


@pytest.mark.usefixtures("simulator")
def test_an_entry_that_needs_a_decision_is_not_done(cli: Cli, batch: Batch) -> None:
    """In counts, summary, warnings and history alike, also where its job is confirmed."""
    cli("run", batch.manifest)
    ask_for_another_job(batch)

    result = cli("run", batch.manifest, "--json")
    told = cli("run", batch.manifest)

    assert (result.exit_code, told.exit_code) == (9, 9)
    assert result.document["entries"] == {"total": 2, "done": 1, "failed": 0, "skipped": 1, "pending": 0}
    assert any("bo needs a decision" in warning for warning in result.document["warnings"])
    assert "1 of 2 entries done, 1 need a decision" in told.stdout
    last = cli("status", "studio", "--runs", "--json").document["runs"][0]
    assert last["entries"]["done"] == 1


@pytest.mark.usefixtures("simulator")
def test_quiet_is_silent_when_all_is_well_and_one_summary_when_not(cli: Cli, batch: Batch) -> None:
    """With the batch, the counts, and a command that shows more."""
    well = cli("run", batch.manifest, "-q")
    ask_for_another_job(batch)

    result = cli("run", batch.manifest, "-q")

    assert (well.exit_code, well.stdout, well.stderr) == (0, "", "")
    (summary,) = [line for line in result.stderr.splitlines() if line.startswith("studio: ")]
    assert "1 of 2 entries done" in summary
    assert "`orchestrator status studio`" in summary


@pytest.mark.usefixtures("simulator")
def test_the_last_line_of_a_run_has_its_id(cli: Cli, batch: Batch) -> None:
    """As the history of runs has it."""
    result = cli("run", batch.manifest)

    (run,) = cli("status", "studio", "--runs", "--json").document["runs"]
    assert result.stdout.splitlines()[-1] == f"run {run['run_id']}: exit code 0"


def on_terminal(columns: int, *arguments: str) -> str:
    """What the program prints on a terminal of so many columns."""
    reader, writer = pty.openpty()
    environ = {**os.environ, "COLUMNS": str(columns), "TERM": "dumb"}
    subprocess.run([sys.executable, "-m", "orchestrator", *arguments], stdout=writer, env=environ, check=True)
    os.close(writer)
    text = b""
    try:
        while block := os.read(reader, 65536):
            text += block
    except OSError:
        pass  # the other end of a terminal that is closed
    os.close(reader)
    return text.decode()


@pytest.mark.usefixtures("simulator")
@pytest.mark.parametrize("columns", [80, 120, 200])
def test_batch_and_exit_code_are_whole_on_any_terminal(cli: Cli, batch: Batch, columns: int) -> None:
    """In 80 columns each batch has two lines, none of them wrapped by the terminal."""
    name = "studio-2026-11-the-second-day"
    cli("run", batch.manifest, "--batch-name", name)

    told = on_terminal(columns, "status")
    settings = on_terminal(columns, "config", "show")

    (line,) = [line for line in told.splitlines() if name in line]
    assert "2 confirmed" in told
    assert ("exit 0" in line) if columns < 100 else (" 0 " in line)
    assert all(len(line) <= columns for line in told.splitlines())
    (header, *_) = [line for line in settings.splitlines() if "setting" in line]
    assert header.rstrip().endswith("from")
    assert "default" in settings
    assert "environment" in settings
