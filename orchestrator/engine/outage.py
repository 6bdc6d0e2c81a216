"""The gates of a run: while the service or a store is out all wait, and one request at a time tries it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

import anyio

from orchestrator.domain.errors import (
    OrchestratorError,
    RetryableError,
    ServiceUnreachableError,
    ThrottledError,
)
from orchestrator.domain.outage import Availability, Failure, OutagePolicy, Phase, Sign, sign_of
from orchestrator.domain.retry import Draw
from orchestrator.engine.connection import Clocks
from orchestrator.engine.drain import Drain
from orchestrator.engine.event_bus import EventBus
from orchestrator.engine.events import OutageBegan, OutageEnded, OutageProlonged
from orchestrator.metastudio.attempts import Turn

#: A shorter wait for a first try that succeeds is no news.
_WORTH_SAYING_SECONDS: Final = 3.0

_SERVICE_HINT: Final = (
    "check --endpoint or --region, the name service and the proxy settings (HTTPS_PROXY); "
    "if they are right the service is down: run again later, or wait longer with --max-outage"
)
_STORE_HINT: Final = "run again later, or wait longer with --max-outage; stored segments are not sent again"
_LIMIT_HINT: Final = (
    "run again later, when earlier jobs are through or fewer programs use the account, "
    "or wait longer with --max-outage"
)

Judge = Callable[[OrchestratorError | None], Sign]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateTools:
    """What every gate of a run works with; *monotonic* is in seconds."""

    policy: OutagePolicy
    monotonic: Callable[[], float]
    draw: Draw
    drain: Drain
    events: EventBus


class Gate:
    """One side of the run's traffic, as `Availability` has it; *hint* is for an outage that lasts too long."""

    def __init__(self, side: str, tools: GateTools, *, hint: str, judge: Judge) -> None:
        self._side = side
        self._tools = tools
        self._hint = hint
        self._judge = judge
        self._state = Availability(policy=tools.policy)
        self._under_way = 0
        #: Held, in the order of coming, by the one that waits for the next try and makes it.
        self._turn = anyio.Lock()
        self._reopened = anyio.Event()
        self._reason: OrchestratorError | None = None
        self._is_told = False

    @property
    def is_open(self) -> bool:
        """True when requests may go."""
        return self._state.is_open

    async def admit(self, held: AsyncExitStack) -> bool:
        """Wait while the side is out; True for the probe, which is alone until *held* is left.

        Raises ServiceUnreachableError when it is out for too long, StoppedError when the run drains.
        """
        while not self.is_open:
            await self._turn.acquire()
            try:
                is_probe = await self._is_time_to_try()
            except BaseException:
                self._turn.release()
                raise
            if is_probe:
                held.callback(self._turn.release)
                return True
            self._turn.release()
        return False

    async def _is_time_to_try(self) -> bool:
        """Wait for the next try; False when the side answers before that."""
        if self._state.phase is Phase.OVER and self._reason is not None:
            lasted = self._tools.monotonic() - self._state.since
            raise self._reason.restated(
                ServiceUnreachableError,
                f"{self._reason.message} (waited {lasted:.0f} s)",
                hint=self._reason.hint or self._hint,
            )
        wait = self._state.next_try_at - self._tools.monotonic()
        if wait > 0 and not self.is_open:
            await self._tools.drain.sleep(wait, until=self._reopened)
        self._tools.drain.check()
        return not self.is_open

    @contextmanager
    def watching(self, subject: Hashable, *, is_probe: bool) -> Iterator[None]:
        """Learn from how the request inside ends; a failure that is part of an outage is marked as one."""
        self._under_way += 1
        if is_probe:
            self._state = self._state.probing()
        try:
            yield
        except OrchestratorError as error:
            self._ended(self._judge(error), subject, error, is_probe=is_probe)
            raise
        except BaseException:
            self._ended(Sign.SILENT, subject, None, is_probe=is_probe)
            raise
        else:
            self._ended(self._judge(None), subject, None, is_probe=is_probe)
        finally:
            self._under_way -= 1

    def answered(self) -> None:
        """Take it that the side works, whatever became of an answer."""
        self._ended(Sign.ANSWERED, None, None, is_probe=False)

    def _ended(
        self, sign: Sign, subject: Hashable, error: OrchestratorError | None, *, is_probe: bool
    ) -> None:
        before, now = self._state, self._tools.monotonic()
        if sign is Sign.ANSWERED:
            self._state = before.answered()
        elif sign is Sign.SILENT or error is None:
            self._state = before.probe_withdrawn(now) if is_probe else before
        else:
            failure = Failure(
                at=now,
                subject=subject,
                sign=sign,
                is_alone=self._under_way <= 1,
                retry_after=error.retry_after if isinstance(error, RetryableError) else None,
                draw=self._tools.draw(),
            )
            self._state = before.probe_failed(failure) if is_probe else before.failed(failure)
            if isinstance(error, RetryableError):
                error.is_outage |= not self.is_open
            if self._state is not before and not self.is_open:
                self._reason = error
        self._tell(before, now)

    def _tell(self, before: Availability, now: float) -> None:
        """Wake those who wait when the side answers again, and publish what people want to know."""
        state = self._state
        if state.is_open:
            if before.is_open:
                return
            self._reopened.set()
            self._reopened = anyio.Event()
            if self._is_told:
                lasted = now - before.since
                self._tools.events.publish(OutageEnded(side=self._side, lasted_seconds=lasted))
            self._is_told = False
            return
        if state.phase is Phase.OUT and state.next_try_at != before.next_try_at:
            self._tell_next_try(now)

    def _tell_next_try(self, now: float) -> None:
        state, reason = self._state, self._reason
        wait = state.next_try_at - now
        if reason is None or not (self._is_told or state.tries or wait >= _WORTH_SAYING_SECONDS):
            return
        kind = OutageProlonged if self._is_told else OutageBegan
        self._is_told = True
        self._tools.events.publish(
            kind(
                side=self._side,
                kind=reason.kind,
                reason=reason.message,
                code=reason.code,
                request_id=reason.request_id,
                lasted_seconds=now - state.since,
                next_try_seconds=wait,
                patience_seconds=state.patience_seconds,
            )
        )


class Outages:
    """All gates of a run: one for the service, one for each of its limits that is met, one for each store."""

    def __init__(self, tools: GateTools) -> None:
        self._tools = tools
        self._service = Gate("service", tools, hint=_SERVICE_HINT, judge=_service_sign)
        self._limits: dict[str, Gate] = {}
        self._stores: dict[str, Gate] = {}

    def call(self, operation: str, subject: Hashable, turn: Turn) -> AbstractAsyncContextManager[None]:
        """Hold a call of the service back while it, or its limit of such calls, is out; then wait for *turn*."""
        limit = self._limits.get(operation)
        if limit is None:
            limit = self._limits[operation] = Gate(
                f"service ({operation})", self._tools, hint=_LIMIT_HINT, judge=_limit_sign
            )
        return _passing((limit, self._service), subject, turn)

    def put(self, host: str, subject: Hashable, turn: Turn) -> AbstractAsyncContextManager[None]:
        """Hold a request to the store at *host* back while that is out; then wait for *turn*."""
        return _passing((self._store(host),), subject, turn)

    def put_arrived(self, host: str) -> None:
        """Take it that the store at *host* works: it has what a PUT sent whose answer was lost."""
        self._store(host).answered()

    def _store(self, host: str) -> Gate:
        gate = self._stores.get(host)
        if gate is None:
            gate = self._stores[host] = Gate(f"store {host}", self._tools, hint=_STORE_HINT, judge=sign_of)
        return gate


def gates(policy: OutagePolicy, clocks: Clocks, drain: Drain, events: EventBus) -> Outages:
    """The gates of one run or command, all open."""
    return Outages(
        GateTools(policy=policy, monotonic=clocks.monotonic, draw=clocks.draw, drain=drain, events=events)
    )


@asynccontextmanager
async def _passing(gates: Sequence[Gate], subject: Hashable, turn: Turn) -> AsyncIterator[None]:
    """Go through all *gates* and take a *turn*; one that was shut meanwhile is waited for without holding it."""
    while True:
        async with AsyncExitStack() as held:
            probes = [await gate.admit(held) for gate in gates]
            await held.enter_async_context(turn())
            if any(not (gate.is_open or is_probe) for gate, is_probe in zip(gates, probes, strict=True)):
                continue
            for gate, is_probe in zip(gates, probes, strict=True):
                held.enter_context(gate.watching(subject, is_probe=is_probe))
            yield
            return


def _service_sign(error: OrchestratorError | None) -> Sign:
    """A 429 is for the account's calls of all kinds; the task quota, a 403, only for creates."""
    if isinstance(error, ThrottledError):
        return Sign.DOWN if error.status == 429 else Sign.ANSWERED
    return sign_of(error)


def _limit_sign(error: OrchestratorError | None) -> Sign:
    if error is None:
        return Sign.ANSWERED
    return Sign.DOWN if isinstance(error, ThrottledError) else Sign.SILENT
