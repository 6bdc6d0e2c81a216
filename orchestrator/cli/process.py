"""The process of one command: the signals that end it, the event loops it runs on, the streams it was given.

SIGINT, SIGTERM and SIGHUP end it with a sentence, and with 128 and their number. Nothing slow is imported above: what
is heard before anything else is loaded stands here too.
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

#: Those of `engine.drain`, which takes too long to load before anything is listened to.
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STDERR = 2
#: Of every terminal since the VT220.
_SHOW_CURSOR, _HIDE_CURSOR = b"\x1b[?25h", b"\x1b[?25l"
_KEY_LOG_VARIABLE = "SSLKEYLOGFILE"


class StoppedBySignal(BaseException):
    """A signal asked the command to end, and what was open has been closed; nothing catches it but the command."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)

    @property
    def exit_code(self) -> int:
        """What shells show for a program that the signal ended."""
        return 128 + self.signal

    @property
    def sentence(self) -> str:
        """What happened, for people."""
        return "interrupted" if self.signal is signal.SIGINT else f"stopped by {self.signal.name}"


def print_plainly(stop: StoppedBySignal) -> None:
    """Write to stderr what happened, before there is anything else to write with."""
    with suppress(OSError):
        os.write(_STDERR, f"{stop.sentence}\n".encode())


class Stopper:
    """Ends the command where it is, for as long as nothing else listens to the signals that stop.

    Nothing is open then that would have to be closed. An exception would not do: raised at any place, it may be in
    one where Python prints and forgets it, as in the callback of a weak reference.
    """

    def __init__(self) -> None:
        self.announce: Callable[[StoppedBySignal], object] = print_plainly

    def __call__(self, number: int, _frame: FrameType | None) -> NoReturn:
        """Print which signal came, and exit with its code."""
        stop = StoppedBySignal(number)
        self.announce(stop)
        os._exit(stop.exit_code)


def stop_on_signals() -> Stopper:
    """From now on end on a signal that stops; SIGUSR1 does nothing, and SIGHUP nothing where it was ignored."""
    stopper = Stopper()
    # No command dies of the signal by which `run` reads its settings again.
    signal.signal(signal.SIGUSR1, lambda _number, _frame: None)
    for number in _STOP_SIGNALS:
        if not (number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN):
            signal.signal(number, stopper)
    return stopper


@contextmanager
def cursor_shown_while_suspended() -> Iterator[None]:
    """Give the cursor back for as long as ^Z holds the block, which hides it, and at its end."""

    def suspend(_number: int, _frame: FrameType | None) -> None:
        os.write(_STDERR, _SHOW_CURSOR)
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        # From here on it goes on in the foreground.
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
    """Run *function* to its end on a loop for local work and return its result; raises StoppedBySignal."""
    import anyio  # noqa: PLC0415 - signals are heard before it is loaded

    return anyio.run(_until_stopped, function, *arguments)


def run_on_network(function: Callable[[*Arguments], Awaitable[T]], *arguments: *Arguments) -> T:
    """As `run_async`, on the loop for connections to the service and the store; raises ConfigurationError too."""
    import anyio  # noqa: PLC0415 - as above

    # Loads what local commands do not need.
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
    """Put streams that never fail in the place of stdout and stderr, for libraries as well, and return them."""
    from orchestrator.observe.streams import SinkFile, text_on  # noqa: PLC0415 - signals are heard before

    def steady(stream: TextIO | None) -> TextIO:
        if stream is None:
            return text_on(SinkFile(nowhere, is_owner=False))
        try:
            return text_on(SinkFile(stream.fileno(), is_owner=False), stream.encoding)
        except (OSError, io.UnsupportedOperation):
            # A stream in memory, of a test or of a program that calls this one.
            return stream

    before = sys.stdout, sys.stderr
    # No file that is opened later may become what libraries in C take for stdin, stdout or stderr.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    # Every write to it fails: it is for what was closed when Python started.
    nowhere = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        sys.stdout, sys.stderr = map(steady, before)
        yield sys.stdout, sys.stderr
    finally:
        sys.stdout, sys.stderr = before
        os.close(nowhere)


def drop_unusable_key_log(warn: Callable[[str], object]) -> None:
    """Take the variable from the environment where its file cannot be written, and report it through *warn*.

    Python's TLS contexts would raise, some as soon as a library is imported, which is no reason to send nothing.
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
