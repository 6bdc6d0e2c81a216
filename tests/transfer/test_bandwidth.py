"""The bandwidth limit on a virtual clock, and once on a real connection."""

from __future__ import annotations

import random
import time
from collections import Counter
from datetime import datetime

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.assets import Segment
from orchestrator.domain.errors import ConfigurationError
from orchestrator.domain.quantities import Timetable, parse_timetable
from orchestrator.transfer.bandwidth import BandwidthLimit
from tests.transfer.conftest import EVERY_BODY, MakeAsset, MakeSender, ignore
from tests.transfer.store import serving, store_it

MB = 1_000_000
NOON = datetime(2026, 3, 4, 12, 0).timestamp()  # noqa: DTZ001 - timetables are in local time


def at(hours: float) -> float:
    """So many hours as seconds of a day."""
    return hours * 3600


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("20M", {0: 20 * MB, 12: 20 * MB, 23.99: 20 * MB}),
        (" 512KiB ", {12: 512 * 1024}),
        ("off", {12: None}),
        ("OFF", {12: None}),
        ("08:00,5M 20:00,off", {7.99: None, 8: 5 * MB, 19.99: 5 * MB, 20: None, 23.99: None}),
        ("20:30,off 8:00,5M", {8: 5 * MB, 20.49: 5 * MB, 20.5: None, 3: None}),
        ("22:00,1M", {3: MB, 23: MB}),
    ],
)
def test_a_bandwidth_is_a_rate_or_a_timetable(text: str, rates: dict[float, int | None]) -> None:
    """The step of the evening holds until the first one of the morning."""
    timetable = parse_timetable(text)

    assert {hours: timetable.bytes_per_second(at(hours)) for hours in rates} == rates


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "0",
        "fast",
        "-5M",
        "08:00",
        "24:00,5M",
        "08:60,5M",
        "8,5M",
        "08:00,5M 20M",
        "08:00,1M 8:00,2M",
    ],
)
def test_what_is_no_bandwidth_is_a_configuration_error(text: str) -> None:
    """The hint shows every way to write one."""
    with pytest.raises(ConfigurationError) as caught:
        parse_timetable(text)

    assert "08:00,5M 20:00,off" in (caught.value.hint or "")


class Link:
    """PUTs on a virtual clock whose sleeps take a little too long, and what they sent when."""

    def __init__(self, bandwidth: str, *, began: float = NOON, oversleep: float = 0.0) -> None:
        self.now = 0.0
        self.sent: list[tuple[float, str, int]] = []
        self._began = began
        self._oversleep = oversleep
        self._random = random.Random(1)
        self.limit = BandwidthLimit(
            parse_timetable(bandwidth),
            clock=lambda: self._began + self.now,
            monotonic=lambda: self.now,
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self.now += seconds + self._random.uniform(0, self._oversleep)
        await anyio.lowlevel.checkpoint()

    async def put(self, share: str, until: float, wanted: int = 2 * 1024 * 1024) -> None:
        """Send as much as one PUT may until then."""
        pace = self.limit.share(share)
        while self.now < until:
            count = await pace(wanted)
            assert 0 < count <= wanted
            self.sent.append((self.now, share, count))
            await anyio.lowlevel.checkpoint()

    async def run(self, puts: list[str], until: float) -> None:
        """Send as the named shares, one PUT for each name."""
        async with anyio.create_task_group() as group:
            for share in puts:
                group.start_soon(self.put, share, until)

    async def until(self, moment: float) -> None:
        """Let the PUTs go on until then."""
        while self.now < moment:
            await anyio.lowlevel.checkpoint()

    def sent_between(self, start: float, end: float) -> int:
        """The bytes granted in a time."""
        return sum(count for moment, _, count in self.sent if start <= moment < end)

    def had_between(self, start: float, end: float) -> Counter[str]:
        """The bytes granted in a time, by share."""
        had = Counter[str]()
        for moment, share, count in self.sent:
            had[share] += count if start <= moment < end else 0
        return had


@pytest.mark.parametrize("rate", [30_000, 5 * MB, 50 * MB])
@pytest.mark.parametrize("puts", [1, 16])
async def test_thirty_seconds_hold_the_limit_within_three_percent(rate: int, puts: int) -> None:
    """Sleeps that take too long are made up for."""
    link = Link(str(rate), oversleep=0.01)

    await link.run(["entry"] * puts, until=30.0)

    assert link.sent_between(0, 30) == pytest.approx(30 * rate, rel=0.03)


@given(
    rate=st.integers(100_000, 200 * MB),
    puts=st.lists(st.sampled_from("abc"), min_size=1, max_size=8),
    oversleep=st.sampled_from([0.0, 0.005, 0.5]),
)
@settings(max_examples=25, deadline=None)
def test_no_second_holds_a_burst(rate: int, puts: list[str], oversleep: float) -> None:
    """Whatever was missed, a second carries at most a tenth more and one turn."""
    link = Link(str(rate), oversleep=oversleep)

    anyio.run(link.run, puts, 4.0)

    turn = max(rate * 0.02, 4096) + 1
    assert all(
        link.sent_between(start, start + 1.0) <= rate * 1.1 + turn
        for start in {moment for moment, _, _ in link.sent}
    )


async def test_entries_share_equally_however_many_puts_they_have() -> None:
    """An entry with one PUT gets as much as one with fifteen."""
    link = Link("10M")

    await link.run(["many"] * 15 + ["one", "two", "two"], until=10.0)

    shares = link.had_between(0, 10)
    assert all(shares[name] == pytest.approx(10 * 10 * MB / 3, rel=0.03) for name in ("many", "one", "two"))


async def test_an_entry_that_comes_late_gets_its_share_at_once() -> None:
    """What the others had before counts for nothing, and however many PUTs they have."""
    link = Link("10M")
    async with anyio.create_task_group() as group:
        for _ in range(15):
            group.start_soon(link.put, "early", 6.0)
        await link.until(3.0)
        group.start_soon(link.put, "late", 6.0)

    for end in (3.5, 4.0, 6.0):
        had = link.had_between(3.0, end)
        assert had["late"] == pytest.approx(had["early"], rel=0.1)


async def test_an_entry_that_sends_one_segment_after_another_is_not_starved() -> None:
    """What it misses while it waits for an answer it makes up for."""
    link = Link("10M")

    async def one_by_one() -> None:
        while link.now < 10.0:
            await link.put("one by one", link.now + 0.2)
            await link.until(link.now + 0.05)

    async with anyio.create_task_group() as group:
        for _ in range(15):
            group.start_soon(link.put, "many", 10.0)
        group.start_soon(one_by_one)

    had = link.had_between(0.0, 10.0)
    assert had["one by one"] == pytest.approx(had["many"], rel=0.05)


async def test_nobody_saves_up_bandwidth() -> None:
    """An entry that had nothing to send for a while does not shut the others out afterwards."""
    link = Link("10M")
    async with anyio.create_task_group() as group:
        group.start_soon(link.put, "steady", 3.0)
        group.start_soon(link.put, "pausing", 0.5)
        await link.until(2.0)
        for _ in range(4):
            group.start_soon(link.put, "pausing", 3.0)

    had = link.had_between(2.0, 3.0)
    assert had["steady"] == pytest.approx(5 * MB, rel=0.15)


async def test_a_share_that_nobody_uses_goes_to_the_others() -> None:
    """The limit is reached by one entry alone, too."""
    link = Link("10M")
    async with anyio.create_task_group() as group:
        group.start_soon(link.put, "short", 1.0)
        group.start_soon(link.put, "long", 5.0)

    assert link.sent_between(2, 5) == pytest.approx(3 * 10 * MB, rel=0.03)


async def test_a_timetable_changes_the_limit_while_puts_wait() -> None:
    """At the full hour another rate holds, and off is no limit at all."""
    link = Link("12:00,1M 13:00,4M 14:00,off", began=NOON + 3590)

    await link.run(["entry"] * 4, until=20.0)

    assert link.sent_between(0, 10) == pytest.approx(10 * MB, rel=0.03)
    assert link.sent_between(10, 20) == pytest.approx(40 * MB, rel=0.03)


async def test_the_limit_can_be_replaced_while_it_is_waited_for() -> None:
    """Who waits at a slow rate goes on at the new one, and without any at once."""
    link = Link("1K")
    has_waited = 0

    async def sleep(seconds: float) -> None:
        nonlocal has_waited
        has_waited += 1
        link.now += seconds
        if has_waited == 5:
            link.limit.change(Timetable())
        await anyio.lowlevel.checkpoint()

    link.limit = BandwidthLimit(
        parse_timetable("1K"), clock=lambda: NOON, monotonic=lambda: link.now, sleep=sleep
    )
    pace = link.limit.share("entry")

    granted = [await pace(MB) for _ in range(4)]

    assert granted[0] == 4096
    assert granted[-1] == MB
    assert link.limit.bytes_per_second is None


async def test_a_put_that_is_cancelled_holds_nobody_up() -> None:
    """Its place goes to the next, whether it was the first in the line or not."""
    waiting = anyio.Event()

    async def sleep(_: float) -> None:
        waiting.set()
        await anyio.sleep_forever()

    limit = BandwidthLimit(parse_timetable("1M"), clock=lambda: NOON, monotonic=lambda: 0.0, sleep=sleep)

    async def put(share: str) -> None:
        pace = limit.share(share)
        while True:
            await pace(MB)

    async with anyio.create_task_group() as first:
        first.start_soon(put, "first")
        await waiting.wait()
        async with anyio.create_task_group() as second:
            second.start_soon(put, "second")
            await anyio.wait_all_tasks_blocked()
            second.cancel_scope.cancel()
        first.cancel_scope.cancel()

    limit.change(parse_timetable("2M"))
    with anyio.fail_after(1):
        assert await limit.share("third")(5) == 5


@EVERY_BODY
async def test_a_put_keeps_to_the_limit(make_asset: MakeAsset, make_sender: MakeSender) -> None:
    """A segment takes as long as its bytes need at the limit."""
    asset = make_asset(1_200_000)
    limit = BandwidthLimit(parse_timetable("4M"))
    began = time.monotonic()

    async with serving(store_it) as store:
        segment = Segment(1, 0, asset.size)
        await make_sender().put(asset, segment, store.url(), ignore, limit.share("entry"))

    assert len(store.requests[0].body) == asset.size
    assert time.monotonic() - began > 0.17
