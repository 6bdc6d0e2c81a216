"""Draining: the run takes no new work; running work finishes, or is left for the next run to continue.

A person drains a run with a signal; a second one ends it at once. A limit of the run also drains it, and so does the
same refusal of several entries in a row.
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

#: The signals that ask a command to stop (design section 2.1).
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Refusals that concern the account rather than the one entry: authentication, payment, permission.
_ACCOUNT_STATUSES = frozenset({401, 402, 403})


class Drain:
    """The drain state of a run; `cause` is the error that started it, None for a request to stop."""

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
        """Wait *seconds*, or *until* an event; raise StoppedError as soon as the run drains."""
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
    """True for SIGHUP in a program that was started to outlive its terminal, for example by nohup."""
    return number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN


@contextmanager
def listening(
    numbers: Iterable[signal.Signals], on_stop: Callable[[signal.Signals], object]
) -> Iterator[None]:
    """Have the running event loop call *on_stop* with each signal of *numbers* that arrives while the block runs.

    The previous handlers are restored afterwards. asyncio and anyio would leave the default handlers instead, with
    which a signal between two listeners kills the process.
    """
    loop = asyncio.get_running_loop()

    def pass_on(number: int, _frame: object) -> None:
        loop.call_soon_threadsafe(on_stop, signal.Signals(number))

    reader, writer = socket.socketpair()
    with reader, writer, ExitStack() as before:
        reader.setblocking(False)
        writer.setblocking(False)
        # A byte written for each signal ends the loop's wait for events, so that the handler is called.
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
    """Leave the block early on a signal to stop; the yielded list then holds that signal."""
    received: list[signal.Signals] = []
    with anyio.CancelScope() as scope:

        def stop(number: signal.Signals) -> None:
            received.append(number)
            scope.cancel()

        with listening(STOP_SIGNALS, stop):
            yield received


#: Called with the signal that requested a stop, or the one that stands for the request, and its name.
OnStop = Callable[[signal.Signals, str], object]
#: Has its argument called with every request to stop that arrives while the block runs.
Listening = Callable[[OnStop], AbstractContextManager[None]]


def by_signals(on_stop: OnStop) -> AbstractContextManager[None]:
    """Listen to the signals that stop a command; works only in the main thread of a program."""
    return listening(STOP_SIGNALS, lambda received: on_stop(received, received.name))


class Stop:
    """A way for a program to stop its run: `ask` may be called from any thread and acts like SIGINT."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._notify: Callable[[], object] | None = None
        self._is_asked = False

    def ask(self) -> None:
        """Drain the run; a second call ends it at once. A run that starts later drains at once, too."""
        with self._lock:
            self._is_asked = True
            if self._notify is not None:
                self._notify()

    @contextmanager
    def listening(self, on_stop: OnStop) -> Iterator[None]:
        """Call *on_stop* for every `ask` during the block, and at once for an earlier one; this is a `Listening`."""
        loop = asyncio.get_running_loop()

        def notify() -> None:
            loop.call_soon_threadsafe(on_stop, signal.SIGINT, "stop()")

        with self._lock:
            self._notify = notify
            if self._is_asked:
                notify()
        try:
            yield
        finally:
            with self._lock:
                self._notify = None


class StopRequests:
    """Drains a run that is asked to stop; `received` is the first signal, or the one that stands for the request.

    Running work has *grace_seconds* from then on to finish.
    """

    def __init__(self, drain: Drain, grace_seconds: float, sleep: Sleep, listening: Listening) -> None:
        self._drain = drain
        self._grace_seconds = grace_seconds
        self._sleep = sleep
        self._listening = listening
        self.received: signal.Signals | None = None

    @contextmanager
    def heard(self, group: anyio.abc.TaskGroup, cut_off: Callable[[], object]) -> Iterator[None]:
        """Drain on the first request in the block; call *cut_off* on later ones and when the grace time ends."""

        def on_stop(received: signal.Signals, name: str) -> None:
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

        with self._listening(on_stop):
            yield


class TransferLimit:
    """A subscriber that drains the run once *limit_bytes* have been handed to the network."""

    name = "the limit of --max-transfer"
    event_types = frozenset({SegmentProgressed})

    def __init__(self, limit_bytes: int, drain: Drain) -> None:
        self._limit_bytes = limit_bytes
        self._drain = drain
        self._sent_bytes = 0

    def __call__(self, event: Event) -> None:
        """Count the bytes of *event*, including those of failed attempts, which were sent as well."""
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
        """Reset the count: an entry succeeded, so the service works."""
        self._last, self._count = None, 0

    def failed(self, error: OrchestratorError) -> ServiceRefusesError | None:
        """Count an entry's failure; return the error that stops the run once the threshold is reached."""
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
