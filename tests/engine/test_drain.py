"""Signals on the event loop."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import anyio
import anyio.lowlevel
import pytest

from orchestrator.engine.drain import STOP_SIGNALS, listening


@pytest.fixture
def nohup() -> Iterator[None]:
    """Started as by nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGHUP, before)


async def heard(*numbers: signal.Signals) -> list[signal.Signals]:
    """What a listener gets of *numbers*, sent to this process, the last of which it must hear."""
    found: list[signal.Signals] = []
    with listening((*STOP_SIGNALS, signal.SIGUSR1), found.append):
        for number in numbers:
            os.kill(os.getpid(), number)
        with anyio.fail_after(5):
            while numbers[-1] not in found:
                await anyio.lowlevel.checkpoint()
    return found


async def test_each_signal_is_heard_in_its_order() -> None:
    """Of one listener all."""
    assert await heard(signal.SIGHUP, signal.SIGINT, signal.SIGTERM) == [
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGTERM,
    ]


async def test_a_sleeping_loop_is_woken() -> None:
    """It waits for events without end, and the signal is one."""
    found = anyio.Event()
    with listening((signal.SIGTERM,), lambda _: found.set()), anyio.fail_after(5):
        os.kill(os.getpid(), signal.SIGTERM)
        await found.wait()


@pytest.mark.usefixtures("nohup")
async def test_a_hang_up_that_was_ignored_stays_ignored() -> None:
    """nohup is what people start long runs with."""
    assert await heard(signal.SIGHUP, signal.SIGTERM) == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


async def test_the_inner_listener_hears_and_the_outer_one_after_it() -> None:
    """There is no moment in between in which a signal kills."""
    outer: list[signal.Signals] = []
    with listening((signal.SIGUSR1,), outer.append):
        assert await heard(signal.SIGUSR1) == [signal.SIGUSR1]
        assert outer == []
        os.kill(os.getpid(), signal.SIGUSR1)
        with anyio.fail_after(5):
            while not outer:
                await anyio.lowlevel.checkpoint()
