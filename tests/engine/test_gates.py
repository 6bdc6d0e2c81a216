"""The gates of a run: who waits, who tries, and who is let through when it is over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel
import pytest

from orchestrator.domain.errors import (
    InterruptedTransferError,
    NotSentError,
    RetryableError,
    ServiceUnreachableError,
    StoppedError,
    ThrottledError,
)
from orchestrator.domain.outage import OutagePolicy
from orchestrator.engine.drain import Drain
from orchestrator.engine.events import EventBus, OutageEvent
from orchestrator.engine.outage import GateTools, Outages

NO_CONNECTION = NotSentError("no connection")
TURN = nullcontext


@dataclass
class World:
    """A service that answers from *up_at* on, the gates before it, and what came to it."""

    error: type[RetryableError] = NotSentError
    status: int | None = None
    up_at: float = 60.0
    now: float = 0.0
    under_way: int = 0
    most_while_out: int = 0
    calls: int = 0
    events: list[object] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Open all gates."""
        self.slot = anyio.Lock()
        bus = EventBus(self.events.append)
        self.drain = Drain(self.sleep, bus)
        self.outages = Outages(
            GateTools(
                policy=OutagePolicy(),
                monotonic=lambda: self.now,
                draw=lambda: 0.5,
                drain=self.drain,
                events=bus,
            )
        )

    async def sleep(self, seconds: float) -> None:
        """Let the clock say so."""
        await anyio.lowlevel.checkpoint()
        self.now += seconds

    async def call(self, subject: int, operation: str = "show") -> None:
        """Call until it is answered."""
        while True:
            with suppress(RetryableError):
                async with self.outages.call(operation, subject, self.turn):
                    await self._ask()
                return

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """A slot of its own for each call, as a limiter gives them: the others wait, let through or not."""
        async with self.slot:
            yield

    async def _ask(self) -> None:
        self.calls += 1
        self.under_way += 1
        # What was under way when it went out is not alone; all that comes later is.
        if 0 < self.now < self.up_at:
            self.most_while_out = max(self.most_while_out, self.under_way)
        await anyio.lowlevel.checkpoint()
        self.under_way -= 1
        if self.now < self.up_at:
            raise self.error("out", status=self.status)


@pytest.mark.parametrize(
    ("error", "status"),
    [(NotSentError, None), (ThrottledError, 429), (InterruptedTransferError, 502)],
    ids=["no connection", "429", "502"],
)
async def test_one_call_at_a_time_tries_for_the_whole_run(error: type[RetryableError], status: int) -> None:
    """Whatever the calls are, and however many wait; and then all of them are let through."""
    world = World(error=error, status=status)

    async with anyio.create_task_group() as group:
        for number in range(40):
            group.start_soon(world.call, number, ("show", "list", "create")[number % 3])

    assert world.most_while_out == 1
    # Those that waited for their slot when it went out did not go on.
    assert world.calls < 40 + 15
    assert {event.side for event in world.events if isinstance(event, OutageEvent)} <= {
        "service",
        "service (show)",
        "service (list)",
        "service (create)",
    }


async def test_an_answer_to_what_was_under_way_opens_the_gate_at_once() -> None:
    """The one that waits for the next try does not sleep it out."""
    world = World()
    is_answered = anyio.Event()
    slept: list[float] = []

    async def long_call() -> None:
        async with world.outages.call("show", "long", TURN):
            await is_answered.wait()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        is_answered.set()
        await anyio.sleep_forever()

    world.drain = Drain(sleep, EventBus())
    world.outages = Outages(
        GateTools(
            policy=OutagePolicy(),
            monotonic=lambda: 0.0,
            draw=lambda: 0.5,
            drain=world.drain,
            events=EventBus(),
        )
    )
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(long_call)
            await anyio.lowlevel.checkpoint()
            with suppress(NotSentError):
                async with world.outages.call("show", "short", TURN):
                    raise NO_CONNECTION
            async with world.outages.call("show", "short", TURN):
                pass

    assert slept == [1.0]


async def test_a_limit_of_one_kind_of_call_holds_no_other_up() -> None:
    """The task quota is for creates."""
    world = World()
    with suppress(ThrottledError):
        async with world.outages.call("create", 1, TURN):
            raise ThrottledError("the task limit", status=403)

    async with world.outages.call("show", 2, TURN):
        pass
    async with world.outages.put("store", 3, TURN):
        pass

    assert world.now == 0.0


async def test_a_store_that_is_out_holds_no_other_store_up() -> None:
    """Each host is a side of its own."""
    world = World()
    with suppress(NotSentError):
        async with world.outages.put("one", 1, TURN):
            raise NO_CONNECTION

    async with world.outages.put("other", 1, TURN):
        pass

    assert world.now == 0.0


async def test_draining_ends_the_wait() -> None:
    """With the error that leaves an entry as it is."""
    world = World(up_at=1e9)
    stopped: list[int] = []

    async def call(number: int) -> None:
        try:
            await world.call(number)
        except StoppedError:
            stopped.append(number)

    async def stop(seconds: float) -> None:
        world.now += seconds
        if world.now > 30:
            world.drain.begin("a signal")

    world.sleep = stop  # type: ignore[method-assign] -- the drain calls it by name
    world.__post_init__()
    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(call, number)

    assert sorted(stopped) == list(range(10))


async def test_all_that_wait_are_told_when_it_is_over() -> None:
    """Each gets the error that ends the run."""
    world = World(up_at=1e9)
    ended: list[int] = []

    async def call(number: int) -> None:
        try:
            await world.call(number)
        except ServiceUnreachableError:
            ended.append(number)

    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(call, number)

    assert sorted(ended) == list(range(10))
    assert world.now == 900.0
