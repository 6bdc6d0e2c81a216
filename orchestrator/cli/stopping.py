"""SIGINT, SIGTERM and SIGHUP from the first moment of a command to its last: a sentence, and 128 and their number."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import NoReturn

#: Those of `engine.drain`, which takes too long to load before anything is listened to.
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STDERR = 2


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
    signal.signal(signal.SIGUSR1, _do_nothing)
    for number in _STOP_SIGNALS:
        if not (number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN):
            signal.signal(number, stopper)
    return stopper


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    return
