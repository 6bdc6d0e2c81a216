"""Whether the service or a store is out, and when to try it again: a state machine without clock or I/O.

    open --a sign that it is down, or failures in a row--> out
    out --the next try begins--> probing
    probing --an answer--> open · --a failure--> out, with a longer wait · --its time is over--> over

An answer to anything opens it from wherever it is.
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

#: An outage that lasts longer ends the run (design section 4).
MAX_OUTAGE_SECONDS: Final = 900.0


class Sign(StrEnum):
    """What the end of a request says about the other side."""

    ANSWERED = "answered"  #: it works, whatever it said
    FAILED = "failed"  #: it may be out, or only this request is unlucky
    DOWN = "down"  #: it is out, for any request
    SILENT = "silent"  #: nothing


def sign_of(error: OrchestratorError | None) -> Sign:
    """What *error*, None for a success, says about the side that was asked."""
    if error is None:
        return Sign.ANSWERED
    if isinstance(error, NotSentError):
        return Sign.DOWN
    if isinstance(error, ThrottledError):
        return Sign.FAILED
    if isinstance(error, InterruptedTransferError):
        # A success that cannot be read comes from something in between; with a code it is the other side's own.
        is_answer = error.status is not None and error.status < 500 and error.code is not None
        return Sign.ANSWERED if is_answer else Sign.FAILED
    return Sign.SILENT if error.status is None else Sign.ANSWERED


class Phase(StrEnum):
    """Where a side stands."""

    OPEN = "open"
    OUT = "out"
    PROBING = "probing"
    OVER = "over"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutagePolicy:
    """How long an outage is waited for and how often it is probed; times in seconds.

    *first_patience_seconds* is for a service that has not answered once.
    """

    patience_seconds: float = MAX_OUTAGE_SECONDS
    first_patience_seconds: float = MAX_OUTAGE_SECONDS
    base_seconds: float = 1.0
    cap_seconds: float = 30.0
    retry_after_cap_seconds: float = 300.0
    failures: int = 4

    def wait_after(self, tries: int, retry_after: float | None, draw: float) -> float:
        """Seconds to the next try after *tries* probes; a wait the other side asked for is kept.

        A quarter more or less by *draw*, from [0, 1), so that many machines do not come back together.
        """
        # Beyond 2**16 the cap holds anyway, and a float would overflow.
        wait = min(self.cap_seconds, self.base_seconds * 2.0 ** min(tries, 16)) * (0.75 + draw / 2)
        return max(wait, min(retry_after or 0.0, self.retry_after_cap_seconds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One request that ended badly: *subject* is what it was about, *is_alone* that no other was under way."""

    at: float
    subject: Hashable
    sign: Sign
    is_alone: bool
    retry_after: float | None = None
    draw: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """One side as its requests show it; every event gives the next one. Times are of a monotonic clock."""

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
        """True when requests may go."""
        return self.phase is Phase.OPEN

    @property
    def patience_seconds(self) -> float:
        """How long an outage is waited for."""
        return self.policy.patience_seconds if self.has_answered else self.policy.first_patience_seconds

    def answered(self) -> Availability:
        """After an answer."""
        if self.is_open and self.has_answered and not self.failures:
            return self
        return Availability(policy=self.policy, has_answered=True)

    def failed(self, failure: Failure) -> Availability:
        """After a failure of a request that was under way.

        Failures in a row are an outage when they are not all of one subject, or nothing else is under way that
        could show whether it is only that one's.
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
        """While the one request that tries it is under way."""
        return replace(self, phase=Phase.PROBING)

    def probe_failed(self, failure: Failure) -> Availability:
        """After the probe failed: a longer wait, or none any more."""
        return self if self.phase is not Phase.PROBING else _out(replace(self, tries=self.tries + 1), failure)

    def probe_withdrawn(self, now: float) -> Availability:
        """After a probe that came to nothing: the next one may begin at once."""
        if self.phase is not Phase.PROBING:
            return self
        return replace(self, phase=Phase.OUT, next_try_at=now)


def _out(side: Availability, failure: Failure) -> Availability:
    ends_at = side.since + side.patience_seconds
    if failure.at >= ends_at:
        return replace(side, phase=Phase.OVER)
    wait = side.policy.wait_after(side.tries, failure.retry_after, failure.draw)
    return replace(side, phase=Phase.OUT, next_try_at=min(failure.at + wait, ends_at))
