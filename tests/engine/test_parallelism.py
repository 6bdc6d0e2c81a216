"""`-p auto` on links that are a formula and a virtual clock."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.assets import AssetKind
from orchestrator.domain.quantities import parse_timetable
from orchestrator.engine.context import MAX_AUTO_PARALLEL
from orchestrator.engine.events import (
    EntryFinished,
    EntryStarted,
    Event,
    EventBus,
    ParallelismAdjusted,
    Point,
    RetryScheduled,
    SegmentProgressed,
    StepReached,
)
from orchestrator.engine.parallelism import (
    FIRST_PARALLEL,
    AdaptiveParallelism,
    HillClimber,
    Reason,
)
from orchestrator.transfer.bandwidth import BandwidthLimit, PutSlots
from tests.rig import Rig, no_sleep

MB = 1_000_000.0
STEP_SECONDS = 0.1
#: What the kernel takes for a new connection before any of it has reached the store.
ABSORBED_BYTES = 700_000


@dataclass
class Link:
    """So many bytes a second for each connection and for all of them, and what a climber makes of it."""

    per_connection: float
    total: float
    noise: float = 0.3
    seed: int = 0
    is_limit_reached: bool = True
    #: How much faster young connections are, and for how long: their windows have met no loss yet.
    youth: float = 0.0
    youth_seconds: float = 15.0
    now: float = 0.0
    sent: list[tuple[float, float]] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.climber = HillClimber(lambda: self.now)

    def run(self, until: float) -> None:
        """Send as much as goes through."""
        while self.now < until:
            self.now += STEP_SECONDS
            count = self.climber.parallel
            per_connection = self.per_connection * (1 + self.youth * (self.now < self.youth_seconds))
            rate = min(count * per_connection, self.total) * max(0.0, self.random.gauss(1, self.noise))
            self.sent.append((self.now, rate * STEP_SECONDS))
            self.counts.append(count)
            self.climber.moved(int(rate * STEP_SECONDS))
            if self.climber.decide(is_limit_reached=self.is_limit_reached):
                self.climber.moved(max(self.climber.parallel - count, 0) * ABSORBED_BYTES)

    def share_of_best(self, start: float, end: float) -> float:
        """Goodput in a time, as a share of what the most connections would reach."""
        best = min(MAX_AUTO_PARALLEL * self.per_connection, self.total)
        return sum(count for moment, count in self.sent if start < moment <= end) / (end - start) / best


LINKS = [
    (1.1 * MB, 11.8 * MB),  # 100 Mbit/s, 50 ms, one packet in a thousand lost
    (1.1 * MB, 6 * MB),
    (0.3 * MB, 12 * MB),
    (50 * MB, 12 * MB),  # one connection is enough
    (0.4 * MB, 40 * MB),  # even the most are not
    (3 * MB, 60 * MB),
]


@pytest.mark.parametrize(("per_connection", "total"), LINKS)
@pytest.mark.parametrize("seed", range(10))
def test_it_finds_nine_tenths_of_a_link_in_thirty_seconds_and_keeps_them(
    per_connection: float, total: float, seed: int
) -> None:
    """Wherever the knee is, and although what is measured is off by a few percent."""
    link = Link(per_connection, total, seed=seed)

    link.run(until=180)

    assert max(link.counts) <= MAX_AUTO_PARALLEL
    assert link.share_of_best(20, 30) >= 0.9
    assert min(link.share_of_best(start, start + 30) for start in (30, 60, 90, 120, 150)) >= 0.9


def test_connections_that_bring_nothing_are_given_back() -> None:
    """Where one connection fills the link, there are fewer in the end than in the beginning of the climb."""
    link = Link(50 * MB, 12 * MB, noise=0.05)

    link.run(until=600)

    assert max(link.counts[:90]) > FIRST_PARALLEL
    assert set(link.counts[90:190]) == {FIRST_PARALLEL}
    assert max(link.counts[-600:]) <= FIRST_PARALLEL
    assert link.share_of_best(300, 600) >= 0.97


def test_probes_that_bring_nothing_become_rare() -> None:
    """At the knee every step is wrong, so that few are taken."""
    link = Link(1 * MB, FIRST_PARALLEL * MB, noise=0.0)
    link.run(until=300)

    link.run(until=600)

    late = link.counts[3000:]
    assert 2 <= sum(before != after for before, after in itertools.pairwise(late)) <= 12
    assert link.share_of_best(300, 600) >= 0.98


def test_connections_that_slow_down_with_age_are_joined_by_more() -> None:
    """What sixteen new connections reach they do not keep on a lossy link: then the ascent begins anew."""
    link = Link(0.4 * MB, 12 * MB, noise=0.1, youth=1.0)

    link.run(until=60)

    assert link.share_of_best(0, 10) >= 0.9
    assert link.share_of_best(32, 60) >= 0.9


@pytest.mark.parametrize(("before", "after"), [(12 * MB, 3 * MB), (3 * MB, 12 * MB)])
def test_it_follows_a_link_that_changes(before: float, after: float) -> None:
    """Another route or another user: the new optimum is found as well."""
    link = Link(1.1 * MB, before, noise=0.1)
    link.run(until=60)

    link.total = after
    link.run(until=240)

    assert link.share_of_best(180, 240) >= 0.9


def test_an_overload_halves_once_for_all_who_met_it() -> None:
    """Sixteen refusals of one moment are one overload; the next comes seconds later."""
    link = Link(1 * MB, 100 * MB, noise=0.0)
    link.run(until=12)
    count = link.climber.parallel

    halvings = []
    for _ in range(16):
        link.climber.overloaded()
        halvings.append(link.climber.decide(is_limit_reached=True))
    link.run(until=link.now + 3.5)
    link.climber.overloaded()
    again = link.climber.decide(is_limit_reached=True)

    assert [(done.before, done.after, done.reason) for done in halvings if done] == [
        (count, count // 2, Reason.OVERLOAD)
    ]
    assert again is not None
    assert again.after == count // 4


def test_it_climbs_again_after_an_overload() -> None:
    """A store that was busy for a moment gets all it can take later."""
    link = Link(1 * MB, 30 * MB, noise=0.1)
    link.run(until=30)
    link.climber.overloaded()

    link.run(until=150)

    assert max(link.counts[310:330]) <= 20
    assert link.share_of_best(120, 150) >= 0.9


def test_nothing_is_judged_while_there_is_less_work_than_room() -> None:
    """The last segments of a batch say nothing about the link."""
    link = Link(1 * MB, 100 * MB, is_limit_reached=False)

    link.run(until=60)

    assert set(link.counts) == {FIRST_PARALLEL}


@given(
    st.lists(
        st.tuples(st.integers(-5_000_000, 50_000_000), st.booleans(), st.booleans(), st.floats(0.01, 5.0)),
        max_size=200,
    )
)
@settings(max_examples=50, deadline=None)
def test_the_number_stays_within_its_bounds(steps: list[tuple[int, bool, bool, float]]) -> None:
    """Whatever happens, in whatever order, and bytes that are taken back too."""
    now = 0.0
    climber = HillClimber(lambda: now)
    for count, is_overloaded, is_limit_reached, seconds in steps:
        now += seconds
        climber.moved(count)
        if is_overloaded:
            climber.overloaded()
        before = climber.parallel
        done = climber.decide(is_limit_reached=is_limit_reached)

        assert 1 <= climber.parallel <= MAX_AUTO_PARALLEL
        assert (done.before, done.after) == (before, climber.parallel) if done else before == climber.parallel


class Governed:
    """PUT slots that are governed, the clock, and the decisions published."""

    def __init__(self) -> None:
        self.now = 0.0
        self.events: list[Event] = []
        self.slots = PutSlots(1, BandwidthLimit())
        self.bus = EventBus(self.events.append)
        self.bus.subscribe(AdaptiveParallelism(self.slots, self.bus, lambda: self.now))

    def progressed(self, count: int) -> None:
        """Publish that bytes were taken."""
        self.bus.publish(
            SegmentProgressed(
                batch="studio", entry="anna", asset=AssetKind.TRAINING_VIDEO, part_number=1, bytes=count
            )
        )

    def retried(self, *, kind: str, code: str | None = None, asset: AssetKind | None) -> None:
        """Publish that an attempt failed."""
        self.bus.publish(
            RetryScheduled(
                batch="studio",
                entry="anna",
                operation="put",
                asset=asset,
                attempt=1,
                delay=1.0,
                kind=kind,
                code=code,
                request_id=None,
                message="busy",
            )
        )


@pytest.fixture
async def governed() -> AsyncIterator[Governed]:
    """Every slot is held, as by a run that has more to send."""
    governed = Governed()
    async with AsyncExitStack() as puts:
        for _ in range(FIRST_PARALLEL):
            await puts.enter_async_context(governed.slots.slot("anna"))
        yield governed


async def test_decisions_move_the_slots_and_are_events(governed: Governed) -> None:
    """The first is to double what is governed."""
    assert governed.slots.total == FIRST_PARALLEL

    for _ in range(100):
        governed.now += STEP_SECONDS
        governed.progressed(100_000)
        if governed.slots.total > FIRST_PARALLEL:
            break

    decision = governed.events[-1]
    assert isinstance(decision, ParallelismAdjusted)
    assert (decision.before, decision.after, decision.reason) == (16, 32, "ascent")
    assert decision.goodput == pytest.approx(1 * MB, rel=0.1)
    assert decision.name == "parallelism.adjusted"
    assert governed.slots.total == 32


@pytest.mark.parametrize(
    ("kind", "code", "asset", "is_halved"),
    [
        ("throttled", "SlowDown", AssetKind.COVER, True),
        ("throttled", None, AssetKind.TRAINING_VIDEO, True),
        ("interrupted", "IdleTimeout", AssetKind.TRAINING_VIDEO, True),
        ("unreachable", "ConnectTimeout", AssetKind.TRAINING_VIDEO, True),
        ("interrupted", None, AssetKind.TRAINING_VIDEO, False),
        ("integrity", None, AssetKind.TRAINING_VIDEO, False),
        ("throttled", "MSS.429", None, False),
    ],
)
async def test_only_puts_that_meet_an_overload_halve_the_number(
    governed: Governed, kind: str, code: str | None, asset: AssetKind | None, is_halved: bool
) -> None:
    """Broken connections, wrong bytes and throttled service calls do not."""
    governed.retried(kind=kind, code=code, asset=asset)

    assert governed.slots.total == FIRST_PARALLEL / (2 if is_halved else 1)


@pytest.mark.parametrize("parallel", [None, 3])
async def test_a_run_keeps_to_its_parallelism(rig: Rig, parallel: int | None) -> None:
    """With a number no more PUTs are under way at once; without one it begins low, and the batch is delivered."""
    entries = rig.make_entries(2, size=3_000_000)

    report = await rig.run({"parallel": parallel, "part_bytes": 128 * 1024})

    assert report.exit_code == 0
    assert 1 < rig.simulator.stats.puts_in_flight.maximum <= (parallel or FIRST_PARALLEL)
    rig.assert_delivered(entries)


async def test_while_bandwidth_is_limited_no_entry_takes_the_puts_of_another(rig: Rig) -> None:
    """Bytes can only be shared by entries that are sending; here each may send two segments at a time."""
    entries = rig.make_entries(2, size=3_000_000)
    bandwidth = BandwidthLimit(parse_timetable("1G"), sleep=no_sleep)

    work = rig.work_settings({"parallel": 4, "part_bytes": 128 * 1024}, bandwidth=bandwidth)
    report = await rig.run(work=work)

    assert report.exit_code == 0
    at_work, puts, most = set[str](), Counter[str](), Counter[str]()
    for event in rig.events:
        if isinstance(event, EntryStarted):
            at_work.add(event.entry)
        elif isinstance(event, EntryFinished):
            at_work.discard(event.entry)
        elif isinstance(event, StepReached) and event.point in {Point.PUT.before, Point.PUT.after}:
            puts[event.entry] += 1 if event.point == Point.PUT.before else -1
            if len(at_work) == 2:
                most[event.entry] = max(most[event.entry], puts[event.entry])
    assert most == {"avatar-0": 2, "avatar-1": 2}
    rig.assert_delivered(entries)
