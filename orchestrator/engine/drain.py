"""Draining: no new work is taken, what runs finishes or is left where the next run goes on.

A person asks for it by a signal: the first drains the run, the second ends it at once. So do a limit of the run, and
the same refusal of several entries in a row.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING

import anyio
import anyio.abc

from orchestrator.domain.errors import (
    LimitReachedError,
    OrchestratorError,
    RequestRejectedError,
    RunError,
    ServiceRefusesError,
    StoppedError,
)
from orchestrator.domain.quantities import format_bytes, format_duration
from orchestrator.engine.events import BatchDrained, Event, SegmentProgressed

if TYPE_CHECKING:
    from orchestrator.engine.events import EventBus

Sleep = Callable[[float], Awaitable[object]]

#: What asks a command to stop (design section 2.1).
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Refusals that concern the account rather than the one entry: authentication, payment, permission.
_ACCOUNT_STATUSES = frozenset({401, 402, 403})


class Drain:
    """The run's way to stop; `cause` is the error that asked for it, None for a person."""

    def __init__(self, sleep: Sleep, events: EventBus) -> None:
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

            async def cut_short_by(event: anyio.Event) -> None:
                await event.wait()
                group.cancel_scope.cancel()

            for event in (self._began, until):
                if event is not None:
                    group.start_soon(cut_short_by, event)
            await self._sleep(seconds)
            group.cancel_scope.cancel()
        self.check()


def is_ignored(number: signal.Signals) -> bool:
    """True for SIGHUP in a program that was started to outlive its terminal, as by nohup."""
    return number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN


@contextmanager
def listening(numbers: Iterable[signal.Signals], hear: Callable[[signal.Signals], object]) -> Iterator[None]:
    """Have the running event loop call *hear* with each of *numbers* that comes while the block runs.

    Afterwards the handlers from before are back. asyncio's own way, and anyio's, would leave the default ones, by
    which a signal between two listeners kills.
    """
    loop = asyncio.get_running_loop()

    def pass_on(number: int, _frame: object) -> None:
        loop.call_soon_threadsafe(hear, signal.Signals(number))

    reader, writer = socket.socketpair()
    with reader, writer, ExitStack() as before:
        reader.setblocking(False)
        writer.setblocking(False)
        # A signal ends the loop's wait for events, so that its handler is called.
        loop.add_reader(reader, reader.recv, 4096)
        before.callback(loop.remove_reader, reader)
        before.callback(
            signal.set_wakeup_fd, signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        )
        for number in numbers:
            if not is_ignored(number):
                before.callback(signal.signal, number, signal.signal(number, pass_on))
        yield


@contextmanager
def until_signalled() -> Iterator[list[signal.Signals]]:
    """Leave the block early when asked to stop; the list then holds the signal that came."""
    received: list[signal.Signals] = []
    with anyio.CancelScope() as scope:

        def stop(number: signal.Signals) -> None:
            received.append(number)
            scope.cancel()

        with listening(STOP_SIGNALS, stop):
            yield received


#: Called with what asked for a stop, the signal or the one that stands for it, and its name.
Hear = Callable[[signal.Signals, str], object]
#: Has its argument called with every wish to stop that comes while the block runs.
Listening = Callable[[Hear], AbstractContextManager[None]]


def by_signals(hear: Hear) -> AbstractContextManager[None]:
    """Listen to the signals that stop a command; only the main thread of a program can."""
    return listening(STOP_SIGNALS, lambda received: hear(received, received.name))


class Stop:
    """A program's own way to stop its run: `ask` may be called from any thread, and is heard as SIGINT would be."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tell: Callable[[], object] | None = None
        self._is_asked = False

    def ask(self) -> None:
        """Have the run take no new work; the second time, end it at once. One that begins later ends at once, too."""
        with self._lock:
            self._is_asked = True
            if self._tell is not None:
                self._tell()

    @contextmanager
    def listening(self, hear: Hear) -> Iterator[None]:
        """A `Listening`."""
        loop = asyncio.get_running_loop()

        def tell() -> None:
            loop.call_soon_threadsafe(hear, signal.SIGINT, "stop()")

        with self._lock:
            self._tell = tell
            if self._is_asked:
                tell()
        try:
            yield
        finally:
            with self._lock:
                self._tell = None


class StopWishes:
    """Drains a run that is asked to stop; `received` is the first signal that came, or that stands for the wish.

    What runs has *grace_seconds* from then on to finish.
    """

    def __init__(self, drain: Drain, grace_seconds: float, sleep: Sleep, listening: Listening) -> None:
        self._drain = drain
        self._grace_seconds = grace_seconds
        self._sleep = sleep
        self._listening = listening
        self.received: signal.Signals | None = None

    @contextmanager
    def heard(self, group: anyio.abc.TaskGroup, cut_off: Callable[[], object]) -> Iterator[None]:
        """Drain on the first wish in the block, *cut_off* what runs on the second or when the grace is over."""

        def hear(received: signal.Signals, name: str) -> None:
            if self.received is not None:
                cut_off()
                return
            self.received = received
            self._drain.begin(
                f"{name}: letting running uploads finish, at most {self._grace_seconds:.0f} s; "
                "send it again to stop at once"
            )
            group.start_soon(cancel_after_grace)

        async def cancel_after_grace() -> None:
            await self._sleep(self._grace_seconds)
            cut_off()

        with self._listening(hear):
            yield


class TransferLimit:
    """A subscriber that drains the run once *limit_bytes* were handed to the network."""

    name = "the limit of --max-transfer"
    hears = frozenset({SegmentProgressed})

    def __init__(self, limit_bytes: int, drain: Drain) -> None:
        self._limit_bytes = limit_bytes
        self._drain = drain
        self._sent_bytes = 0

    def __call__(self, event: Event) -> None:
        """Count *event*; bytes of a failed attempt were sent as well."""
        if isinstance(event, SegmentProgressed) and event.bytes > 0:
            self._sent_bytes += event.bytes
            if self._sent_bytes >= self._limit_bytes:
                _end(self._drain, f"--max-transfer {format_bytes(self._limit_bytes)} is reached")


async def limit_duration(seconds: float, drain: Drain, sleep: Callable[[float], Awaitable[object]]) -> None:
    """Drain the run after *seconds*."""
    await sleep(seconds)
    _end(drain, f"--max-duration {format_duration(seconds)} is reached")


def _end(drain: Drain, reason: str) -> None:
    cause = LimitReachedError(reason, hint="run the same command again for the rest")
    drain.begin(f"{reason}; letting running uploads finish", cause)


class Breaker:
    """Counts equal refusals in a row; opens at *threshold* of them."""

    def __init__(self, threshold: int) -> None:
        self._threshold = threshold
        self._last: tuple[int | None, str | None] | None = None
        self._count = 0

    def passed(self) -> None:
        """An entry came through: the service works."""
        self._last, self._count = None, 0

    def failed(self, error: OrchestratorError) -> ServiceRefusesError | None:
        """Count an entry's failure; the error that stops the run when there were enough of a kind."""
        if not isinstance(error, RequestRejectedError) or error.status not in _ACCOUNT_STATUSES:
            return None
        refusal = (error.status, error.code)
        self._count = self._count + 1 if refusal == self._last else 1
        self._last = refusal
        if self._count < self._threshold:
            return None
        return error.restated(
            ServiceRefusesError,
            f"the service refused {self._count} entries in a row alike: {error.message}",
            hint=error.hint or "check quota, balance and permissions of the account, then run again",
        )
