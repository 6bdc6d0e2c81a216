"""The rate of calls that hosts share, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import anyio
import pytest
from pgqueuer.ports.driver import Driver

from orchestrator.fleet.queue import open_queue
from orchestrator.fleet.rate_limit import SharedPacer
from orchestrator.metastudio.rate_limit import STEP_SLACK, ApiRate, CallKind

ENDPOINT, PROJECT = "https://metastudio.example.com", "p1"


class Calls:
    """The server, and how often it was asked."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.count = 0

    async def fetch(self, query: str, *arguments: object) -> list[dict[str, object]]:
        """Ask it."""
        self.count += 1
        return await self._driver.fetch(query, *arguments)

    async def execute(self, query: str, *arguments: object) -> str:
        """Tell it something."""
        return await self._driver.execute(query, *arguments)


class Host:
    """A worker's pacing, whose waits are written down and not waited for."""

    def __init__(self, driver: Driver, rate: ApiRate) -> None:
        self.waits: list[float] = []
        self.asked = Calls(driver)
        #: What happens during the next wait.
        self.meanwhile: Callable[[], Awaitable[object]] | None = None
        self.pacer = SharedPacer(self.asked, rate, ENDPOINT, PROJECT, self.sleep)

    async def sleep(self, seconds: float) -> None:
        """Take no time."""
        self.waits.append(seconds)
        await anyio.lowlevel.checkpoint()
        if self.meanwhile is not None:
            happens, self.meanwhile = self.meanwhile, None
            await happens()


@asynccontextmanager
async def host(state: str, rate: ApiRate) -> AsyncIterator[Host]:
    """A host with a connection of its own."""
    async with open_queue(state) as queries:
        yield Host(queries.driver, rate)


async def test_hosts_have_the_rate_together(state: str) -> None:
    """Twenty calls of two hosts in turn at ten per second are given the slots of two seconds, and no two the same."""
    async with host(state, ApiRate(10.0, 0.0)) as one, host(state, ApiRate(10.0, 0.0)) as other:
        for _ in range(10):
            await one.pacer.acquire(CallKind.WRITE)
            await other.pacer.acquire(CallKind.WRITE)
        await one.pacer.acquire(CallKind.READ)

    # Only the very first call need not wait; what the test itself takes shortens the others' waits.
    waits = sorted(one.waits + other.waits)
    assert len(waits) == 19
    assert waits[-1] == pytest.approx(1.9, abs=0.5)
    assert sum(waits) == pytest.approx(19.0, abs=6.0)


async def test_calls_that_come_together_ask_once_for_slots_of_their_own(state: str) -> None:
    """The first alone, all that come meanwhile together; steps are a little longer than the rate asks for."""
    async with host(state, ApiRate(10.0, 0.0)) as one, anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(one.pacer.acquire, CallKind.WRITE)

    waits = sorted(one.waits)
    # Each that had to wait asks once more, whether there was a pause.
    assert one.asked.count - len(waits) <= 2
    assert waits[-1] == pytest.approx(19 * 0.1 * STEP_SLACK, abs=0.1)
    steps = [later - earlier for earlier, later in pairwise(waits)]
    assert steps == pytest.approx([0.1 * STEP_SLACK] * len(steps), abs=0.02)


async def test_a_call_that_is_cut_off_takes_no_slot_from_those_who_asked_with_it(state: str) -> None:
    """The question is theirs as well."""
    async with host(state, ApiRate(10.0, 0.0)) as one:
        first = asyncio.ensure_future(one.pacer.acquire(CallKind.WRITE))
        others = [asyncio.ensure_future(one.pacer.acquire(CallKind.WRITE)) for _ in range(3)]
        await anyio.lowlevel.checkpoint()
        first.cancel()
        await asyncio.gather(*others)

    assert sorted(one.waits) == pytest.approx([0.1025, 0.205, 0.3075], abs=0.02)


async def test_a_pause_that_one_host_is_told_of_is_every_hosts(state: str) -> None:
    """A slot that was handed out before is void."""
    rate = ApiRate(10.0, 0.0)
    async with host(state, rate) as one, host(state, rate) as other:
        await one.pacer.acquire(CallKind.WRITE)
        one.pacer.back_off(CallKind.WRITE, 30.0)
        await one.pacer.acquire(CallKind.WRITE)

        async def pause() -> None:
            one.pacer.back_off(CallKind.WRITE, 60.0)
            await one.pacer.acquire(CallKind.READ)

        other.meanwhile = pause
        await other.pacer.acquire(CallKind.WRITE)

    assert one.waits[0] == pytest.approx(30.0, abs=1.0)
    assert other.waits[0] == pytest.approx(30.1, abs=1.0)
    assert other.waits[1] == pytest.approx(60.0, abs=1.0)
