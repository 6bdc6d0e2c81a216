"""Draining: no new work is taken, what runs finishes or is left where the next run goes on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from orchestrator.domain.errors import RunError, StoppedError
from orchestrator.engine.events import BatchDrained, EventBus

Sleep = Callable[[float], Awaitable[object]]


class Drain:
    """The run's way to stop; `cause` is the error that asked for it, None for a person."""

    def __init__(self, sleep: Sleep, events: EventBus) -> None:
        """Wait with *sleep*; tell *events* when draining begins."""
        self._sleep = sleep
        self._events = events
        self._began = anyio.Event()
        self.cause: RunError | None = None

    @property
    def is_draining(self) -> bool:
        """True once no new work is to be taken."""
        return self._began.is_set()

    def begin(self, reason: str, cause: RunError | None = None) -> None:
        """Take no new work from now on; the first cause is kept."""
        if self.is_draining:
            return
        self.cause = cause
        self._began.set()
        self._events.publish(BatchDrained(reason=reason))

    def check(self) -> None:
        """Raise StoppedError when the run drains."""
        if self.is_draining:
            raise StoppedError("the run was asked to stop")

    async def sleep(self, seconds: float, *, until: anyio.Event | None = None) -> None:
        """Wait *seconds*, or *until* an event; raises StoppedError as soon as the run drains."""
        self.check()
        async with anyio.create_task_group() as group:
            for event in (self._began, until):
                if event is not None:
                    group.start_soon(_cancel_when, event, group.cancel_scope)
            await self._sleep(seconds)
            group.cancel_scope.cancel()
        self.check()


async def _cancel_when(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
