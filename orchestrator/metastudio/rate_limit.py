"""The pacing of calls: the rate of each kind of call, and the retries after failures."""

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

#: Waits for a resource that a request needs, for example a slot of a limiter, and holds it.
Turn = Callable[[], AbstractAsyncContextManager[object]]
#: Admits a call, given its operation, its subject and its slot, and holds it back while the service is out. Raises
#: ServiceUnreachableError when an outage lasts too long; marks a failure that is part of an outage.
Gate = Callable[[str, Hashable, Turn], AbstractAsyncContextManager[None]]

_UNREACHABLE_HINT = (
    "check --endpoint or --region, the name service and the proxy settings (HTTPS_PROXY); "
    "if they are right the service is down: run again later"
)


class ApiAttempt(NamedTuple):
    """One attempt of one call; `outcome` is "ok" or the error's kind."""

    operation: str
    attempt: int
    outcome: str
    status: int | None
    code: str | None
    request_id: str | None
    seconds: float


def ignore(_attempt: ApiAttempt) -> None:
    """Ignore an attempt; the default callback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrying:
    """Repeats a call as often as the policy allows; attempts that fail in an outage, by *gate*, do not count."""

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
        """Await `attempt_once(attempt)`, from attempt 1, until it succeeds or an error is final.

        *subject* identifies the target of the call, and each attempt holds a *turn*. A call that is not repeatable is
        retried only while it provably was not carried out. Raises ServiceUnreachableError when an outage lasts too
        long or, without a gate, when the last attempt ended without an answer; otherwise the last error.
        """

        async def wait(error: RetryableError, attempts: Attempts) -> int:
            if isinstance(error, InterruptedTransferError) and not is_repeatable:
                raise error
            if error.is_outage:
                # The gate makes the next attempt wait.
                return 0
            delay = self.policy.delay_after(error, attempts.number, self.draw)
            if delay is None:
                is_silent = isinstance(error, InterruptedTransferError) and error.status is None
                if self.gate is not None or not (is_silent or isinstance(error, NotSentError)):
                    # With a gate the service answers other calls, so only this call fails.
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
        # No `async for`: nearly every call ends in its first round, and all calls of a batch pass through here.
        while True:
            try:
                async with turn() if self.gate is None else self.gate(operation, subject, turn):
                    return await attempt_once(attempts.made)
            except RetryableError as error:
                await attempts.wait_after(error)


#: The factor by which steps are longer than the rate requires. Of calls at 0, 0.5 and 1 s the last may travel faster
#: than the first, and the service would count three within a second.
STEP_SLACK = 1.025


class CallKind(StrEnum):
    """The two classes of calls that the service limits separately (metastudio-protocol section 3)."""

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
    """Limits the rate of calls."""

    def slot(self, kind: CallKind) -> AbstractAsyncContextManager[None]:
        """Wait for a slot; nothing is held after that."""
        ...

    async def acquire(self, kind: CallKind) -> None:
        """Wait for a slot."""
        ...

    def back_off(self, kind: CallKind, seconds: float) -> None:
        """Let no call of this kind start for *seconds*, including those already waiting for a slot."""
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
        """Wait for a slot; nothing is held after that."""
        return Slot(self, kind)

    async def acquire(self, kind: CallKind) -> None:
        """Wait for a slot, and for any pause that begins during the wait."""
        lane = self._lanes[kind]
        is_current = False
        while not is_current:
            # A pause that starts during the sleep voids the slot; another one is reserved after it.
            pauses = lane.pauses
            wait = lane.reserve(self._clock())
            if wait > 0:
                await self._sleep(wait)
            is_current = lane.pauses == pauses

    def back_off(self, kind: CallKind, seconds: float) -> None:
        """Let no call of this kind start for *seconds*, including those already waiting for a slot."""
        self._lanes[kind].pause_until(self._clock() + seconds)


class Slot:
    """The slot of one call; a class rather than a generator, because every call makes one."""

    __slots__ = ("_kind", "_pacer")

    def __init__(self, pacer: Pacer, kind: CallKind) -> None:
        self._pacer = pacer
        self._kind = kind

    async def __aenter__(self) -> None:
        """Wait for the slot."""
        await self._pacer.acquire(self._kind)

    async def __aexit__(self, *_ended: object) -> None:
        """Do nothing: a slot is a moment in time and need not be released."""


class _Lane:
    """The next free slot of one kind of call."""

    def __init__(self, per_second: float) -> None:
        self._interval = STEP_SLACK / per_second if per_second else 0.0
        self._next_slot = -math.inf
        self._paused_until = -math.inf
        self.pauses = 0

    def reserve(self, now: float) -> float:
        """Reserve the next slot and return the seconds until it."""
        slot = max(self._next_slot, now)
        self._next_slot = slot + self._interval
        return slot - now

    def pause_until(self, end: float) -> None:
        """Start slots at *end* or after a longer pause; callers that wait for one must reserve another."""
        self._paused_until = max(self._paused_until, end)
        # `pauses` voids the slots reserved so far, so the first slot after the pause is free.
        self._next_slot = self._paused_until
        self.pauses += 1
