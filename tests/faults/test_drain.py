"""Signals under load: the first ends the run within its grace, the second at once; both can be gone on from."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace

import anyio
import pytest

from orchestrator.domain.errors import ExitCode
from orchestrator.engine.events import Point, SegmentStored
from orchestrator.simulator import SimulatorOptions
from tests.faults.conftest import Trial

SLOW = SimulatorOptions(store_bytes_per_second=4_000_000.0)
STALLED = SimulatorOptions(fault_rates={"stall": 1.0})


def strike(number: int) -> None:
    """Send this process a signal."""
    os.kill(os.getpid(), number)


async def run_and_time(trial: Trial, grace_seconds: float) -> tuple[int, float]:
    """Run in real time; exit code and seconds."""
    began = time.monotonic()
    report = await trial.run(sleep=anyio.sleep, monotonic=time.monotonic, grace_seconds=grace_seconds)
    return report.exit_code, time.monotonic() - began


@pytest.mark.parametrize("simulator_options", [SLOW], ids=[""])
@pytest.mark.parametrize(
    ("number", "exit_code"),
    [
        (signal.SIGTERM, ExitCode.TERMINATED),
        (signal.SIGINT, ExitCode.INTERRUPTED),
        (signal.SIGHUP, ExitCode.HUNG_UP),
    ],
    ids=["SIGTERM", "SIGINT", "SIGHUP"],
)
async def test_the_first_signal_lets_what_is_on_its_way_arrive(
    trial: Trial, number: int, exit_code: ExitCode
) -> None:
    """No new segment is begun, none that was begun is lost, and the next run sends the rest only."""
    entries = trial.rig.make_entries(3, size=700_000)
    trial.rig.settings = replace(trial.rig.settings, parallel=2)
    trial.at(Point.PUT.before, lambda: strike(number), occurrence=3)

    drained, seconds = await run_and_time(trial, grace_seconds=10.0)
    begun, kept = trial.points(Point.PUT.before), len(trial.rig.events_of(SegmentStored))
    report = await trial.run()

    assert drained == exit_code
    assert seconds < 10.0
    assert begun == kept < 9
    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    assert all(len(sizes) == 1 for sizes in trial.rig.simulator.stats.stored.values())


@pytest.mark.parametrize("simulator_options", [STALLED], ids=[""])
@pytest.mark.parametrize("signals", [1, 2], ids=["grace over", "second signal"])
async def test_a_run_that_cannot_finish_is_cut_when_the_grace_is_over_or_by_a_second_signal(
    trial: Trial, signals: int
) -> None:
    """A store that takes nothing holds nobody up, and what was cut off is sent by the next run."""
    entries = trial.rig.make_entries(2, size=700_000)
    trial.rig.service = {**trial.rig.service, "idle_timeout": 30.0}
    for occurrence in range(1, signals + 1):
        trial.at(Point.PUT.before, lambda: strike(signal.SIGTERM), occurrence=occurrence)

    ended, seconds = await run_and_time(trial, grace_seconds=0.3 if signals == 1 else 30.0)
    trial.rig.simulator.faults.rates = {}
    report = await trial.run()

    assert ended == ExitCode.TERMINATED
    assert seconds < 5.0
    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
