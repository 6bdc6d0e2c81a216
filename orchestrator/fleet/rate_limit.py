"""The limits that all workers of a project share on the server: the call rate, and the brake."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.metastudio.rate_limit import STEP_SLACK, ApiRate, CallKind, Slot

if TYPE_CHECKING:
    # Importing it takes longer than `fleet status` itself.
    from pgqueuer.ports.driver import Driver

#: Created by `fleet install`. `next_slot` is in epoch seconds of the server's clock, which all hosts use. `pauses`
#: counts the pauses; each one voids the slots handed out before it.
CREATE_TABLE: Final = """CREATE TABLE IF NOT EXISTS call_slots (
    scope TEXT PRIMARY KEY, next_slot DOUBLE PRECISION NOT NULL, pauses BIGINT NOT NULL DEFAULT 0, reason TEXT)"""
_NOW: Final = "extract(epoch FROM clock_timestamp())::double precision"
#: How long no worker takes an entry after the service has refused several for the same reason.
BRAKE_SECONDS: Final = 600.0
BRAKE_SCOPE: Final = "entries:"


class _Slots(NamedTuple):
    """The slots of one query: seconds until the first, seconds between them, and the number of pauses so far."""

    wait: float
    step: float
    pauses: int


class _Lane:
    """The slots of one kind of call. All calls that arrive during a query share the next query."""

    def __init__(self, driver: Driver, scope: str, per_second: float) -> None:
        self._driver = driver
        self._scope = scope
        self._step = STEP_SLACK / per_second if per_second else 0.0
        self._one_question = asyncio.Lock()
        self._next: asyncio.Future[_Slots] | None = None
        self._wanted = 0

    async def take(self) -> tuple[float, int]:
        """Return the seconds until a slot, and the number of pauses, which shows later whether the slot is void."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._ask())
        place, self._wanted = self._wanted, self._wanted + 1
        # A caller that gives up leaves its slot unused; the others still need theirs.
        slots = await asyncio.shield(self._next)
        return slots.wait + place * slots.step, slots.pauses

    async def _ask(self) -> _Slots:
        async with self._one_question:
            taken = self._wanted * self._step
            self._next, self._wanted = None, 0
            (row,) = await self._driver.fetch(
                "INSERT INTO call_slots AS mine (scope, next_slot)"
                f" VALUES ($1, {_NOW} + $2) ON CONFLICT (scope) DO UPDATE"
                f" SET next_slot = greatest(mine.next_slot, {_NOW}) + $2"
                f" RETURNING next_slot - $2 - {_NOW} AS wait, pauses",
                self._scope,
                taken,
            )
        return _Slots(float(str(row["wait"])), self._step, int(str(row["pauses"])))

    async def pauses(self) -> int:
        """Return the number of pauses so far."""
        (row,) = await self._driver.fetch("SELECT pauses FROM call_slots WHERE scope = $1", self._scope)
        return int(str(row["pauses"]))

    async def pause(self, seconds: float) -> None:
        """Void the slots that were handed out, and let none begin for *seconds*."""
        await self._driver.execute(
            "INSERT INTO call_slots AS mine (scope, next_slot, pauses)"
            f" VALUES ($1, {_NOW} + $2, 1) ON CONFLICT (scope) DO UPDATE"
            f" SET next_slot = greatest(mine.next_slot, {_NOW} + $2), pauses = mine.pauses + 1",
            self._scope,
            seconds,
        )


class SharedPacer:
    """A pacer with evenly spaced slots for all workers of a project at an endpoint, which share *rate*.

    Its methods raise JournalError when the server is unreachable for too long.
    """

    def __init__(
        self,
        driver: Driver,
        rate: ApiRate,
        endpoint: str,
        project_id: str,
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        rates = {CallKind.WRITE: rate.writes_per_second, CallKind.READ: rate.reads_per_second}
        self._lanes = {
            kind: _Lane(driver, f"{kind}:{endpoint}:{project_id}", rates[kind]) for kind in CallKind
        }
        self._sleep = sleep
        self._pausing: set[asyncio.Task[None]] = set()

    def slot(self, kind: CallKind) -> AbstractAsyncContextManager[None]:
        """Wait for a slot; nothing is held after that."""
        return Slot(self, kind)

    async def acquire(self, kind: CallKind) -> None:
        """Wait for a slot, and for any pause that a worker begins during the wait."""
        lane = self._lanes[kind]
        while True:
            if self._pausing:
                await asyncio.gather(*self._pausing)
            wait, pauses = await lane.take()
            if wait <= 0:
                return
            await self._sleep(wait)
            if await lane.pauses() == pauses:
                return

    def back_off(self, kind: CallKind, seconds: float) -> None:
        """Let no call of this kind start for *seconds*, on any host; waiting calls take another slot."""
        pausing = asyncio.ensure_future(self._lanes[kind].pause(seconds))
        self._pausing.add(pausing)
        pausing.add_done_callback(self._pausing.discard)


class Pulled(NamedTuple):
    """The reason why no worker takes an entry, and the remaining seconds."""

    reason: str
    seconds: float


class Brake:
    """A brake that stops all workers of a project at an endpoint from taking entries after repeated refusals."""

    def __init__(self, driver: Driver, *, endpoint: str, project_id: str) -> None:
        self._driver = driver
        self._scope = f"{BRAKE_SCOPE}{endpoint}:{project_id}"

    async def pull(self, reason: str) -> None:
        """Pull the brake for all hosts."""
        await self._driver.execute(
            f"INSERT INTO call_slots (scope, next_slot, reason) VALUES ($1, {_NOW} + $2, $3)"
            " ON CONFLICT (scope) DO UPDATE SET next_slot = excluded.next_slot, reason = excluded.reason",
            self._scope,
            BRAKE_SECONDS,
            reason,
        )

    async def pulled(self) -> Pulled | None:
        """Return why and for how long the brake is pulled; None if it is not."""
        rows = await self._driver.fetch(
            f"SELECT reason, next_slot - {_NOW} AS seconds FROM call_slots"
            f" WHERE scope = $1 AND next_slot > {_NOW}",
            self._scope,
        )
        return Pulled(str(rows[0]["reason"]), float(str(rows[0]["seconds"]))) if rows else None


async def release_brakes(driver: Driver) -> list[str]:
    """Let the workers of all projects take entries again; returns the reasons of the brakes that were pulled."""
    rows = await driver.fetch(
        f"DELETE FROM call_slots WHERE scope LIKE $1 RETURNING reason, next_slot > {_NOW} AS is_pulled",
        f"{BRAKE_SCOPE}%",
    )
    return [str(row["reason"]) for row in rows if row["is_pulled"]]
