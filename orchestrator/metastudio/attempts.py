"""Trying a call again: the loop around one attempt, and the record of each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from orchestrator.domain.errors import (
    InterruptedTransferError,
    NotSentError,
    OrchestratorError,
    RetryableError,
    ServiceUnreachableError,
)
from orchestrator.domain.retry import Draw, RetryPolicy

T = TypeVar("T")

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
    """Tries a call as often as the policy allows."""

    policy: RetryPolicy
    sleep: Callable[[float], Awaitable[object]]
    draw: Draw

    async def run(self, attempt_once: Callable[[int], Awaitable[T]], *, is_repeatable: bool = True) -> T:
        """Await `attempt_once(attempt)`, from attempt 1, until it succeeds or the last error is final.

        A call that is not repeatable is tried again only while it provably was not carried out. Raises
        ServiceUnreachableError when every attempt ended without an answer, else the last error.
        """
        attempt = 1
        while True:
            try:
                return await attempt_once(attempt)
            except RetryableError as error:
                delay = self._delay_after(error, attempt, is_repeatable=is_repeatable)
                if delay is None:
                    raise _final_error(error, attempt, is_repeatable=is_repeatable) from None
            await self.sleep(delay)
            attempt += 1

    def _delay_after(self, error: RetryableError, attempt: int, *, is_repeatable: bool) -> float | None:
        if isinstance(error, InterruptedTransferError) and not is_repeatable:
            return None
        return self.policy.delay_after(error, attempt, self.draw)


def _final_error(error: RetryableError, attempts: int, *, is_repeatable: bool) -> OrchestratorError:
    is_silent = isinstance(error, InterruptedTransferError) and error.status is None and is_repeatable
    if not (is_silent or isinstance(error, NotSentError)):
        return error
    return ServiceUnreachableError(
        f"{error.message} ({attempts} attempts)",
        hint=error.hint or _UNREACHABLE_HINT,
        code=error.code,
        request_id=error.request_id,
        status=error.status,
    )
