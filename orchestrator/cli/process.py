"""The process of one command: the signals that end it, its event loops, and its standard streams.

SIGINT, SIGTERM and SIGHUP end it with a sentence and exit code 128 plus their number. This module imports nothing
slow at the top: signals must be handled before anything else is loaded.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any, NoReturn, TextIO, TypeVar, TypeVarTuple

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

#: The same as in `engine.drain`, which takes too long to load before signals are handled.
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STDERR = 2
#: Supported by every terminal since the VT220.
_SHOW_CURSOR, _HIDE_CURSOR = b"\x1b[?25h", b"\x1b[?25l"
_KEY_LOG_VARIABLE = "SSLKEYLOGFILE"


class StoppedBySignal(BaseException):
    """The end of a command by a signal, after its resources are closed; only the command itself catches it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)

    @property
    def exit_code(self) -> int:
        """The exit code that shells report for a program ended by the signal."""
        return 128 + self.signal

    @property
    def sentence(self) -> str:
        """The message for people."""
        return "interrupted" if self.signal is signal.SIGINT else f"stopped by {self.signal.name}"


def print_plainly(stop: StoppedBySignal) -> None:
    """Write the message to stderr, before any other way of output is available."""
    with suppress(OSError):
        os.write(_STDERR, f"{stop.sentence}\n".encode())


class Stopper:
    """A signal handler that ends the process immediately, while no other handler is installed.

    No resource that needs closing is open at that time. An exception would not work: it may be raised in a place
    where Python prints and ignores it, such as the callback of a weak reference.
    """

    def __init__(self) -> None:
        self.announce: Callable[[StoppedBySignal], object] = print_plainly

    def __call__(self, number: int, _frame: FrameType | None) -> NoReturn:
        """Print the signal and exit with its code."""
        stop = StoppedBySignal(number)
        self.announce(stop)
        os._exit(stop.exit_code)


def stop_on_signals() -> Stopper:
    """End the process on stop signals from now on; ignore SIGUSR1, and SIGHUP if it was already ignored."""
    stopper = Stopper()
    # The signal that makes `run` read its settings again must not kill any command.
    signal.signal(signal.SIGUSR1, lambda _number, _frame: None)
    for number in _STOP_SIGNALS:
        if not (number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN):
            signal.signal(number, stopper)
    return stopper


@contextmanager
def cursor_shown_while_suspended() -> Iterator[None]:
    """Show the cursor while ^Z suspends the block, which hides it, and at its end."""

    def suspend(_number: int, _frame: FrameType | None) -> None:
        os.write(_STDERR, _SHOW_CURSOR)
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        # Execution continues here in the foreground.
        signal.signal(signal.SIGTSTP, suspend)
        os.write(_STDERR, _HIDE_CURSOR)

    before = signal.signal(signal.SIGTSTP, suspend)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, before)
        with suppress(OSError):
            os.write(_STDERR, _SHOW_CURSOR)


def run_async(function: Callable[[*Arguments], Awaitable[T]], *arguments: *Arguments) -> T:
    """Run *function* to completion on an event loop for local work and return its result; raises StoppedBySignal."""
    import anyio  # noqa: PLC0415 - signals are handled before it is loaded

    return anyio.run(_until_stopped, function, *arguments)


def run_on_network(function: Callable[[*Arguments], Awaitable[T]], *arguments: *Arguments) -> T:
    """Like `run_async`, on the event loop for connections to service and store; also raises ConfigurationError."""
    import anyio  # noqa: PLC0415 - as above

    # This import loads modules that local commands do not need.
    from orchestrator.network.tls import TransferLoop, chosen_tls  # noqa: PLC0415

    options: dict[str, Any] = {"loop_factory": partial(TransferLoop, chosen_tls(os.environ))}
    return anyio.run(_until_stopped, function, *arguments, backend_options=options)


async def _until_stopped(function: Callable[[*Arguments], Awaitable[T]], *arguments: *Arguments) -> T:
    from orchestrator.engine.drain import until_signalled  # noqa: PLC0415 - as above

    with until_signalled() as received:
        return await function(*arguments)
    raise StoppedBySignal(received[0])


@contextmanager
def standard_streams() -> Iterator[tuple[TextIO, TextIO]]:
    """Replace stdout and stderr with streams that never fail, for libraries as well, and yield them."""
    from orchestrator.observe.streams import SinkFile, text_on  # noqa: PLC0415 - signals are heard before

    def steady(stream: TextIO | None) -> TextIO:
        if stream is None:
            return text_on(SinkFile(nowhere, is_owner=False))
        try:
            return text_on(SinkFile(stream.fileno(), is_owner=False), stream.encoding)
        except (OSError, io.UnsupportedOperation):
            # An in-memory stream of a test or of a program that calls this one.
            return stream

    before = sys.stdout, sys.stderr
    # Files opened later must not get the descriptors that C libraries use as stdin, stdout and stderr.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    # Every write to it fails: it stands for streams that were closed when Python started.
    nowhere = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        sys.stdout, sys.stderr = map(steady, before)
        yield sys.stdout, sys.stderr
    finally:
        sys.stdout, sys.stderr = before
        os.close(nowhere)


def drop_unusable_key_log(warn: Callable[[str], object]) -> None:
    """Remove SSLKEYLOGFILE from the environment if its file cannot be written, and report it through *warn*.

    Python's TLS contexts would raise, some as soon as a library is imported, and that must not prevent uploads.
    """
    from orchestrator.observe.streams import open_at_once  # noqa: PLC0415 - signals are heard before

    name = os.environ.get(_KEY_LOG_VARIABLE)
    if not name:
        return
    try:
        os.close(open_at_once(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT))
    except OSError as error:
        del os.environ[_KEY_LOG_VARIABLE]
        warn(f"warning: {_KEY_LOG_VARIABLE} is ignored: {name} cannot be written: {error.strerror}")
