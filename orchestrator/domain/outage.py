"""Outages of the service or a store, and when to try again: a state machine without clock or I/O.

    open --a sign that it is down, or failures in a row--> out
    out --the next try begins--> probing
    probing --an answer--> open · --a failure--> out, with a longer wait · --its time is over--> over

An answer to any request opens it from every state.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from orchestrator.domain.errors import (
    InterruptedTransferError,
    NotSentError,
    OrchestratorError,
    ThrottledError,
)

#: A longer outage ends the run (design section 4).
MAX_OUTAGE_SECONDS: Final = 900.0


class Sign(StrEnum):
    """The sign that the end of a request gives about the other side."""

    ANSWERED = "answered"  #: it works, whatever it answered
    FAILED = "failed"  #: it may be out, or only this request was unlucky
    DOWN = "down"  #: it is out, for any request
    SILENT = "silent"  #: no sign


def sign_of(error: OrchestratorError | None) -> Sign:
    """Return the sign that *error*, None for a success, gives about the side that was called."""
    if error is None:
        return Sign.ANSWERED
    if isinstance(error, NotSentError):
        return Sign.DOWN
    if isinstance(error, ThrottledError):
        return Sign.FAILED
    if isinstance(error, InterruptedTransferError):
        # A success that cannot be parsed comes from something in between; with a code it is the other side's own.
        is_answer = error.status is not None and error.status < 500 and error.code is not None
        return Sign.ANSWERED if is_answer else Sign.FAILED
    return Sign.SILENT if error.status is None else Sign.ANSWERED


class Phase(StrEnum):
    """The phase of one side."""

    OPEN = "open"
    OUT = "out"
    PROBING = "probing"
    OVER = "over"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutagePolicy:
    """The policy for outages: how long to wait for the end of one and how often to probe; times in seconds.

    *first_patience_seconds* applies to a service that has not answered yet.
    """

    patience_seconds: float = MAX_OUTAGE_SECONDS
    first_patience_seconds: float = MAX_OUTAGE_SECONDS
    base_seconds: float = 1.0
    cap_seconds: float = 30.0
    retry_after_cap_seconds: float = 300.0
    failures: int = 4

    def wait_after(self, tries: int, retry_after: float | None, draw: float) -> float:
        """Return the seconds until the next try after *tries* probes; a wait the other side asked for is honored.

        *draw*, from [0, 1), makes it up to a quarter longer or shorter, so that many machines do not return together.
        """
        # Beyond 2**16 the cap applies anyway, and a float would overflow.
        wait = min(self.cap_seconds, self.base_seconds * 2.0 ** min(tries, 16)) * (0.75 + draw / 2)
        return max(wait, min(retry_after or 0.0, self.retry_after_cap_seconds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A failed request: *subject* is what it was about, *is_alone* is True if no other request was in flight."""

    at: float
    subject: Hashable
    sign: Sign
    is_alone: bool
    retry_after: float | None = None
    draw: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """The availability of one side, judged by its requests; every event returns the next one.

    Times are of a monotonic clock.
    """

    policy: OutagePolicy
    phase: Phase = Phase.OPEN
    has_answered: bool = False
    failures: int = 0
    failing: frozenset[Hashable] = frozenset()
    since: float = 0.0  #: of the first failure after the last answer
    tries: int = 0
    next_try_at: float = 0.0

    @property
    def is_open(self) -> bool:
        """True when requests may be sent."""
        return self.phase is Phase.OPEN

    @property
    def patience_seconds(self) -> float:
        """The maximum time to wait for the end of an outage."""
        return self.policy.patience_seconds if self.has_answered else self.policy.first_patience_seconds

    def answered(self) -> Availability:
        """Return the availability after an answer."""
        if self.is_open and self.has_answered and not self.failures:
            return self
        return Availability(policy=self.policy, has_answered=True)

    def failed(self, failure: Failure) -> Availability:
        """Return the availability after the failure of a request that was in flight.

        Failures in a row are an outage if they concern several subjects, or if no other request is in flight that
        could show whether only this subject is affected.
        """
        if not self.is_open:
            return self
        noted = replace(
            self,
            failures=self.failures + 1,
            failing=self.failing | {failure.subject},
            since=self.since if self.failures else failure.at,
        )
        is_general = failure.is_alone or len(noted.failing) > 1
        if failure.sign is Sign.DOWN or (noted.failures >= self.policy.failures and is_general):
            return _out(noted, failure)
        return noted

    def probing(self) -> Availability:
        """Return the availability while the one probe is in flight."""
        return replace(self, phase=Phase.PROBING)

    def probe_failed(self, failure: Failure) -> Availability:
        """Return the availability after the probe failed: out with a longer wait, or over."""
        return self if self.phase is not Phase.PROBING else _out(replace(self, tries=self.tries + 1), failure)

    def probe_withdrawn(self, now: float) -> Availability:
        """Return the availability after a probe without a result: the next one may begin at once."""
        if self.phase is not Phase.PROBING:
            return self
        return replace(self, phase=Phase.OUT, next_try_at=now)


def _out(side: Availability, failure: Failure) -> Availability:
    ends_at = side.since + side.patience_seconds
    if failure.at >= ends_at:
        return replace(side, phase=Phase.OVER)
    wait = side.policy.wait_after(side.tries, failure.retry_after, failure.draw)
    return replace(side, phase=Phase.OUT, next_try_at=min(failure.at + wait, ends_at))
