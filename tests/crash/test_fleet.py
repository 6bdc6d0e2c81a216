"""Workers of a fleet that are killed, frozen, stopped and cut off: the others bring the batch to its end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.crash.fleet_harness import FleetPlayed, Struck
from tests.crash.fleet_judge import idle_takeovers
from tests.crash.fleet_playing import play_fleets
from tests.crash.fleet_rounds import SENT, Blow, Strike, draw_fleet_round, draw_freezes
from tests.crash.harness import Played
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


def played(*struck: Struck, outage: tuple[float, float] | None = None) -> FleetPlayed:
    """A round of three workers, each with a place for all entries."""
    drawn = draw_fleet_round(1, 9, workers=3)
    drawn = replace(drawn, jobs=len(drawn.drawn.entries))
    return FleetPlayed(drawn, Played(drawn.drawn, Path()), [*struck], outages=[outage] if outage else [])


@pytest.mark.parametrize(
    ("others", "outage", "timed"),
    [
        pytest.param([], None, [2.5], id="nothing else"),
        pytest.param([(2, 5.0)], None, [2.5], id="another strike afterwards"),
        pytest.param([(2, 1.5)], None, [], id="the heir may have died of it"),
        pytest.param([(2, -9.0), (3, -8.0)], None, [], id="no worker was spared"),
        pytest.param([], (1.0, 2.0), [], id="the server was away"),
        pytest.param([], (-3.0, -1.0), [], id="the server had just come back"),
        pytest.param([], (-9.0, -8.0), [2.5], id="the server was away before"),
    ],
)
def test_a_takeover_is_timed_where_an_idle_worker_could_make_it(
    others: list[tuple[int, float]], outage: tuple[float, float] | None, timed: list[float]
) -> None:
    """Others are as late as their rounds make them."""
    kill = Struck(Strike(1, Blow.KILL), 0.0, 1, [("anna", 1)], [2.5])
    struck = [Struck(Strike(1, Blow.FREEZE), at, pid, []) for pid, at in others]

    assert idle_takeovers(played(kill, *struck, outage=outage), kill) == timed


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
