"""Trying a call again: when, for how long, and the record of each attempt."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

from orchestrator.domain.errors import (
    InterruptedTransferError,
    NotSentError,
    OrchestratorError,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiAttempt:
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
                raise self._final_error(error, attempts.made) from None
            if delay:
                await self.sleep(delay)
            return 1

        async for attempt in Attempts(wait):
            with attempt:
                async with turn() if self.gate is None else self.gate(operation, subject, turn):
                    answer = await attempt_once(attempt.made)
        return answer

    def _final_error(self, error: RetryableError, attempts: int) -> OrchestratorError:
        is_silent = isinstance(error, InterruptedTransferError) and error.status is None
        if self.gate is not None or not (is_silent or isinstance(error, NotSentError)):
            # With a gate the service answers others: it is this call that fails.
            return error
        return error.restated(
            ServiceUnreachableError,
            f"{error.message} ({attempts} attempts)",
            hint=error.hint or _UNREACHABLE_HINT,
        )
