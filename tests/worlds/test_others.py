"""Whatever command meets whatever world, on bad days: the jobs of people and of other journals stay as they are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from orchestrator.domain.entries import BatchKey
from orchestrator.domain.errors import OrchestratorError
from orchestrator.engine.cancelling import Canceller
from orchestrator.engine.cleaning import Leftover, delete_orphan, orphans
from orchestrator.engine.collaborators import OnExisting
from orchestrator.engine.connection import Connection, connect
from orchestrator.engine.events import EventBus
from orchestrator.engine.following import Follower, Milestone, PollPace
from orchestrator.journal.journal import Journal, open_journal
from orchestrator.simulator import DIMENSIONS, Simulator, SimulatorOptions, parse_world
from tests.crash.others import Others
from tests.rig import BATCH, Rig, no_sleep
from tests.worlds.pairwise import pairwise

ROWS = pairwise()
COMMANDS_EACH = 4
FAULTS = {
    "lost-create": 0.6,
    "lost-confirm": 0.2,
    "lost-update": 0.2,
    "lost-delete": 0.2,
    "lost-answer": 0.1,
    "intercepted": 0.1,
    "review-fail": 0.3,
    "reset-api": 0.05,
}
SUBMIT = {"is_submit_wanted": True}
Command = Callable[[Rig], Awaitable[object]]


async def cancel(rig: Rig) -> None:
    """`cancel --yes`, of one entry."""

    async def act(journal: Journal, connection: Connection, key: BatchKey) -> None:
        await Canceller(journal, connection.client, EventBus()).cancel(key.digest, ["avatar-0"])

    await _with_service(rig, act)


async def clean(rig: Rig) -> None:
    """`clean --orphans --yes`."""

    async def act(journal: Journal, connection: Connection, _: BatchKey) -> None:
        async for orphan in orphans(journal, connection.client):
            if orphan.whose is Leftover.ORPHAN:
                await delete_orphan(journal, connection.client, orphan)

    await _with_service(rig, act)


async def watch(rig: Rig) -> None:
    """`watch`, until all reviews of a moment are told."""

    async def act(journal: Journal, connection: Connection, key: BatchKey) -> None:
        await Follower(journal, connection.client, EventBus(), key).follow(
            Milestone.REVIEWED, pace=PollPace(), timeout_seconds=0.0, monotonic=rig.clock, sleep=no_sleep
        )

    await _with_service(rig, act)


async def _with_service(rig: Rig, act: Callable[[Journal, Connection, BatchKey], Awaitable[None]]) -> None:
    async with (
        open_journal(str(rig.state), clock=rig.clock) as journal,
        connect(rig.service_settings(), rig.clocks(), reader_threads=1) as connection,
    ):
        await act(journal, connection, BatchKey(connection.endpoint, connection.project_id, BATCH))


async def begin(rig: Rig) -> None:
    """`run --on-existing create`: what exists of these names and this batch is others'."""
    await rig.run({"on_existing": OnExisting.CREATE})


COMMANDS: tuple[Command, ...] = (
    Rig.run,
    lambda rig: rig.run(SUBMIT),
    begin,
    Rig.submit,
    Rig.retry,
    lambda rig: rig.retry(["avatar-0"]),
    lambda rig: rig.retry(is_cancelled_wanted=True),
    cancel,
    clean,
    watch,
)


@pytest.mark.parametrize("number", range(len(ROWS)))
async def test_no_command_touches_a_job_that_is_not_proved_ours(tmp_path: Path, number: int) -> None:
    """People's jobs of the same names, another journal's of the same batch; after each command all are as before."""
    draw = Random(number)
    world = parse_world(",".join(f"{name}={ROWS[number][name]}" for name in DIMENSIONS))
    options = SimulatorOptions(world=world, fault_rates=FAULTS, seed=number, speed=1e9)
    (tmp_path / "studio").mkdir()
    async with Simulator(options, data=tmp_path / "simulator") as simulator:
        rig = Rig(simulator=simulator, folder=tmp_path / "studio")
        entries = rig.make_entries(2, size=200_000, kinds=("cover",))
        others = Others(simulator, batch_name=BATCH, names=[entry["name"] for entry in entries])
        await others.arrive()
        await others.make_twins()

        for command in (begin, *draw.choices(COMMANDS, k=COMMANDS_EACH)):
            with suppress(OrchestratorError):
                await command(rig)
            assert others.touched() == [], (str(world), command)
            await others.make_some_meanwhile()
