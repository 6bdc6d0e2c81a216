"""Workers of a fleet that are killed, frozen, stopped and cut off: the others bring the batch to its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.fleet_playing import play_fleets
from tests.crash.fleet_rounds import SENT, Blow, draw_fleet_round, draw_freezes
from tests.postgres import postgres

__all__ = ["postgres"]

#: With each blow among them, while all workers are at work.
ROUNDS = (12, 14)


@pytest.mark.long
@pytest.mark.timeout(120)
def test_nothing_is_lost_or_doubled_whatever_strikes_the_workers(tmp_path: Path, postgres: str) -> None:
    """One live job per entry, every object its file, submitted once, no write of a worker that was taken over."""
    rounds = [draw_fleet_round(1, number, workers=3) for number in ROUNDS]

    report = play_fleets(tmp_path, rounds, postgres, at_once=2)

    assert not report.failures, "\n".join(report.failures)
    assert {*report.blows} == {*Blow}


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_worker_that_stops_right_before_it_sends_anything_sends_nothing_once_another_has_ended_the_entry(
    tmp_path: Path, postgres: str
) -> None:
    """At each point at which something is sent: it wakes, goes on from there, and neither sends nor writes."""
    rounds = [each for each in draw_freezes(1) if each.stops_at in {point.before for point in SENT}]

    report = play_fleets(tmp_path, rounds, postgres, at_once=5)

    assert not report.failures, "\n".join(report.failures)
    assert report.freezes == len(SENT)
