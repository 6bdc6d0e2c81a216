"""Adaptive parallelism: finding a good number of concurrent PUTs while they run (`-p auto`)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from orchestrator.engine.context import MAX_AUTO_PARALLEL
from orchestrator.engine.events import Event, ParallelismAdjusted, RetryScheduled, SegmentProgressed
from orchestrator.network.errors import TimeoutCode
from orchestrator.transfer.bandwidth import PutSlots

if TYPE_CHECKING:
    from orchestrator.engine.events import EventBus

FIRST_PARALLEL: Final = 16
#: After a change: the time goodput needs to follow, and the time it is then measured for.
_SETTLE_SECONDS: Final = 1.0
_MEASURE_SECONDS: Final = 3.0
#: A probe is measured for longer than a step of the first ascent, because its effect is smaller.
_PROBE_SECONDS: Final = 4.0
#: The factor of goodput that justifies twice as many connections, or a few more. A probe downwards that loses less
#: than the second factor counts as no loss.
_GAIN_OF_DOUBLING: Final = 1.15
_GAIN_OF_PROBE: Final = 1.03
#: Restart the ascent when goodput falls below this fraction of the best: new connections start fast, then slow down.
_FALL: Final = 0.85
#: The fraction by which each measurement moves the remembered best goodput towards the current one.
_FORGETTING: Final = 0.25
#: The rest between two probes, growing from the first to the second value as probes gain nothing.
_REST_SECONDS: Final = (6.0, 60.0)
#: One overload affects many PUTs, so it counts only once within this time.
_PRESSURE_SECONDS: Final = 3.0


class Reason(StrEnum):
    """The reason for a change in the number of concurrent PUTs."""

    ASCENT = "ascent"
    PROBE = "probe"
    NO_GAIN = "no_gain"
    OVERLOAD = "overload"


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A change of the number of PUTs; *goodput* was measured before it, in bytes per second."""

    before: int
    after: int
    reason: Reason
    goodput: float


class HillClimber:
    """Doubles while that pays, then rests and probes single steps up or down; halves on overload.

    Callers report bytes and overloads as they occur, and may call `decide` at any time.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.parallel = FIRST_PARALLEL
        self._is_ascending = True
        self._direction = 1
        self._rest_seconds = _REST_SECONDS[0]
        #: The number to return to when a trial gains nothing, and its goodput; None while there is no trial.
        self._base: tuple[int, float] | None = None
        self._best_goodput = 0.0
        self._overloaded_at = -math.inf
        self._has_overload = False
        self._bytes = 0
        self._measure(_SETTLE_SECONDS, _MEASURE_SECONDS)

    def moved(self, count: int) -> None:
        """Add *count* bytes handed to the network; negative when an attempt failed."""
        if self._clock() >= self._measured_from:
            self._bytes += count

    def overloaded(self) -> None:
        """Note that the store throttles or does not keep up."""
        self._has_overload = True

    def decide(self, *, is_limit_reached: bool) -> Adjustment | None:
        """Return the change to make now, if any; *is_limit_reached* means that all slots are in use."""
        now = self._clock()
        if self._has_overload:
            self._has_overload = False
            if now - self._overloaded_at < _PRESSURE_SECONDS:
                return None
            self._overloaded_at = now
            goodput = max(self._bytes, 0) / max(now - self._measured_from, _MEASURE_SECONDS)
            self._is_ascending, self._best_goodput = False, 0.0
            self._rest_seconds = _REST_SECONDS[0]
            return self._settle_at(max(self.parallel // 2, 1), Reason.OVERLOAD, goodput)
        if not is_limit_reached:
            # With slots unused, the measurement says nothing about the link.
            self._measure(0.0, self._measured_until - self._measured_from)
            return None
        if now < self._measured_until:
            return None
        goodput = max(self._bytes, 0) / (now - self._measured_from)
        if self._base is not None:
            return self._judge(self._base, goodput)
        return self._ascend(goodput) if self._is_ascending else self._watch(goodput)

    def _ascend(self, goodput: float) -> Adjustment | None:
        self._best_goodput = max(self._best_goodput, goodput)
        return self._try(self.parallel * 2, Reason.ASCENT, goodput, _MEASURE_SECONDS)

    def _watch(self, goodput: float) -> Adjustment | None:
        """Probe again, upwards when goodput fell; restart the ascent when it fell far."""
        best = self._best_goodput
        self._best_goodput = max(goodput, best + (goodput - best) * _FORGETTING)
        if goodput < best * _FALL:
            self._is_ascending, self._best_goodput = True, 0.0
            return self._ascend(goodput)
        if goodput * _GAIN_OF_PROBE < best:
            self._direction = 1
        step = max(self.parallel // (4 if self._direction > 0 else 8), 1)
        return self._try(self.parallel + self._direction * step, Reason.PROBE, goodput, _PROBE_SECONDS)

    def _try(self, parallel: int, reason: Reason, goodput: float, seconds: float) -> Adjustment | None:
        """Change to *parallel* until `_judge` keeps or reverts it; at a bound, end the ascent and turn around."""
        after = min(max(parallel, 1), MAX_AUTO_PARALLEL)
        if after == self.parallel:
            self._is_ascending = False
            self._direction = -self._direction
            return self._settle_at(after, reason, goodput)
        self._base = self.parallel, goodput
        return self._change(after, reason, goodput, _SETTLE_SECONDS, seconds)

    def _judge(self, base: tuple[int, float], goodput: float) -> Adjustment | None:
        """Keep the trial if it is better than *base*, or as good with fewer PUTs; otherwise go back to *base*."""
        count, before = base
        if self._is_ascending:
            self._is_ascending = goodput >= before * _GAIN_OF_DOUBLING
        self._best_goodput = max(self._best_goodput, goodput)
        if self.parallel > count and goodput >= before * _GAIN_OF_PROBE:
            self._rest_seconds = _REST_SECONDS[0]
            self._base = None
            return self._ascend(goodput) if self._is_ascending else self._watch(goodput)
        if self.parallel < count and goodput * _GAIN_OF_PROBE >= before:
            self._rest_seconds = _REST_SECONDS[0]
            return self._settle_at(self.parallel, Reason.PROBE, goodput)
        self._direction = -self._direction
        self._rest_seconds = min(self._rest_seconds * 2, _REST_SECONDS[1])
        return self._settle_at(count, Reason.NO_GAIN, goodput)

    def _settle_at(self, parallel: int, reason: Reason, goodput: float) -> Adjustment | None:
        self._base = None
        settle_seconds = 0.0 if parallel == self.parallel else _SETTLE_SECONDS
        return self._change(parallel, reason, goodput, settle_seconds, self._rest_seconds)

    def _change(
        self, after: int, reason: Reason, goodput: float, settle_seconds: float, seconds: float
    ) -> Adjustment | None:
        before, self.parallel = self.parallel, after
        self._measure(settle_seconds, seconds)
        return Adjustment(before, after, reason, goodput) if after != before else None

    def _measure(self, settle_seconds: float, seconds: float) -> None:
        self._bytes = 0
        self._measured_from = self._clock() + settle_seconds
        self._measured_until = self._measured_from + seconds


class AdaptiveParallelism:
    """A subscriber that sets the number of concurrent PUTs by a HillClimber and publishes each change.

    It acts on events, so it needs no task of its own.
    """

    name = "the adjustment of parallel uploads"
    event_types = frozenset({SegmentProgressed, RetryScheduled})

    def __init__(self, slots: PutSlots, events: EventBus, clock: Callable[[], float]) -> None:
        self._slots = slots
        self._events = events
        self._climber = HillClimber(clock)
        slots.total = self._climber.parallel

    def __call__(self, event: Event) -> None:
        """Feed *event* to the climber and apply its decision."""
        if isinstance(event, SegmentProgressed):
            self._climber.moved(event.bytes)
        elif isinstance(event, RetryScheduled) and is_overload(event):
            self._climber.overloaded()
        else:
            return
        adjustment = self._climber.decide(is_limit_reached=self._slots.free <= 0)
        if adjustment is None:
            return
        self._slots.total = adjustment.after
        self._events.publish(
            ParallelismAdjusted(
                before=adjustment.before,
                after=adjustment.after,
                reason=adjustment.reason,
                goodput=adjustment.goodput,
            )
        )


def is_overload(event: RetryScheduled) -> bool:
    """True when a PUT failed in a way that calls for fewer of them."""
    return event.asset is not None and (event.kind == "throttled" or event.code in set(TimeoutCode))
