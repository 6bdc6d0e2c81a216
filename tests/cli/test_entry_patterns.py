"""`--entry` takes an id, or a pattern for many; one that means nothing is a mistake."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from orchestrator.simulator import Simulator
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
    "command", [["cancel", "--yes"], ["retry"], ["verify"]], ids=lambda command: command[0]
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
