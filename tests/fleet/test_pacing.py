"""The rate of calls that hosts share, on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import anyio
import pytest

from orchestrator.fleet.pacing import SharedPacer
from orchestrator.fleet.queue import install, open_queue
from orchestrator.metastudio.pacing import ApiRate, CallKind
from tests.postgres import postgres, schema_of

__all__ = ["postgres"]

ENDPOINT, PROJECT = "https://metastudio.example.com", "p1"


@pytest.fixture
def state(postgres: str) -> Iterator[str]:
    """A schema with the tables of a fleet."""
    with schema_of(postgres) as url:
        anyio.run(install, url)
        yield url


class Host:
    """A worker's pacing, whose waits are written down and not waited for."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.pacer: SharedPacer

    async def sleep(self, seconds: float) -> None:
        """Take no time."""
        self.waits.append(seconds)
        await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def host(state: str, rate: ApiRate) -> AsyncIterator[Host]:
    """A host with a connection of its own."""
    made = Host()
    async with open_queue(state) as queries:
        made.pacer = SharedPacer(queries.driver, rate, ENDPOINT, PROJECT, made.sleep)
        yield made


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


async def test_a_pause_that_one_host_is_told_of_is_every_hosts(state: str) -> None:
    """A slot that was handed out before is void."""
    rate = ApiRate(10.0, 0.0)
    async with host(state, rate) as one, host(state, rate) as other:
        await one.pacer.acquire(CallKind.WRITE)
        one.pacer.back_off(CallKind.WRITE, 30.0)
        await one.pacer.acquire(CallKind.WRITE)
        await other.pacer.acquire(CallKind.WRITE)

        async def pause_meanwhile(_seconds: float) -> None:
            if len(other.waits) == 1:
                one.pacer.back_off(CallKind.WRITE, 60.0)
                await one.pacer.acquire(CallKind.READ)
            other.waits.append(_seconds)

        other.waits.clear()
        other.waits.append(0.0)
        other.pacer = SharedPacer(other.pacer._driver, rate, ENDPOINT, PROJECT, pause_meanwhile)
        await other.pacer.acquire(CallKind.WRITE)

    assert one.waits[0] == pytest.approx(30.0, abs=1.0)
    assert other.waits[1] == pytest.approx(30.2, abs=1.0)
    assert other.waits[2] == pytest.approx(60.0, abs=1.0)
