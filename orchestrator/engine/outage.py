"""The gates of a run: during an outage of the service or a store, all requests wait while one at a time probes it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final

import anyio

from orchestrator.domain.errors import (
    OrchestratorError,
    RetryableError,
    ServiceUnreachableError,
    ThrottledError,
)
from orchestrator.domain.outage import Availability, Failure, OutagePolicy, Phase, Sign, sign_of
from orchestrator.domain.retry import Draw
from orchestrator.engine.events import OutageBegan, OutageEnded, OutageProlonged
from orchestrator.metastudio.rate_limit import Turn

if TYPE_CHECKING:
    from orchestrator.engine.drain import Drain
    from orchestrator.engine.events import EventBus
    from orchestrator.engine.service_connection import Clocks

#: An outage is not reported when the wait for its first probe is shorter and the probe succeeds.
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
    """The tools shared by the gates of a run; *monotonic* is in seconds."""

    policy: OutagePolicy
    monotonic: Callable[[], float]
    draw: Draw
    drain: Drain
    events: EventBus


class Gate:
    """The gate to one side, driven by its `Availability`; *hint* is for an outage that lasts too long."""

    def __init__(self, side: str, tools: GateTools, *, hint: str, judge: Judge) -> None:
        self._side = side
        self._tools = tools
        self._hint = hint
        self._judge = judge
        self._state = Availability(policy=tools.policy)
        #: True when requests may pass. An attribute, because every request reads it and an open gate must be cheap.
        self.is_open = True
        #: True while an answer would change nothing: the gate is open and an answer followed the last failure.
        self._is_untroubled = False
        self._under_way = 0
        #: Held, in order of arrival, by the request that waits for the next probe and makes it.
        self._turn = anyio.Lock()
        self._reopened = anyio.Event()
        self._reason: OrchestratorError | None = None
        self._is_told = False

    async def admit(self) -> bool:
        """Wait while the side is out; return True for the probe, which is the only one until `probe_ended`.

        Raises ServiceUnreachableError when the outage lasts too long, StoppedError when the run drains.
        """
        while not self.is_open:
            await self._turn.acquire()
            try:
                is_probe = await self._is_time_to_try()
            except BaseException:
                self._turn.release()
                raise
            if is_probe:
                return True
            self._turn.release()
        return False

    def probe_ended(self) -> None:
        """Let another request be the probe."""
        self._turn.release()

    async def _is_time_to_try(self) -> bool:
        """Wait until the next probe is due; return False when the side answers before that."""
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

    def began(self, *, is_probe: bool) -> None:
        """Count a request as running; `ended` must follow."""
        self._under_way += 1
        if is_probe:
            self._become(self._state.probing())

    def ended(self, subject: Hashable, error: BaseException | None, *, is_probe: bool) -> None:
        """Update the state from the end of a request; mark a failure that is part of an outage."""
        if error is None and self._is_untroubled:
            self._under_way -= 1
            return
        failure = error if isinstance(error, OrchestratorError) else None
        # A cancellation, or an error of our own, says nothing about the side.
        sign = self._judge(failure) if error is failure else Sign.SILENT
        try:
            self._learn(sign, subject, failure, is_probe=is_probe)
        finally:
            self._under_way -= 1

    def answered(self) -> None:
        """Note that the side works, although the answer to a request was lost."""
        self._learn(Sign.ANSWERED, None, None, is_probe=False)

    def _learn(
        self, sign: Sign, subject: Hashable, error: OrchestratorError | None, *, is_probe: bool
    ) -> None:
        before, now = self._state, self._tools.monotonic()
        if sign is Sign.ANSWERED:
            self._become(before.answered())
        elif sign is Sign.SILENT or error is None:
            self._become(before.probe_withdrawn(now) if is_probe else before)
        else:
            failure = Failure(
                at=now,
                subject=subject,
                sign=sign,
                is_alone=self._under_way <= 1,
                retry_after=error.retry_after if isinstance(error, RetryableError) else None,
                draw=self._tools.draw(),
            )
            self._become(before.probe_failed(failure) if is_probe else before.failed(failure))
            if isinstance(error, RetryableError):
                error.is_outage |= not self.is_open
            if self._state is not before and not self.is_open:
                self._reason = error
        self._publish_change(before, now)

    def _become(self, state: Availability) -> None:
        self._state = state
        self.is_open = state.is_open
        self._is_untroubled = state.answered() is state

    def _publish_change(self, before: Availability, now: float) -> None:
        """Wake the waiting requests when the side answers again, and publish changes of the outage."""
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
        reason, wait = self._reason, state.next_try_at - now
        is_news = state.phase is Phase.OUT and state.next_try_at != before.next_try_at
        is_worth_saying = self._is_told or state.tries or wait >= _WORTH_SAYING_SECONDS
        if reason is None or not (is_news and is_worth_saying):
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
    """All gates of a run: one for the service, one for each operation's limit, one for each store."""

    def __init__(self, tools: GateTools) -> None:
        self._tools = tools
        self._service = Gate("service", tools, hint=_SERVICE_HINT, judge=_service_sign)
        self._limits: dict[str, Gate] = {}
        self._stores: dict[str, Gate] = {}

    def call(self, operation: str, subject: Hashable, turn: Turn) -> AbstractAsyncContextManager[None]:
        """Hold a service call back while the service or the limit of *operation* is out, then wait for *turn*."""
        limit = self._limits.get(operation)
        if limit is None:
            limit = self._limits[operation] = Gate(
                f"service ({operation})", self._tools, hint=_LIMIT_HINT, judge=_limit_sign
            )
        return _Passage((limit, self._service), subject, turn)

    def put(self, host: str, subject: Hashable, turn: Turn) -> AbstractAsyncContextManager[None]:
        """Hold a request to the store at *host* back while the store is out, then wait for *turn*."""
        return _Passage((self._store(host),), subject, turn)

    def put_arrived(self, host: str) -> None:
        """Note that the store at *host* works: it has the data of a PUT whose answer was lost."""
        self._store(host).answered()

    def _store(self, host: str) -> Gate:
        gate = self._stores.get(host)
        if gate is None:
            gate = self._stores[host] = Gate(f"store {host}", self._tools, hint=_STORE_HINT, judge=sign_of)
        return gate


def gates(policy: OutagePolicy, clocks: Clocks, drain: Drain, events: EventBus) -> Outages:
    """Return the gates of one run or command, all open."""
    return Outages(
        GateTools(policy=policy, monotonic=clocks.monotonic, draw=clocks.draw, drain=drain, events=events)
    )


class _Passage:
    """The passage of one request through all *gates*; while a gate is shut, the request gives its slot back.

    A class with slots rather than a generator, because every call and every PUT makes one.
    """

    __slots__ = ("_gates", "_held", "_probed", "_subject", "_turn")

    def __init__(self, gates: Sequence[Gate], subject: Hashable, turn: Turn) -> None:
        self._gates = gates
        self._subject = subject
        self._turn = turn
        self._probed: list[Gate] = []
        self._held: AbstractAsyncContextManager[object]

    async def __aenter__(self) -> None:
        """Wait until every gate admits the request and it has its slot."""
        try:
            while not await self._has_passed():
                self._withdraw()
        except BaseException:
            self._withdraw()
            raise
        for gate in self._gates:
            gate.began(is_probe=gate in self._probed)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Update the gates from the end of the request, and release its slot."""
        try:
            for gate in reversed(self._gates):
                gate.ended(self._subject, error, is_probe=gate in self._probed)
        finally:
            try:
                await self._held.__aexit__(kind, error, trace)
            finally:
                if self._probed:
                    self._withdraw()

    async def _has_passed(self) -> bool:
        """Take a slot once all gates admit the request; release it and return False if a gate has shut by then."""
        for gate in self._gates:
            if not gate.is_open and await gate.admit():
                self._probed.append(gate)
        held = self._turn()
        await held.__aenter__()
        for gate in self._gates:
            if not gate.is_open and gate not in self._probed:
                await held.__aexit__(None, None, None)
                return False
        self._held = held
        return True

    def _withdraw(self) -> None:
        """Stop being the probe of any gate."""
        while self._probed:
            self._probed.pop().probe_ended()


def _service_sign(error: OrchestratorError | None) -> Sign:
    """A 429 limits all calls of the account; the task quota, a 403, limits only creates."""
    if isinstance(error, ThrottledError):
        return Sign.DOWN if error.status == 429 else Sign.ANSWERED
    return sign_of(error)


def _limit_sign(error: OrchestratorError | None) -> Sign:
    if error is None:
        return Sign.ANSWERED
    return Sign.DOWN if isinstance(error, ThrottledError) else Sign.SILENT
