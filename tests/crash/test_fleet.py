"""Workers of a fleet that are killed, frozen, stopped and cut off: the batch comes to its end, and that once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.crash.fleet_harness import Arrival, Cut, FleetPlayed, Frozen, Struck
from tests.crash.fleet_judge import delayed_sends, idle_takeovers, late_sends, sends_for_others
from tests.crash.fleet_playing import play_fleets
from tests.crash.fleet_rounds import (
    CUTS,
    HOLD_SECONDS,
    SENT,
    Blow,
    Strike,
    draw_fleet_round,
    draw_freezes,
    draw_network_round,
)
from tests.crash.harness import Played
from tests.crash.network import Link, missing
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
AWAY_SECONDS = HOLD_SECONDS + 1.0
LINKS_CUT = (
    Strike(30, Blow.DATABASE_LINK, away_seconds=AWAY_SECONDS),
    Strike(70, Blow.SERVICE_LINK, away_seconds=AWAY_SECONDS),
    Strike(110, Blow.BOTH_LINKS, away_seconds=AWAY_SECONDS),
    Strike(150, Blow.DATABASE_LINKS, away_seconds=AWAY_SECONDS),
    # The last: while all are cut, no other blow could meet one.
    Strike(210, Blow.SERVICE_LINKS, away_seconds=AWAY_SECONDS),
)
DATABASE, SERVICE = (Link.DATABASE,), (Link.SERVICE,)


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
    assert {*report.blows} == {*Blow} - {*CUTS}


@pytest.mark.long
@pytest.mark.timeout(180)
def test_hosts_whose_links_are_cut_for_longer_than_the_hold_do_no_harm_then_or_when_they_are_back(
    tmp_path: Path,
) -> None:
    """Three in a network of their own, each cut from PostgreSQL, from the service, or both, alone or with the others.

    As above, and a host that is cut from PostgreSQL sends nothing any more by the end of the hold.
    """
    if reason := missing():
        pytest.skip(reason)
    drawn = replace(draw_network_round(1, 2, workers=3), strikes=LINKS_CUT)

    report = play_fleets(tmp_path, [drawn], at_once=1)

    assert not report.failures, "\n".join(report.failures)
    assert {*report.blows} == {*CUTS}
    assert report.takeovers[Blow.DATABASE_LINK]


def sent(at: float, cut: Cut | None = None, *, begun_at: float | None = None) -> FleetPlayed:
    """What worker 0 sends for Anna arrives at *at*, when it is also begun if not before; 1 has claimed her at 3."""
    done = played()
    entry = done.round.drawn.entries[0]
    done.pids = [11, 22]
    done.claims = [
        (entry.entry_id, "host process 11 since 0", 0.0),
        (entry.entry_id, "host process 22 since 0", 3.0),
    ]
    done.arrived = [Arrival(at, at if begun_at is None else begun_at, 0, "POST /jobs", entry.name)]
    done.cuts = [cut] if cut else []
    return done


@pytest.mark.parametrize(
    ("begun_at", "at", "cut", "is_wrong", "is_delayed"),
    [
        pytest.param(2.8, 2.9, None, False, False, id="before the claim"),
        pytest.param(3.1, 3.1, None, True, False, id="after it"),
        pytest.param(2.8, 3.1, None, True, False, id="after it, begun before, with nothing to delay it"),
        pytest.param(2.8, 6.1, Cut(0, SERVICE, 1.0, False, 6.0), False, True, id="when the link is back"),
        pytest.param(
            0.9,
            3.1,
            Cut(0, SERVICE, 1.0, False, 2.9),
            False,
            True,
            id="the link was back right before the claim",
        ),
        pytest.param(
            3.1,
            6.1,
            Cut(0, SERVICE, 1.0, False, 6.0),
            True,
            False,
            id="begun after the claim, without a link",
        ),
        pytest.param(
            2.95,
            3.1,
            Cut(0, SERVICE, 1.0, False, 2.9),
            True,
            False,
            id="begun when the link was back already",
        ),
        pytest.param(
            2.8, 12.0, Cut(0, SERVICE, 1.0, False, 6.0), True, False, id="long after the link is back"
        ),
        pytest.param(2.8, 6.1, Cut(1, SERVICE, 1.0, False, 6.0), True, False, id="another's link was away"),
        pytest.param(
            2.8, 6.1, Cut(0, DATABASE, 1.0, False, 6.0), True, False, id="the link to PostgreSQL was away"
        ),
    ],
)
def test_what_a_host_sends_for_an_entry_that_another_has_is_found(
    begun_at: float, at: float, cut: Cut | None, is_wrong: bool, is_delayed: bool
) -> None:
    """Unless it was on its way already, over a link that was away since."""
    done = sent(at, cut, begun_at=begun_at)

    assert bool(sends_for_others(done)) is is_wrong
    assert bool(delayed_sends(done)) is is_delayed


@pytest.mark.parametrize(
    ("at", "is_late"), [(1.0 + HOLD_SECONDS, False), (1.1 + HOLD_SECONDS, True), (9.1, False)]
)
def test_what_a_host_sends_without_postgresql_after_the_hold_is_found(at: float, is_late: bool) -> None:
    """Until it has its link back."""
    assert bool(late_sends(sent(at, Cut(0, DATABASE, 1.0, False, 9.0)))) is is_late


@pytest.mark.parametrize(("begun_at", "is_late"), [(0.8, False), (1.2, True)])
def test_what_was_under_way_when_postgresql_went_away_is_not_late(begun_at: float, is_late: bool) -> None:
    """The link to the service was away until right before."""
    done = sent(1.5 + HOLD_SECONDS, Cut(0, DATABASE, 1.0, False, 9.0), begun_at=begun_at)
    done.cuts.append(Cut(0, SERVICE, -3.0, False, 0.9))

    assert bool(late_sends(done)) is is_late


@pytest.mark.parametrize(
    ("sent", "gone", "is_wrong"),
    [
        pytest.param({}, set(), False, id="nothing"),
        pytest.param({"put": 1}, set(), True, id="a PUT"),
        pytest.param({"delete": 1}, {"late"}, False, id="the delete of a job that only it knows"),
        pytest.param({"delete": 1}, {"kept"}, True, id="the delete of the entry's job"),
        pytest.param({"delete": 1}, set(), True, id="a delete of nothing"),
        pytest.param({"delete": 2}, {"late"}, True, id="two deletes"),
        pytest.param({"delete": 1, "list": 1}, {"late"}, True, id="more than the delete"),
    ],
)
def test_what_a_woken_worker_sends_is_found(sent: dict[str, int], gone: set[str], is_wrong: bool) -> None:
    """Unless it deletes the job that its late create made."""
    journal = {"entries": {'{"entry_id": "anna", "job_id": "kept"}'}}
    jobs = {"kept", "late"}
    frozen = Frozen([{"create": 2}, {"create": 2, **sent}], [journal, journal], [jobs, jobs - gone])

    assert bool(frozen.problems) is is_wrong


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
