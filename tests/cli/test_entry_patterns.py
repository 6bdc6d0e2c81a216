"""`--entry` takes an id, or a pattern for many; one that means nothing is a mistake."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from orchestrator.simulator import Simulator, SimulatorOptions
from tests.cli.conftest import Batch, Cli


def states(cli: Cli) -> Mapping[str, str]:
    """The state of each entry."""
    document = cli("results", "studio", "--json").document
    return {entry["entry"]: entry["state"] for entry in document["results"]}


@pytest.mark.usefixtures("simulator")
def test_a_pattern_cancels_and_brings_back_what_it_matches(cli: Cli, batch: Batch) -> None:
    """The others stay as they are."""
    batch.write(batch.entry("take-1"), batch.entry("take-2"), batch.entry("bo"))
    cli("run", batch.manifest)

    assert cli("cancel", "studio", "--entry", "take-*", "--yes").exit_code == 0
    assert states(cli) == {"take-1": "cancelled", "take-2": "cancelled", "bo": "confirmed"}
    assert cli("retry", "studio", "--entry", "*-2").exit_code == 0
    assert states(cli) == {"take-1": "cancelled", "take-2": "confirmed", "bo": "confirmed"}


@pytest.mark.usefixtures("simulator")
def test_an_id_with_the_signs_of_a_pattern_is_itself(cli: Cli, batch: Batch) -> None:
    """Before it is a pattern."""
    batch.write(batch.entry("anna") | {"id": "take[1]"}, batch.entry("bo") | {"id": "take1"})
    cli("run", batch.manifest)

    assert cli("cancel", "studio", "--entry", "take[1]", "--yes").exit_code == 0

    assert states(cli) == {"take[1]": "cancelled", "take1": "confirmed"}


@pytest.mark.parametrize(
    "command",
    [["cancel", "--yes"], ["retry"], ["verify"], ["watch"], ["status"], ["results"]],
    ids=lambda command: command[0],
)
def test_a_pattern_without_a_match_is_a_usage_error(
    cli: Cli, batch: Batch, simulator: Simulator, command: list[str]
) -> None:
    """Also beside one that matches; nothing is done."""
    cli("run", batch.manifest)
    requests = simulator.stats.requests.total()

    result = cli(*command, "studio", "--entry", "an*", "--entry", "zoe*")

    assert result.exit_code == 2
    assert "zoe*" in result.stderr
    assert simulator.stats.requests.total() == requests
    assert set(states(cli).values()) == {"confirmed"}


@pytest.fixture
def takes(cli: Cli, batch: Batch, simulator: Simulator) -> None:
    """Two takes and another entry, confirmed."""
    del simulator
    batch.write(batch.entry("take-1"), batch.entry("take-2"), batch.entry("bo"))
    assert cli("run", batch.manifest).exit_code == 0


@pytest.mark.usefixtures("takes")
def test_status_lists_what_a_pattern_means_and_shows_one_by_its_id(cli: Cli) -> None:
    """A pattern is a list also where one entry fits; several ids are one as well."""
    listed = cli("status", "studio", "--entry", "take-*", "--json").document
    single = cli("status", "studio", "--entry", "b*", "--json").document
    both = cli("status", "studio", "--entry", "bo", "--entry", "take-1", "--json").document
    whole = cli("status", "studio", "--entry", "bo", "--json").document
    table = cli("status", "studio", "--entry", "take-*").stdout

    assert [one["entry"] for one in listed["results"]] == ["take-1", "take-2"]
    assert [one["entry"] for one in single["results"]] == ["bo"]
    assert [one["entry"] for one in both["results"]] == ["take-1", "bo"]
    assert (whole["entry"], len(whole["assets"])) == ("bo", 4)
    assert [line.split()[0] for line in table.splitlines()[1:3]] == ["take-1", "take-2"]
    assert "bo " not in table


@pytest.mark.usefixtures("takes")
def test_status_takes_a_pattern_and_a_state_together(cli: Cli) -> None:
    """Entries that fit both."""
    cli("cancel", "studio", "--entry", "take-1", "--yes")

    document = cli("status", "studio", "--entry", "take-*", "--in-state", "cancelled", "--json").document

    assert [one["entry"] for one in document["results"]] == ["take-1"]


@pytest.mark.usefixtures("takes")
def test_results_of_a_pattern_are_a_table_of_those(cli: Cli) -> None:
    """Also as a document."""
    table = cli("results", "studio", "--entry", "take-*").stdout.splitlines()
    document = cli("results", "studio", "--entry", "b*", "--json").document

    assert [line.split(",")[0] for line in table] == ["id", "take-1", "take-2"]
    assert [one["entry"] for one in document["results"]] == ["bo"]


@pytest.mark.parametrize("simulator_options", [SimulatorOptions(speed=1e9)])
@pytest.mark.usefixtures("takes")
def test_watch_follows_what_a_pattern_means(cli: Cli) -> None:
    """And counts no other."""
    cli("submit", "studio")

    result = cli("watch", "studio", "--entry", "take-*", "--interval", "0.01", "--json")

    assert result.exit_code == 0
    assert result.document["groups"] == {"done": 2}
    assert [one["entry"] for one in result.document["entries"]] == ["take-1", "take-2"]
    assert states(cli) == {"take-1": "trained", "take-2": "trained", "bo": "submitted"}
