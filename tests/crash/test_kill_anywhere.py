"""Kill -9 at named points, any number of times: afterwards one run makes all good."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.playing import play_all
from tests.crash.rounds import draw_round

ROUNDS = 20


@pytest.mark.long
@pytest.mark.timeout(120)
def test_nothing_is_lost_or_doubled_whenever_runs_are_killed(tmp_path: Path) -> None:
    """One live job per entry, every object its file, confirmed and submitted once, no part sent without need."""
    rounds = [draw_round(1, number) for number in range(ROUNDS)]

    report = play_all(tmp_path, rounds, workers=2)

    assert not report.failures, "\n".join(report.failures)
    assert report.kills_by_point.total() >= ROUNDS
