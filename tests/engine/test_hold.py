"""The hold of an entry: what a worker may still send that was away for longer than others wait for it."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from orchestrator.domain.errors import ExitCode, HoldLostError
from orchestrator.domain.states import Change
from orchestrator.engine.entry import ALWAYS_HELD, Hold, acting_under, awake_and_asleep, check_hold, uncut
from orchestrator.engine.events import Event, Point, StepReached
from orchestrator.journal.journal import Journal, open_journal
from orchestrator.metastudio.client import MetaStudioClient
from tests.rig import Rig

SECONDS = 60.0


@dataclass
class Giver:
    """Gives one hold, by a clock of its own; `answers` are those to what is asked, in turn."""

    answers: list[bool] = field(default_factory=list)
    now: float = 1000.0
    asked: int = 0
    #: How long an answer takes.
    seconds: float = 0.0

    def hold(self) -> Hold:
        """A hold of a minute from now."""
        return Hold(SECONDS, renew=self.renew, monotonic=lambda: self.now)

    async def renew(self) -> bool:
        """Ask whether the hold is still given."""
        self.asked += 1
        await anyio.lowlevel.checkpoint()
        self.now += self.seconds
        return self.answers.pop(0)


async def test_a_young_hold_asks_nobody() -> None:
    """Up to nine tenths of the time after which another may take over, from the last renewal."""
    giver = Giver()
    hold = giver.hold()

    await hold.check()
    giver.now += 0.9 * SECONDS
    await hold.check()
    hold.renewed(giver.now)
    giver.now += 0.9 * SECONDS
    await hold.check()

    assert giver.asked == 0


async def test_an_old_hold_asks_and_goes_on_when_it_is_still_given() -> None:
    """A beat that came late is no takeover; the answer is good from when it was asked for."""
    giver = Giver([True, True])
    hold = giver.hold()
    giver.now += SECONDS
    giver.seconds = 0.5 * SECONDS

    await hold.check()
    giver.now += 0.4 * SECONDS
    await hold.check()
    assert giver.asked == 1
    giver.now += 1
    await hold.check()

    assert giver.asked == 2


async def test_an_answer_that_comes_too_late_is_asked_for_again() -> None:
    """By then another may have taken over."""
    giver = Giver([True, False])
    hold = giver.hold()
    giver.now += SECONDS
    giver.seconds = SECONDS

    with pytest.raises(HoldLostError):
        await hold.check()

    assert (giver.asked, hold.is_lost) == (2, True)


async def test_many_that_wait_for_an_old_hold_ask_once() -> None:
    """An entry sends many parts at once."""
    giver = Giver([True])
    hold = giver.hold()
    giver.now += SECONDS

    async with anyio.create_task_group() as group:
        for _ in range(6):
            group.start_soon(hold.check)

    assert giver.asked == 1


async def test_a_renewal_that_is_overtaken_takes_nothing_back() -> None:
    """Beats and questions may cross."""
    giver = Giver()
    hold = giver.hold()
    giver.now += 0.5 * SECONDS
    hold.renewed(giver.now)
    hold.renewed(giver.now - 10)
    giver.now += 0.9 * SECONDS

    await hold.check()


async def test_work_is_cut_off_when_its_hold_is_lost() -> None:
    """Also what waits for something else; and from then on nothing passes the check."""
    hold = Giver().hold()

    async def work() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            hold.lose()

    with pytest.raises(HoldLostError):
        await hold.work(work)
    with pytest.raises(HoldLostError):
        await hold.check()


async def test_work_that_may_not_be_cut_off_is_cut_off_right_after_it() -> None:
    """Its answers are heard first, as those of a create."""
    hold = Giver().hold()
    reached: list[str] = []

    async def work() -> None:
        with uncut():
            hold.lose()
            await anyio.lowlevel.checkpoint()
            reached.append("the answer")
        await anyio.lowlevel.checkpoint()
        reached.append("the next step")

    with pytest.raises(HoldLostError):
        await hold.work(work)

    assert reached == ["the answer"]


async def test_the_hold_is_that_of_the_task_and_of_those_it_starts() -> None:
    """Two entries at once each have their own; what belongs to no entry is always held."""
    lost = Giver().hold()
    lost.lose()
    passed: list[str] = []

    async def passes(name: str) -> None:
        try:
            await check_hold()
        except HoldLostError:
            return
        passed.append(name)

    async def act(hold: Any, name: str) -> None:
        with acting_under(hold):
            async with anyio.create_task_group() as group:
                group.start_soon(passes, name)

    async with anyio.create_task_group() as group:
        group.start_soon(act, lost, "lost")
        group.start_soon(act, ALWAYS_HELD, "held")
    await passes("of no entry")

    assert sorted(passed) == ["held", "of no entry"]


def test_the_clock_of_a_hold_goes_on_in_a_suspended_machine() -> None:
    """By the kernel's clock that counts sleep, which is never behind the one that does not."""
    not_counting_sleep = time.monotonic()

    assert awake_and_asleep() >= not_counting_sleep


@dataclass
class Absence:
    """A worker that is away from *point* on, for longer than others wait; meanwhile another takes the entry."""

    rig: Rig
    point: Point
    now: float = 0.0
    requests: Counter[str] | None = None
    is_taken: bool = False

    def hear(self, event: Event) -> None:
        """Be away at the first time."""
        if isinstance(event, StepReached) and event.point == self.point.before and self.requests is None:
            self.requests = self.rig.simulator.stats.requests.copy()
            self.now += 2 * SECONDS

    async def renew(self) -> bool:
        """Find the entry in the hands of another, who claims it only now."""
        if not self.is_taken:
            self.is_taken = True
            async with open_journal(str(self.rig.state), clock=self.rig.clock) as journal:
                batch = (await journal.batches())[0].batch
                (record,) = [record async for record in journal.entries(batch)]
                await journal.claim(record)
        return False

    async def run(self, run: Callable[[], Awaitable[Any]]) -> Any:
        """*run* under the hold of this worker."""
        self.rig.on_event = self.hear
        hold = Hold(SECONDS, renew=self.renew, monotonic=lambda: self.now)
        with acting_under(hold):
            report = await run()
        self.rig.on_event = None
        return report


FRESH = (
    Point.CREATE,
    Point.PUT,
    Point.CONFIRM,
    Point.CONFIRM_ACTION,
    Point.CONFIRM_LETTER,
    Point.SUBMIT,
)


@pytest.mark.parametrize("point", FRESH)
async def test_a_worker_that_comes_back_sends_nothing_and_the_next_one_finishes(
    rig: Rig, point: Point
) -> None:
    """From each point of a life at which something is sent; the entry ends with one job, submitted once."""
    entries = rig.make_entries(1, size=300_000, kinds=("action_video", "grant_file"))
    absence = Absence(rig, point)
    submit = {"is_submit_wanted": True, "parallel": 1}

    report = await absence.run(lambda: rig.run(submit))

    assert absence.is_taken
    assert report.exit_code == ExitCode.TEMPORARY, "the entry is not known to be done"
    assert rig.simulator.stats.requests == absence.requests, "nothing was sent"

    after = await rig.run(submit)

    assert after.exit_code == ExitCode.OK
    rig.assert_delivered(entries)
    once = ("create", "confirm", "confirm-action", "submit")
    assert [rig.simulator.stats.requests[operation] for operation in once] == [1, 1, 1, 1]
    assert all(len(sizes) == 1 for sizes in rig.simulator.stats.stored.values()), "no byte was sent twice"
    assert len(rig.simulator.jobs) == 1


@pytest.mark.parametrize(
    ("point", "change"), [(Point.UPDATE, Change.UPDATE), (Point.DELETE, Change.RECREATE)]
)
async def test_a_worker_that_comes_back_neither_updates_nor_deletes_a_job(
    rig: Rig, point: Point, change: Change
) -> None:
    """The next one does, once."""
    (entry,) = rig.make_entries(1, size=300_000)
    # A job that is joined takes no update.
    await Absence(rig, Point.CONFIRM).run(rig.run)
    rig.write_batch([{**entry, "tags": ["changed"]}])
    absence = Absence(rig, point)

    report = await absence.run(lambda: rig.run({"on_change": change}))

    assert absence.is_taken
    assert report.exit_code == ExitCode.TEMPORARY
    assert rig.simulator.stats.requests == absence.requests, "nothing was sent"

    assert (await rig.run({"on_change": change})).exit_code == ExitCode.OK
    rig.assert_delivered([entry])
    assert len(rig.simulator.jobs) == 1


@pytest.mark.parametrize("is_told", [False, True])
async def test_a_job_whose_create_was_on_its_way_when_the_hold_was_lost_is_deleted_by_its_maker(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, is_told: bool
) -> None:
    """Nobody else knows of it: the one that took over has already seen that there is none, and made its own.

    It may be told of its loss by a heartbeat, which cuts off what it does, before it has the answer.
    """
    entries = rig.make_entries(1, size=300_000)
    giver = Giver([False])
    hold = giver.hold()
    create_job = MetaStudioClient.create_job

    async def create_late(client: MetaStudioClient, *arguments: Any, **named: Any) -> Any:
        job = await create_job(client, *arguments, **named)
        giver.now += 2 * SECONDS
        # What the next worker has written by now: it looked for the job before it was there.
        with closing(sqlite3.connect(rig.state)) as other, other:
            other.execute("UPDATE entries SET epoch = epoch + 1, state = 'pending', create_tag = NULL")
        if is_told:
            hold.lose()
        await anyio.lowlevel.checkpoint()
        return job

    with monkeypatch.context() as patch, suppress(HoldLostError):
        patch.setattr(MetaStudioClient, "create_job", create_late)
        report = await hold.work(rig.run)
        assert report.exit_code == ExitCode.TEMPORARY

    assert rig.simulator.stats.requests["create"] == 1
    assert rig.simulator.jobs == []
    assert (await rig.run()).exit_code == ExitCode.OK
    rig.assert_delivered(entries)


async def test_a_job_that_was_looked_for_just_before_it_was_there_is_deleted_by_its_maker(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next worker has not yet written down that there is none when the maker asks whether it knows it."""
    entries = rig.make_entries(1, size=300_000)
    giver = Giver([False])
    owns_job = Journal.owns_job
    asked: list[bool] = []

    def write(change: str) -> None:
        with closing(sqlite3.connect(rig.state)) as other, other:
            other.execute(f"UPDATE entries SET {change}")

    async def owns_late(journal: Journal, *arguments: Any) -> bool:
        asked.append(await owns_job(journal, *arguments))
        write("epoch = epoch + 1, state = 'pending', create_tag = NULL")
        return asked[-1]

    def hear(event: Event) -> None:
        if isinstance(event, StepReached) and event.point == Point.CREATE.after:
            giver.now += 2 * SECONDS
            write("epoch = epoch + 1")

    rig.on_event = hear
    with acting_under(giver.hold()), monkeypatch.context() as patch:
        patch.setattr(Journal, "owns_job", owns_late)
        report = await rig.run()
    rig.on_event = None

    assert report.exit_code == ExitCode.TEMPORARY
    assert asked[0], "it looked as if the next worker would find the job"
    assert rig.simulator.jobs == []
    assert (await rig.run()).exit_code == ExitCode.OK
    rig.assert_delivered(entries)
