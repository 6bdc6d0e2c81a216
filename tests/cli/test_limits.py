"""A night that must not take longer, or send more, than it was given; logs that must not grow for ever."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.simulator import Simulator
from tests.cli.conftest import Batch, Cli

SMALL = ("--part-size", "100KiB", "-p", "1", "-j", "1")


@pytest.mark.parametrize(
    "limit",
    [("--max-transfer", "300k"), ("--max-duration", "0.3s", "--bwlimit", "500k")],
    ids=lambda one: one[0],
)
def test_a_run_that_reaches_its_limit_finishes_what_is_on_its_way_and_ends_with_5(
    cli: Cli, batch: Batch, simulator: Simulator, limit: tuple[str, ...]
) -> None:
    """The limit is named; the next run sends only the rest, and nothing twice."""
    first = cli("run", batch.manifest, *SMALL, *limit, "--json")

    assert (first.exit_code, first.document["exit_code"]) == (5, 5)
    assert first.document["error"]["kind"] == "limit"
    assert f"stopped: {limit[0]} " in first.stderr
    assert first.document["entries"]["pending"] >= 1
    sent = first.document["segments"]["sent"]
    assert first.document["segments"]["retried"] == 0

    second = cli("run", batch.manifest, *SMALL, "--json")
    assert (second.exit_code, second.document["entries"]["done"]) == (0, 2)
    assert second.document["segments"]["sent"] == second.document["segments"]["total"] - sent
    assert len(simulator.jobs) == 2


@pytest.mark.usefixtures("simulator")
def test_a_limit_that_leaves_nothing_undone_is_a_good_day(cli: Cli, batch: Batch) -> None:
    """It may be reached with the last bytes, or not at all."""
    result = cli("run", batch.manifest, "--max-transfer", "1G", "--max-duration", "1h", "--json")

    assert (result.exit_code, result.document["entries"]["done"]) == (0, 2)
    assert "error" not in result.document


@pytest.mark.parametrize(
    "limit", [("--max-transfer", "0"), ("--max-duration", "0"), ("--max-duration", "soon")]
)
def test_a_limit_of_nothing_is_a_usage_error(cli: Cli, batch: Batch, limit: tuple[str, str]) -> None:
    """Nothing could ever be done under it."""
    assert cli("run", batch.manifest, *limit).exit_code == 2


@pytest.mark.parametrize("rate", ["10", "08:00,10 20:00,off", "9999"])
def test_a_bandwidth_without_a_suffix_is_asked_back(cli: Cli, batch: Batch, rate: str) -> None:
    """Other programs take it in kilobytes or megabytes; 10 bytes a second would take years."""
    result = cli("run", batch.manifest, "--bwlimit", rate)

    number = "9999" if rate == "9999" else "10"
    assert result.exit_code == 2
    assert f"{number} bytes a second; did you mean {number}M?" in result.stderr


@pytest.mark.parametrize("rate", ["10B", "1k", "20000", "20M"])
def test_a_bandwidth_that_is_meant_is_shown_as_it_can_be_given_again(cli: Cli, rate: str) -> None:
    """What `config show` prints is accepted."""
    shown = cli("config", "show", "--bwlimit", rate, "--json").document["settings"]["bwlimit"]["value"]

    again = cli("config", "show", "--bwlimit", shown, "--json").document["settings"]["bwlimit"]["value"]
    assert again == shown


@pytest.mark.usefixtures("simulator")
def test_a_large_log_is_put_aside_and_five_older_ones_are_kept(
    cli: Cli, batch: Batch, tmp_path: Path
) -> None:
    """Each is whole lines, none is lost between two, and all are private."""
    log = tmp_path / "run.log"
    cli("run", batch.manifest, "-v", "--log-file", log, "--log-max-size", "2k")

    names = sorted(path.name for path in tmp_path.glob("run.log*"))
    assert names == ["run.log", *(f"run.log.{number}" for number in range(1, 6))]
    times: list[str] = []
    for number in (5, 4, 3, 2, 1, None):
        path = log if number is None else log.with_name(f"run.log.{number}")
        times += [json.loads(line)["timestamp"] for line in path.read_text(encoding="utf-8").splitlines()]
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.stat().st_size < 4000
    assert times == sorted(times)
