"""In every world one live job per entry, nothing of others touched, every object its file, and true words."""

from __future__ import annotations

import itertools

import pytest

from orchestrator.simulator import DIMENSIONS
from tests.crash.harness import Harness
from tests.crash.judge import judge
from tests.worlds.pairwise import SURROUNDINGS, pairwise, round_in

ROWS = pairwise()


def test_every_two_values_meet_in_some_world() -> None:
    """What a pairwise set promises, whatever made it."""
    dimensions = {**DIMENSIONS, **SURROUNDINGS}

    for first, second in itertools.combinations(dimensions, 2):
        met = {(row[first], row[second]) for row in ROWS}
        assert met == {*itertools.product(dimensions[first], dimensions[second])}, (first, second)
    print(f"{len(ROWS)} worlds")


@pytest.mark.long
@pytest.mark.parametrize("number", range(len(ROWS)))
def test_a_killed_batch_on_a_bad_day_ends_right(harness: Harness, number: int) -> None:
    """Lost creates, confirms and answers, portals in between, one kill -9; then to the end, and to review."""
    drawn = round_in(number, ROWS[number])

    played = harness.play(drawn)

    problems = judge(played).problems
    assert not problems, f"{drawn.world}; {drawn.kills[0]}:\n" + "\n".join(problems)
