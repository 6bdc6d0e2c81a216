"""Workers of a fleet that are killed, frozen, stopped and cut off: the others bring the batch to its end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.crash.fleet_playing import play_fleets
from tests.crash.fleet_rounds import SENT, Blow, Strike, draw_fleet_round, draw_freezes
from tests.postgres import postgres

__all__ = ["postgres"]

STRIKES = (
    Strike(40, Blow.RESTART, away_seconds=1.0),
    Strike(60, Blow.CUT, 0),
    Strike(80, Blow.KILL),
    Strike(80, Blow.CRASH),
    Strike(140, Blow.FREEZE),
    Strike(200, Blow.STOP),
)


@pytest.mark.long
@pytest.mark.timeout(120)
def test_nothing_is_lost_or_doubled_whatever_strikes_the_workers_and_the_server(tmp_path: Path) -> None:
    """One live job per entry, every object its file, submitted once, no write of a worker that was taken over."""
    drawn = replace(draw_fleet_round(1, 9, workers=3), strikes=STRIKES)

    report = play_fleets(tmp_path, [drawn], at_once=1)

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
