"""A batch and a simulator whose clock can be put forward; whatever a test does, its traces hold no secret."""

from __future__ import annotations

import io
import itertools
import json
import logging
import random
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio.lowlevel
import pytest
import structlog

from orchestrator.domain.entries import BatchKey
from orchestrator.domain.retry import RetryPolicy
from orchestrator.engine.batch import run_batch
from orchestrator.engine.events import Event, EventBus, RetryScheduled, StepReached, Subscriber
from orchestrator.engine.following import Follower
from orchestrator.engine.report import RunOutcome
from orchestrator.engine.service_connection import Clocks, connect
from orchestrator.journal.journal import Journal, open_journal
from orchestrator.simulator import JobView, Simulator, SimulatorOptions
from tests.rig import BATCH, Rig, run_settings

PHONE = "13912345678"
PART_BYTES = 256 * 1024
#: Short enough for tests, long enough that a busy machine is not taken for a dead one.
IDLE_SECONDS = 0.4


class VirtualTime:
    """A clock that only sleeping, and `put_forward`, moves."""

    def __init__(self) -> None:
        """Begin now."""
        self._began = time.time()
        self.slept_seconds = 0.0

    def clock(self) -> float:
        """Seconds since the epoch."""
        return self._began + self.slept_seconds

    def monotonic(self) -> float:
        """Seconds since the beginning."""
        return self.slept_seconds

    def put_forward(self, seconds: float) -> None:
        """Let time pass."""
        self.slept_seconds += seconds

    async def sleep(self, seconds: float) -> None:
        """Take no time, but let the clock say so."""
        self.slept_seconds += seconds
        await anyio.lowlevel.checkpoint()


class BusWithActions(EventBus):
    """A bus by which a test can act in the middle of a run; what the action raises stops the entry."""

    def __init__(self, act: Subscriber, *subscribers: Subscriber) -> None:
        super().__init__(*subscribers)
        self._act = act

    def has_subscriber(self, kind: type[Event]) -> bool:
        """Everything is."""
        return True

    def publish(self, event: Event) -> None:
        """Tell the subscribers, then act."""
        super().publish(event)
        self._act(event)


@dataclass
class Trial:
    """A rig under a virtual clock, and hooks on what its runs reach."""

    rig: Rig
    time: VirtualTime
    reports: list[RunOutcome] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    journal: Journal | None = None
    _hooks: dict[tuple[str, int], Callable[[], object]] = field(default_factory=dict)
    _reached: dict[str, int] = field(default_factory=dict)

    def at(self, point: str, action: Callable[[], object], *, occurrence: int = 1) -> None:
        """Call *action* when a run comes to *point* for the n-th time."""
        self._hooks[point, occurrence] = action

    async def run(self, *, grace_seconds: float = 30.0, **clocks: Any) -> RunOutcome:
        """Run the batch once; *clocks* replace the virtual ones."""
        rig, self.rig.seed = self.rig, self.rig.seed + 1
        numbers = itertools.count()
        seed = rig.seed
        used = {
            "clock": self.time.clock,
            "monotonic": self.time.monotonic,
            "sleep": self.time.sleep,
            "draw": random.Random(seed).random,
            "nonce": lambda: f"{seed}-{next(numbers)}",
            **clocks,
        }
        bus = BusWithActions(self._hear, rig.events.append, *filter(None, [rig.on_event]))
        try:
            async with open_journal(str(rig.state), clock=self.time.clock) as self.journal:
                request = rig.request(work=rig.work_settings(grace_seconds=grace_seconds))
                report = await run_batch(request, self.journal, bus, Clocks(**used))
        except BaseException as failure:
            self.failures.append(failure)
            raise
        self.reports.append(report)
        return report

    async def follow(self) -> None:
        """Take the service's word on every job once, as `watch` does."""
        rig = self.rig
        async with (
            open_journal(str(rig.state), clock=rig.clock) as journal,
            connect(rig.service_settings(), rig.clocks(), reader_threads=1) as connection,
        ):
            key = BatchKey(connection.endpoint, connection.project_id, BATCH)
            await Follower(journal, connection.client, EventBus(rig.events.append), key).poll()

    def _hear(self, event: Event) -> None:
        name = event.point if isinstance(event, StepReached) else event.name
        self._reached[name] = self._reached.get(name, 0) + 1
        action = self._hooks.pop((name, self._reached[name]), None)
        if action is not None:
            action()

    def points(self, point: str) -> int:
        """How often runs came to *point*."""
        return self._reached.get(point, 0)

    def retries(self) -> list[RetryScheduled]:
        """What was tried again."""
        return self.rig.events_of(RetryScheduled)

    def only_job(self) -> JobView:
        """The one job that exists."""
        (job,) = self.rig.simulator.jobs
        return job

    def assert_delivered(
        self, entries: list[dict[str, Any]], *, submissions: int = 0, apart_from: Collection[str] = ()
    ) -> None:
        """One job per entry, its objects equal to the files, confirmed once, and submitted so often.

        *apart_from* names jobs of others.
        """
        self.rig.assert_delivered(entries, apart_from=apart_from)
        for job in self.rig.simulator.jobs:
            if job.job_id in apart_from:
                continue
            assert set(job.confirmations.values()) == {1}
            assert job.submissions == submissions

    async def error_of(self, entry_id: str) -> tuple[str, str | None, str]:
        """Kind, code and message of an entry's failure."""
        error = (await self.rig.entries())[entry_id].error
        assert error is not None
        return error.kind, error.code, error.message


@pytest.fixture
def simulator_options() -> SimulatorOptions:
    """What the simulator is told; tests override it by parametrizing this name."""
    return SimulatorOptions()


@pytest.fixture
def virtual_time() -> type[VirtualTime]:
    """How time goes; tests override it by parametrizing this name."""
    return VirtualTime


@pytest.fixture
async def trial(
    tmp_path: Path,
    simulator_options: SimulatorOptions,
    virtual_time: type[VirtualTime],
    logged: io.StringIO,
) -> AsyncIterator[Trial]:
    """A batch folder, a running simulator and a clock they share; afterwards a search for secrets."""
    folder = tmp_path / "studio"
    folder.mkdir()
    virtual = virtual_time()
    async with Simulator(simulator_options, data=tmp_path / "simulator", clock=virtual.clock) as simulator:
        rig = Rig(
            simulator=simulator,
            folder=folder,
            settings=run_settings(part_bytes=PART_BYTES),
            service={"idle_timeout": IDLE_SECONDS, "api_timeout": 1.0},
            policy=RetryPolicy(),
            clock=virtual.clock,
        )
        trial = Trial(rig, virtual)
        yield trial
        await simulator.stop()
    assert not secrets_told(trial, logged.getvalue())


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """All that we log, down to the last level, with tracebacks, and what libraries log from INFO up."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    structlog.configure(
        processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()],
        logger_factory=structlog.PrintLoggerFactory(text),
        cache_logger_on_first_use=False,
    )
    yield text
    structlog.reset_defaults()
    root.removeHandler(handler)
    root.setLevel(level)


def secrets_told(trial: Trial, log: str) -> list[tuple[str, str]]:
    """(where, what) for every secret that events, logs, errors, reports or the journal tell."""
    rig, options = trial.rig, trial.rig.simulator.options
    traces = {
        "events": repr(rig.events),
        "reports": json.dumps([report.as_dict() for report in trial.reports], default=str),
        "causes": repr([report.cause for report in trial.reports]),
        "problems": repr(rig.problems),
        "failures": "".join(map(_text_of, trial.failures)),
        "log": log,
        "journal": _journal_text(rig.state),
    }
    secrets = (options.ak, options.sk, options.token, options.store_ak, options.store_sk, PHONE, "Signature=")
    return [(name, secret) for name, text in traces.items() for secret in secrets if secret in text]


def _text_of(failure: BaseException) -> str:
    causes = "" if failure.__cause__ is None else _text_of(failure.__cause__)
    return f"{failure!r} {failure} {getattr(failure, 'hint', '')} {causes}"


def _journal_text(path: Path) -> str:
    """What the journal holds, but for the manifest's own fields and the URLs of jobs that are not confirmed."""
    if not path.exists():
        return ""
    with closing(sqlite3.connect(path)) as journal:
        kept = [
            *journal.execute("SELECT * FROM transitions"),
            *journal.execute("SELECT * FROM attempts"),
            *journal.execute("SELECT state, create_tag, error_message, error_hint, error_code FROM entries"),
            *journal.execute(
                "SELECT segments.* FROM segments JOIN entries USING (batch, entry_id) WHERE confirmed_at > 0"
            ),
        ]
    return repr(kept)
