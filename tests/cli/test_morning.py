"""The morning after: what a run says at its end is true at a glance."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time

import pytest

from orchestrator.simulator import SimulatorOptions
from tests.cli.conftest import Batch, Cli
from tests.cli.documents import check_document


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
    seen = cli("status", "studio", "--json").document
    check_document("status", seen)
    assert [warning for warning in seen["warnings"] if warning.startswith("bo needs a decision: ")]
    assert "bo needs a decision: " in cli("status", "studio").stdout
    assert cli("run", batch.manifest, "--on-change", "recreate").exit_code == 0
    assert cli("status", "studio", "--json").document["warnings"] == []


@pytest.mark.usefixtures("simulator")
def test_status_names_what_was_left_alone_with_the_next_command(cli: Cli, batch: Batch) -> None:
    """As the run did: cancelled entries, and files that were too young."""
    cli("run", batch.manifest)
    cli("cancel", "studio", "--entry", "anna", "--yes")
    batch.write(batch.entry("anna"), batch.entry("bo"), batch.entry("cem"))
    long_ago = time.time() - 3600
    for path in batch.folder.glob("*"):
        if not path.name.startswith("cem"):
            os.utime(path, (long_ago, long_ago))

    assert cli("run", batch.manifest, "--min-age", "10m").exit_code == 0

    told = cli("status", "studio").stdout
    assert "cancelled, left alone: anna; `orchestrator retry studio --entry anna`" in told
    assert "files written just now, left alone by the last run: cem; " in told


@pytest.mark.usefixtures("simulator")
@pytest.mark.parametrize("simulator_options", [SimulatorOptions(min_part_bytes=300_000)])
def test_what_is_said_of_many_entries_is_said_once(cli: Cli, batch: Batch) -> None:
    """At the end of a run and in status, with how many and the first of them."""
    batch.write(
        *({**batch.entry("anna", video_multipart_count=2), "id": f"a{n}", "name": f"a{n}"} for n in range(5))
    )

    ran, told = cli("run", batch.manifest), cli("status", "studio")

    for printed in (ran.stdout, told.stdout):
        (line,) = [line for line in printed.splitlines() if "5 entries: " in line]
        assert line.endswith("(a0, a1, ...)")


@pytest.mark.long
@pytest.mark.usefixtures("simulator")
def test_the_table_is_cut_off_a_terminal_as_on_one(cli: Cli, batch: Batch) -> None:
    """--all shows all, --summary none."""
    batch.write(*({**batch.entry("anna"), "id": f"a{n:03}", "name": f"a{n}"} for n in range(203)))
    cli("run", batch.manifest, "-j", "100", "--no-media-check")

    cut, whole, summary = (
        cli("status", "studio", *flags).stdout for flags in ((), ("--all",), ("--summary",))
    )

    assert "... and 3 more; `orchestrator status studio --all` lists all" in cut
    assert sum(line.startswith("a") for line in cut.splitlines()) == 200
    assert sum(line.startswith("a") for line in whole.splitlines()) == 203
    assert summary.startswith("studio (")
    assert "203 confirmed" in summary


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
    # Without a number of lines, one that can do nothing counts as one of 80 columns.
    environ = {**os.environ, "COLUMNS": str(columns), "LINES": "50", "TERM": "dumb"}
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
