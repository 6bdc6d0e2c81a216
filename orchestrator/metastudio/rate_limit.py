"""When a call may go: the rate of each kind of call, and the next attempt after one that failed."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Hashable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol, TypeVar

from orchestrator.domain.errors import (
    ConfigurationError,
    InterruptedTransferError,
    NotSentError,
    RetryableError,
    ServiceUnreachableError,
)
from orchestrator.domain.retry import Attempts, Draw, RetryPolicy

T = TypeVar("T")

#: Waits for what a request needs of its own, a slot of a limiter for example, and holds it.
Turn = Callable[[], AbstractAsyncContextManager[object]]
#: Lets a call (its operation, what it is about, its turn) through, and holds it back while the service is out.
#: Raises ServiceUnreachableError when that is so for too long; a failure that is part of an outage is marked as one.
Gate = Callable[[str, Hashable, Turn], AbstractAsyncContextManager[None]]

_UNREACHABLE_HINT = (
    "check --endpoint or --region, the name service and the proxy settings (HTTPS_PROXY); "
    "if they are right the service is down: run again later"
)


class ApiAttempt(NamedTuple):
    """One try of one call; `outcome` is "ok" or the error's kind."""

    operation: str
    attempt: int
    outcome: str
    status: int | None
    code: str | None
    request_id: str | None
    seconds: float


def ignore(_attempt: ApiAttempt) -> None:
    """Listen to no attempts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrying:
    """Tries a call as often as the policy allows; what fails in an outage, by *gate*, does not count."""

    policy: RetryPolicy
    sleep: Callable[[float], Awaitable[object]]
    draw: Draw
    gate: Gate | None = None

    async def run(
        self,
        attempt_once: Callable[[int], Awaitable[T]],
        *,
        operation: str,
        subject: Hashable = None,
        turn: Turn = nullcontext,
        is_repeatable: bool = True,
    ) -> T:
        """Await `attempt_once(attempt)`, from attempt 1, until it succeeds or the last error is final.

        *subject* is what the call is about, and each attempt takes a *turn*. A call that is not repeatable is tried
        again only while it provably was not carried out. Raises ServiceUnreachableError when the service is out for
        too long, or, without a gate, when every attempt ended without an answer; else the last error.
        """

        async def wait(error: RetryableError, attempts: Attempts) -> int:
            if isinstance(error, InterruptedTransferError) and not is_repeatable:
                raise error
            if error.is_outage:
                # The gate is what makes the next attempt wait.
                return 0
            delay = self.policy.delay_after(error, attempts.number, self.draw)
            if delay is None:
                is_silent = isinstance(error, InterruptedTransferError) and error.status is None
                if self.gate is not None or not (is_silent or isinstance(error, NotSentError)):
                    # With a gate the service answers others: it is this call that fails.
                    raise error
                number = attempts.made
                raise error.restated(
                    ServiceUnreachableError,
                    f"{error.message} ({number} attempts)",
                    hint=error.hint or _UNREACHABLE_HINT,
                ) from None
            if delay:
                await self.sleep(delay)
            return 1

        attempts = Attempts(wait)
        # No `async for`: nearly every call ends in its first round, and all calls of a batch come through here.
        while True:
            try:
                async with turn() if self.gate is None else self.gate(operation, subject, turn):
                    return await attempt_once(attempts.made)
            except RetryableError as error:
                await attempts.wait_after(error)


#: Steps are longer by so much than the rate asks for: of calls at 0, 0.5 and 1 s the last may be quicker on its way
#: than the first, and the service would count three in a second.
STEP_SLACK = 1.025


class CallKind(StrEnum):
    """The two classes the service limits separately (metastudio-protocol section 3)."""

    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class ApiRate:
    """Calls per second; 0 is no limit."""

    writes_per_second: float
    reads_per_second: float


def parse_api_rate(text: str) -> ApiRate:
    """Read `WRITES:READS`, for example `2:5`, or `unlimited`; raises ConfigurationError."""
    if text.strip().lower() == "unlimited":
        return ApiRate(0.0, 0.0)
    try:
        rates = [0.0 if part.strip().lower() == "unlimited" else float(part) for part in text.split(":")]
    except ValueError:
        rates = []
    if len(rates) != 2 or not all(math.isfinite(rate) and rate >= 0 for rate in rates):
        raise ConfigurationError(
            f"{text!r} is not a call rate",
            hint="write WRITES:READS per second, for example 2:5, or unlimited",
        )
    return ApiRate(*rates)


class Pacer(Protocol):
    """Lets calls go at a rate."""

    def slot(self, kind: CallKind) -> AbstractAsyncContextManager[None]:
        """Wait for a slot and hold it."""
        ...

    async def acquire(self, kind: CallKind) -> None:
        """Wait for a slot."""
        ...

    def back_off(self, kind: CallKind, seconds: float) -> None:
        """Let no call of this kind start for *seconds*, nor those that wait for a slot already."""
        ...


class RateLimiter:
    """Hands out slots in even steps, so that no second ever holds more calls than the rate.

    *clock* and *sleep* are in seconds; a rate of 0 is no limit.
    """

    def __init__(
        self,
        writes_per_second: float,
        reads_per_second: float,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        self._lanes = {
            CallKind.WRITE: _Lane(writes_per_second),
            CallKind.READ: _Lane(reads_per_second),
        }
        self._clock = clock
        self._sleep = sleep

    def slot(self, kind: CallKind) -> AbstractAsyncContextManager[None]:
        """Wait for a slot and hold it; a call takes no longer than its own time."""
        return Slot(self, kind)

    async def acquire(self, kind: CallKind) -> None:
        """Wait for a slot; a pause that begins meanwhile is waited for as well."""
        lane = self._lanes[kind]
        is_current = False
        while not is_current:
            # A pause that starts during the sleep makes the slot void: another one is taken after it.
            pauses = lane.pauses
            wait = lane.reserve(self._clock())
            if wait > 0:
                await self._sleep(wait)
            is_current = lane.pauses == pauses

    def back_off(self, kind: CallKind, seconds: float) -> None:
        """Let no call of this kind start for *seconds*, nor those that wait for a slot already."""
        self._lanes[kind].pause_until(self._clock() + seconds)


class Slot:
    """One call's slot; each call makes one, so it is no generator."""

    __slots__ = ("_kind", "_pacer")

    def __init__(self, pacer: Pacer, kind: CallKind) -> None:
        self._pacer = pacer
        self._kind = kind

    async def __aenter__(self) -> None:
        """Wait for the slot."""
        await self._pacer.acquire(self._kind)

    async def __aexit__(self, *_ended: object) -> None:
        """Nothing is given back: a slot is a moment."""


class _Lane:
    """The next free slot of one kind of call."""

    def __init__(self, per_second: float) -> None:
        self._interval = STEP_SLACK / per_second if per_second else 0.0
        self._next_slot = -math.inf
        self._paused_until = -math.inf
        self.pauses = 0

    def reserve(self, now: float) -> float:
        """Take the next slot; the seconds until it."""
        slot = max(self._next_slot, now)
        self._next_slot = slot + self._interval
        return slot - now

    def pause_until(self, end: float) -> None:
        """Let slots begin at *end* or after a longer pause; those who wait for one must take another."""
        self._paused_until = max(self._paused_until, end)
        # Slots handed out already are taken back by `pauses`, so the first one is free again.
        self._next_slot = self._paused_until
        self.pauses += 1
