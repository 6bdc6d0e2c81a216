"""`--events`: the lines of whole commands, where they go, and what does not change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.simulator import Simulator, SimulatorOptions
from tests.cli.conftest import SECRETS, Batch, Cli
from tests.cli.documents import check_document

pytestmark = pytest.mark.usefixtures("simulator")


@pytest.fixture
def simulator_options() -> SimulatorOptions:
    """A service whose reviews are quick."""
    return SimulatorOptions(speed=1e9)


def lines_in(text: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        check_document("events", line)
    return lines


def test_a_batch_from_its_start_to_its_reviews_in_one_file(
    cli: Cli, batch: Batch, simulator: Simulator, tmp_path: Path
) -> None:
    """Several commands append to it, and each line is what the published schema says."""
    path = tmp_path / "events.jsonl"
    simulator.faults.script("put", ["reset"])
    batch.write(batch.entry("anna") | {"name": "review-fail"}, batch.entry("bo"))
    cli("run", batch.manifest, "--submit", "--events", path)
    cli("watch", "studio", "--interval", "0.01", "--events", path)

    lines = lines_in(path.read_text(encoding="utf-8"))

    types = {line["type"] for line in lines}
    assert {
        "run.started",
        "entry.started",
        "entry.transitioned",
        "segment.stored",
        "request.retry_scheduled",
        "job.state_changed",
        "run.finished",
    } <= types
    assert {line["batch"] for line in lines} == {"studio"}
    assert {line.get("entry") for line in lines} == {None, "anna", "bo"}
    (rejected,) = (line for line in lines if line.get("group") == "review failed")
    assert rejected["entry"] == "anna"
    assert not any(secret in path.read_text(encoding="utf-8") for secret in SECRETS)


def test_with_a_dash_stdout_has_the_lines_and_nothing_else(cli: Cli, batch: Batch) -> None:
    """People read their table on stderr."""
    result = cli("run", batch.manifest, "--events", "-")

    assert lines_in(result.stdout)[-1]["type"] == "run.finished"
    assert "exit code 0" in result.stderr
    assert result.exit_code == 0


def test_stdout_cannot_be_two_things(cli: Cli, batch: Batch) -> None:
    """One document, or many lines."""
    result = cli("run", batch.manifest, "--events", "-", "--json")

    assert result.exit_code == 2
    assert "--events - and --json both write to stdout" in result.stderr


def test_a_full_disk_takes_the_events_and_not_the_run(cli: Cli, batch: Batch) -> None:
    """One warning, and the run's own exit code."""
    result = cli("run", batch.manifest, "--events", "/dev/full", "--progress", "none")

    assert result.exit_code == 0
    assert result.stderr.count("events are not written to /dev/full") == 1


def test_in_a_config_file_the_path_starts_from_the_file_and_a_dash_is_stdout(cli: Cli, batch: Batch) -> None:
    """As every path of a config file."""
    config = batch.folder / "orchestrator.toml"
    config.write_text('events = "events.jsonl"\n')
    cli("run", batch.manifest)
    assert lines_in((batch.folder / "events.jsonl").read_text(encoding="utf-8"))

    config.write_text('events = "-"\n')
    assert lines_in(cli("run", batch.manifest).stdout)
