"""A process that starts runs to be killed: each is a fork of it, so that imports are paid for once.

It reads one JSON order per line, answers with the process id of the fork, and once that has ended with how.
The fork appends what it reaches to a trail, which survives it; tests/crash/harness.py reads that.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

from orchestrator.domain.outage import OutagePolicy
from orchestrator.domain.retry import RetryPolicy
from orchestrator.engine.batch import RunRequest, run_batch
from orchestrator.engine.context import OnExisting, WorkSettings
from orchestrator.engine.events import (
    EntryFailed,
    Event,
    EventBus,
    RetryScheduled,
    StepReached,
    WarningRaised,
)
from orchestrator.engine.report import RunOutcome
from orchestrator.engine.service_connection import Clocks
from orchestrator.journal.journal import open_journal
from orchestrator.manifest import open_manifest
from orchestrator.metastudio.credentials import Credentials, FoundCredentials
from orchestrator.metastudio.rate_limit import ApiRate
from orchestrator.simulator.footage import write_footage
from tests.rig import run_settings, service_settings

QUICK = RetryPolicy(attempts=8, base_seconds=0.01, cap_seconds=0.05, throttled_floor_seconds=0.01)
UNPACED = ApiRate(0.0, 0.0)


class Trail:
    """Writes down what a run reaches, and kills or stops it where it was told to."""

    def __init__(self, path: str, kill: dict[str, Any] | None) -> None:
        """Append to *path*; *kill* names a point, which occurrence of it is the last, and a `signal` but SIGKILL."""
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._kill = kill or {}
        self._seen: Counter[str] = Counter()

    def __call__(self, event: Event) -> None:
        """Hear of an event."""
        if isinstance(event, StepReached):
            self.reach(event.point, job_id=event.job_id, asset=event.asset, part_number=event.part_number)
        elif isinstance(event, RetryScheduled):
            self.write(
                retry=event.kind, job_id=event.job_id, asset=event.asset, part_number=event.part_number
            )
        elif isinstance(event, WarningRaised):
            self.write(warning=event.message, entry=event.entry)
        elif isinstance(event, EntryFailed):
            self.write(failure=event.message)
        elif event.name.startswith("run."):
            self.reach(event.name)

    def reach(self, point: str, **where: Any) -> None:
        """Write *point* down, and die there if it is the one."""
        self.write(point=point, **where)
        self._seen[point] += 1
        if self._kill.get("point") == point and self._kill.get("occurrence") == self._seen[point]:
            os.kill(os.getpid(), self._kill.get("signal", signal.SIGKILL))

    def write(self, **line: Any) -> None:
        """Append one line; what a write call has taken, a kill does not take back."""
        os.write(self._descriptor, (json.dumps(line) + "\n").encode())


async def run(order: dict[str, Any], trail: Trail) -> RunOutcome:
    """Run the batch once, as the command does."""
    draw = random.Random(order["seed"])
    clocks = Clocks(
        clock=lambda: time.time() + order["passed_seconds"],
        monotonic=time.monotonic,
        sleep=asyncio.sleep,
        draw=draw.random,
        nonce=lambda: f"{draw.getrandbits(64):016x}",
    )
    request = RunRequest(
        manifest=open_manifest(Path(order["manifest"])),
        work=work_settings(order),
        with_media=False,
        on_problems=lambda _: trail.reach("registered"),
    )
    async with open_journal(order["state"], clock=clocks.clock) as journal:
        return await run_batch(request, journal, EventBus(trail), clocks)


def work_settings(order: dict[str, Any]) -> WorkSettings:
    """Short waits, and the service of the round."""
    service = order["service"]
    return WorkSettings(
        service=service_settings(
            endpoint=service["endpoint"],
            project_id=service["project_id"],
            credentials=FoundCredentials(
                secret=Credentials(service["ak"], service["sk"]), source="the round", project_id=None
            ),
            api_rate=UNPACED,
            api_policy=QUICK,
            outage=OutagePolicy(
                patience_seconds=60.0,
                first_patience_seconds=order.get("first_patience_seconds", 60.0),
                base_seconds=0.02,
            ),
            idle_timeout=5.0,
        ),
        settings=run_settings(
            part_bytes=order["part_bytes"],
            is_submit_wanted=order["is_submit_wanted"],
            settle_seconds=0.1,
            on_existing=OnExisting(order["on_existing"]),
        ),
        policy=QUICK,
        grace_seconds=5.0,
        run_id=f"run-{order['seed']}",
    )


def live(order: dict[str, Any]) -> int:
    """What the fork does; its exit status says that it got to its end, the trail how."""
    trail = Trail(order["trail"], order["kill"])
    try:
        report = asyncio.run(run(order, trail))
    except BaseException:  # noqa: BLE001 - the harness shows it as the round's failure
        trail.write(crash=traceback.format_exc())
        return 1
    cause = report.cause.message if report.cause else None
    trail.write(report=report.as_dict(), cause=cause)
    return 0


def warm_up() -> None:
    """Run once against nobody: what is imported or compiled at first use, the forks need not do again."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_footage(folder / "film.mp4", size=150_000, seed=1)
        manifest = {"avatars": [{"name": "Anna", "training_video": "film.mp4"}]}
        (folder / "batch.yaml").write_text(json.dumps(manifest))
        order = {
            "manifest": str(folder / "batch.yaml"),
            "state": str(folder / "journal.db"),
            "trail": str(folder / "trail"),
            "service": {"endpoint": "http://127.0.0.1:9", "project_id": "p", "ak": "ak", "sk": "sk"},
            "part_bytes": 100_000,
            "is_submit_wanted": False,
            "on_existing": "ask",
            "passed_seconds": 0.0,
            "seed": "warm-up",
            "first_patience_seconds": 0.0,
            "kill": None,
        }
        live(order)
    await_end_of_threads()


def await_end_of_threads() -> None:
    """Wait for the worker threads of a run, which are told to end but not waited for; a fork needs them gone."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(timeout=10)
            if thread.is_alive():
                raise RuntimeError(f"{thread.name} goes on, and a fork of a process with threads can hang")


def main() -> None:
    """Obey orders until standard input ends."""
    warm_up()
    for line in sys.stdin:
        order = json.loads(line)
        process_id = os.fork()
        if process_id == 0:
            os._exit(live(order))
        print(json.dumps({"process_id": process_id}), flush=True)
        _, status = os.waitpid(process_id, 0)
        print(json.dumps({"is_killed": os.WIFSIGNALED(status)}), flush=True)


if __name__ == "__main__":
    main()
