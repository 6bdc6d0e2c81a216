"""Bad hours: a service or store that is out is waited for, by one request at a time, and counts against nothing."""

from __future__ import annotations

import asyncio
import io
import os
import re
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

import anyio
import pytest

from orchestrator.domain.errors import ExitCode, ServiceUnreachableError
from orchestrator.domain.outage import OutagePolicy
from orchestrator.domain.retry import RetryPolicy
from orchestrator.domain.states import EntryState
from orchestrator.engine.events import OutageBegan, OutageEnded, OutageProlonged, Point
from orchestrator.observe.plain import PlainProgress
from orchestrator.observe.tracking import RunTracker
from orchestrator.simulator import Simulator, SimulatorOptions
from tests.faults.conftest import Trial, VirtualTime

Action = Callable[[], Awaitable[None]]

OUTAGE_SECONDS = 300.0
#: What requests meet while everything is out, and what it is called on the screen.
OUT: Mapping[str, dict[str, float]] = {
    "errors": {"error-500-api": 1.0, "error-500": 1.0},
    "resets": {"reset-api": 1.0, "reset": 1.0},
    "throttling": {"throttle-429": 1.0, "slow-down": 1.0},
    "lost answers": {"lost-answer-api": 1.0, "reset": 1.0},
    "silence": {"stall-api": 1.0, "stall": 1.0},
}


class AlarmedTime(VirtualTime):
    """A clock that does something when it comes to a time."""

    def __init__(self) -> None:
        """Begin now, with no alarm."""
        super().__init__()
        self.alarms: list[tuple[float, Action]] = []
        self._acting = asyncio.Lock()

    def after(self, seconds: float, action: Action) -> None:
        """Await *action* when *seconds* have been slept."""
        self.alarms.append((self.slept_seconds + seconds, action))

    async def sleep(self, seconds: float) -> None:
        """Take no time, but go off where an alarm is due; while that acts, time stands still."""
        async with self._acting:
            await super().sleep(seconds)
            due = [alarm for alarm in self.alarms if alarm[0] <= self.slept_seconds]
            self.alarms = [alarm for alarm in self.alarms if alarm not in due]
            # Shielded: a sleeper that is woken must not take the alarm with it.
            with anyio.CancelScope(shield=True):
                for _, action in due:
                    await action()


@dataclass
class Outage:
    """Takes service and store of a trial down at a point, and up again after a time."""

    trial: Trial
    seconds: float = OUTAGE_SECONDS
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def time(self) -> AlarmedTime:
        """The clock of the trial."""
        assert isinstance(self.trial.time, AlarmedTime)
        return self.trial.time

    def of(self, rates: dict[str, float], at: str, occurrence: int = 1) -> None:
        """Let every request meet a fault from *at* on."""
        faults = self.trial.rig.simulator.faults

        async def end() -> None:
            faults.rates = {}

        def begin() -> None:
            faults.rates = dict(rates)
            self.time.after(self.seconds, end)

        self.trial.at(at, begin, occurrence=occurrence)

    def of_everything(self, at: str, occurrence: int = 1) -> None:
        """Stop the process that listens, from *at* on."""
        simulator = self.trial.rig.simulator

        def begin() -> None:
            self.tasks.append(asyncio.get_running_loop().create_task(simulator.stop()))
            self.time.after(self.seconds, self._listen_again)

        self.trial.at(at, begin, occurrence=occurrence)

    async def _listen_again(self) -> None:
        await asyncio.gather(*self.tasks)
        stopped = self.trial.rig.simulator
        port = int(stopped.endpoint.rpartition(":")[2])
        again = Simulator(stopped.options, data=stopped.folder, port=port, clock=self.time.clock)
        await again.start()
        self.trial.rig.simulator = again


@pytest.fixture
def virtual_time() -> type[VirtualTime]:
    """A clock with alarms."""
    return AlarmedTime


def shown(trial: Trial) -> str:
    """What plain progress writes of the events so far."""
    stream = io.StringIO()
    with PlainProgress(RunTracker(trial.time.monotonic), stream, trial.time.clock) as progress:
        for event in trial.rig.events:
            if type(event) in progress.event_types:
                progress(event)
    return stream.getvalue()


async def assert_waited_out(trial: Trial, entries: list[dict[str, object]], exit_code: int) -> None:
    """All right in the end, nothing counted, and the reason was on the screen."""
    assert exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    assert OUTAGE_SECONDS <= trial.time.slept_seconds < 5 * OUTAGE_SECONDS
    begun, ended = trial.rig.events_of(OutageBegan), trial.rig.events_of(OutageEnded)
    assert begun
    assert {event.side for event in begun} == {event.side for event in ended}
    text = shown(trial)
    assert f"({begun[0].reason})" in text
    assert "next try in" in text
    assert "giving up at 15:00" in text
    assert "answers again after" in text


#: The simulator's own: a connection that arrives while it closes.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

POINTS = [Point.CREATE.before, Point.PUT.before, Point.CONFIRM.before]
#: Silence is found out by waiting, and that takes real time.
KINDS = [
    *(pytest.param(kind, marks=pytest.mark.long) if kind == "silence" else kind for kind in OUT),
    "nobody listens",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("point", POINTS)
async def test_a_run_waits_out_five_minutes_without_service_and_store(
    trial: Trial, kind: str, point: str
) -> None:
    """Wherever it strikes and whatever it looks like: exit 0, one job each, no attempt used up."""
    entries = trial.rig.make_entries(3, size=600_000, kinds=("cover",))
    # A create that only a busy machine cuts off may be carried out after it was looked for: never so soon.
    is_silent = kind == "silence"
    timeouts = {"idle_timeout": 0.5, "api_timeout": 0.5} if is_silent else {"api_timeout": 10.0}
    policy = OutagePolicy(base_seconds=4.0, cap_seconds=60.0) if is_silent else OutagePolicy()
    trial.rig.service = {**trial.rig.service, **timeouts, "outage": policy}
    outage = Outage(trial)
    if kind == "nobody listens":
        outage.of_everything(point, occurrence=2)
    else:
        outage.of(OUT[kind], point, occurrence=2)

    report = await trial.run()

    await assert_waited_out(trial, entries, report.exit_code)
    if trial.rig.simulator.faults.counts:
        assert trial.rig.simulator.faults.counts.total() < 120
    await trial.rig.simulator.stop()


@pytest.mark.parametrize("kind", KINDS)
async def test_an_outage_that_is_not_waited_for_ends_the_run_with_five(trial: Trial, kind: str) -> None:
    """`--max-outage 10`: the reason is told, no entry has failed, and the next run does the rest."""
    entries = trial.rig.make_entries(3, size=600_000)
    policy = OutagePolicy(patience_seconds=10.0, first_patience_seconds=10.0)
    trial.rig.service = {
        **trial.rig.service,
        "api_timeout": 0.5 if kind == "silence" else 10.0,
        "outage": policy,
    }
    outage = Outage(trial, seconds=3600.0)
    if kind == "nobody listens":
        outage.of_everything(Point.PUT.before, occurrence=2)
    else:
        outage.of(OUT[kind], Point.PUT.before, occurrence=2)

    report = await trial.run()

    assert report.exit_code == ExitCode.TEMPORARY
    assert isinstance(report.cause, ServiceUnreachableError)
    # Other waits move the shared clock as well, each by the cap of a retry at most.
    waited = re.search(r"\(waited (\d+) s\)", report.cause.message)
    assert waited is not None
    assert policy.patience_seconds <= int(waited[1]) < policy.patience_seconds + RetryPolicy().cap_seconds
    assert "--max-outage" in (report.cause.hint or "")
    assert report.entries.failed == 0
    for _, action in outage.time.alarms:
        await action()
    trial.rig.service = {**trial.rig.service, "idle_timeout": 0.4, "api_timeout": 2.0}
    assert (await trial.run()).exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    await trial.rig.simulator.stop()


async def test_a_service_that_was_never_reached_has_a_patience_of_its_own(trial: Trial) -> None:
    """At a terminal a minute, so that a wrong setting shows."""
    trial.rig.make_entries(2, size=200_000)
    policy = OutagePolicy(first_patience_seconds=60.0)
    trial.rig.service = {**trial.rig.service, "endpoint": "http://127.0.0.1:9", "outage": policy}

    report = await trial.run()

    assert report.exit_code == ExitCode.TEMPORARY
    assert "(waited 60 s)" in str(report.cause)
    assert "--endpoint" in (report.cause.hint or "" if report.cause else "")
    assert "giving up at 1:00" in shown(trial)


@pytest.mark.parametrize("simulator_options", [SimulatorOptions(fault_rates={"task-limit": 1.0})], ids=[""])
async def test_a_used_up_task_quota_is_tried_by_one_create_at_a_time(trial: Trial) -> None:
    """No entry fails for it, and the run ends with a sentence: exit 5."""
    trial.rig.make_entries(10, size=200_000)

    report = await trial.run()

    assert report.exit_code == ExitCode.TEMPORARY
    assert "concurrent tasks" in str(report.cause)
    assert report.entries.failed == 0
    assert trial.rig.simulator.stats.requests["create"] < 50
    assert "service (create) overloaded" in shown(trial)


@pytest.mark.parametrize("simulator_options", [SimulatorOptions(fault_rates={"task-limit": 1.0})], ids=[""])
async def test_a_task_quota_that_frees_up_lets_all_go_on(trial: Trial) -> None:
    """Five minutes without a create, while nothing else is held up."""
    entries = trial.rig.make_entries(10, size=200_000)
    outage = Outage(trial)
    outage.of({"task-limit": 1.0}, Point.CREATE.before)

    report = await trial.run()

    await assert_waited_out(trial, entries, report.exit_code)
    assert trial.rig.simulator.faults.counts["task-limit"] < 30
    assert {event.side for event in trial.rig.events_of(OutageBegan)} == {"service (create)"}


async def test_a_store_that_is_out_does_not_hold_the_service_up(trial: Trial) -> None:
    """They are waited for apart, and each is named."""
    entries = trial.rig.make_entries(3, size=600_000)
    Outage(trial).of({"error-500": 1.0}, Point.PUT.before)

    report = await trial.run()

    await assert_waited_out(trial, entries, report.exit_code)
    host = trial.rig.simulator.endpoint.removeprefix("http://")
    assert {event.side for event in trial.rig.events_of(OutageBegan)} == {f"store {host}"}


async def test_a_signal_in_an_outage_stops_at_once(trial: Trial) -> None:
    """What waits at the gate is not begun any more; the next run goes on."""
    entries = trial.rig.make_entries(3, size=600_000)
    outage = Outage(trial, seconds=3600.0)
    outage.of(OUT["resets"], Point.PUT.before, occurrence=2)

    async def strike() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.05)

    outage.time.after(60.0, strike)

    drained = await trial.run()
    begun = trial.time.slept_seconds
    trial.rig.simulator.faults.rates = {}
    report = await trial.run()

    assert drained.exit_code == ExitCode.TERMINATED
    assert begun < 150.0
    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)


async def test_a_short_cut_is_no_news(trial: Trial) -> None:
    """A second without answers is waited for without a word, and without a failure."""
    entries = trial.rig.make_entries(3, size=600_000)
    outage = Outage(trial, seconds=0.5)
    outage.of({"throttle-429": 1.0}, Point.CREATE.before)

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    assert not trial.rig.events_of(OutageProlonged)


async def test_an_entry_waits_in_its_state(trial: Trial) -> None:
    """Nothing in the journal says failed when an outage has ended the run."""
    trial.rig.make_entries(3, size=600_000)
    trial.rig.settings = replace(trial.rig.settings, jobs=2)
    Outage(trial, seconds=7200.0).of(OUT["errors"], Point.PUT.before, occurrence=2)

    await trial.run()

    states = {record.state for record in (await trial.rig.entries()).values()}
    assert EntryState.FAILED not in states
