"""Every command, in drawn worlds with faults, beside the jobs of people and of another journal: none is touched."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from orchestrator.domain.entries import BatchKey
from orchestrator.domain.errors import OrchestratorError
from orchestrator.engine.cancelling import Canceller
from orchestrator.engine.cleaning import Origin, delete_orphan, leftover_jobs
from orchestrator.engine.context import OnExisting
from orchestrator.engine.events import EventBus
from orchestrator.engine.following import Follower, Milestone, PollPace
from orchestrator.engine.service_connection import connect
from orchestrator.journal.journal import open_journal
from orchestrator.simulator import DIMENSIONS, Simulator, SimulatorOptions, World, parse_world
from tests.rig import BATCH, Rig, no_sleep
from tests.strangers import Untouched, make_console_jobs

ROUNDS = 12
FAULTS = {
    "lost-create": 0.3,
    "lost-confirm": 0.2,
    "lost-update": 0.2,
    "lost-delete": 0.2,
    "lost-answer-api": 0.05,
    "error-500-api": 0.05,
    "false-refusal": 0.05,
}
#: What touches jobs at all is drawn; the store's ways are another test's.
_DRAWN = (
    *("list-filters", "list-tags", "show-tags", "download-urls", "part-list-after-join"),
    *("second-confirm", "update-allowed", "update-keeps", "delete-allowed"),
)

Command = Callable[[Rig], Awaitable[object]]


async def run(rig: Rig) -> object:
    """`run`, which makes jobs beside those that exist."""
    return await rig.run({"on_existing": OnExisting.CREATE})


async def run_submit(rig: Rig) -> object:
    """`run --submit`."""
    return await rig.run({"is_submit_wanted": True, "on_existing": OnExisting.CREATE})


async def ask(rig: Rig) -> object:
    """`run` with nothing said about what exists."""
    return await rig.run()


async def retry(rig: Rig) -> object:
    """`retry`."""
    return await rig.retry()


async def submit(rig: Rig) -> object:
    """`submit`."""
    return await rig.submit()


async def watch(rig: Rig) -> object:
    """`watch`, for a moment."""
    async with (
        open_journal(str(rig.state), clock=rig.clock) as journal,
        connect(rig.service_settings(), rig.clocks(), reader_threads=1) as connection,
    ):
        key = BatchKey(connection.endpoint, connection.project_id, BATCH)
        follower = Follower(journal, connection.client, EventBus(), key)
        return await follower.follow(
            Milestone.REVIEWED,
            pace=PollPace(),
            timeout_seconds=0.0,
            monotonic=rig.clocks().monotonic,
            sleep=no_sleep,
        )


async def cancel(rig: Rig) -> object:
    """`cancel --yes`."""
    async with (
        open_journal(str(rig.state), clock=rig.clock) as journal,
        connect(rig.service_settings(), rig.clocks(), reader_threads=1) as connection,
    ):
        key = BatchKey(connection.endpoint, connection.project_id, BATCH)
        return await Canceller(journal, connection.client, EventBus()).cancel(key, None)


async def clean(rig: Rig) -> object:
    """`clean --orphans --yes`."""
    async with (
        open_journal(str(rig.state), clock=rig.clock) as journal,
        connect(rig.service_settings(), rig.clocks(), reader_threads=1) as connection,
    ):
        found = [job async for job in leftover_jobs(journal, connection.client)]
        return [
            await delete_orphan(journal, connection.client, job)
            for job in found
            if job.origin is Origin.ORPHAN
        ]


#: Those that ask the service; the others are tried in tests/cli/test_existing.py.
COMMANDS: dict[str, Command] = {
    "run": run,
    "run asking": ask,
    "run --submit": run_submit,
    "retry": retry,
    "submit": submit,
    "watch": watch,
    "cancel": cancel,
    "clean": clean,
}


def drawn_world(draw: Random) -> World:
    """Any combination of what touches jobs."""
    return parse_world(",".join(f"{name}={draw.choice(DIMENSIONS[name])}" for name in _DRAWN))


def drawn_commands(draw: Random) -> list[str]:
    """A run, then every command in any order."""
    return ["run", *draw.sample(sorted(COMMANDS), len(COMMANDS))]


async def run_by_another_journal(rig: Rig, folder: Path) -> None:
    """The same batch on another machine: one avatar done, one cut off, one done later."""
    other = replace(rig, folder=folder, seed=1000, settings=replace(rig.settings, jobs=1))
    shutil.copytree(rig.folder, folder, ignore=shutil.ignore_patterns("journal*"))
    rig.simulator.faults.script("confirm", [None, *["error-500-api"] * 8])
    await other.run()


@pytest.mark.parametrize("number", range(ROUNDS))
async def test_no_command_touches_a_job_that_is_not_ours(tmp_path: Path, number: int) -> None:
    """With five jobs of people, one that looks like ours, and another journal's batch on the service."""
    draw = Random(f"no harm/{number}")
    options = SimulatorOptions(world=drawn_world(draw), seed=number)
    folder = tmp_path / "studio"
    folder.mkdir()
    async with Simulator(options, data=tmp_path / "simulator") as simulator:
        rig = Rig(simulator=simulator, folder=folder)
        entries = rig.make_entries(3, size=200_000, kinds=("cover",))
        await run_by_another_journal(rig, tmp_path / "server")
        async with connect(rig.service_settings(), rig.clocks(), reader_threads=1) as connection:
            await make_console_jobs(connection.client, BATCH, entries[0]["name"])
            await connection.client.create_job({"name": entries[1]["name"], "batch_name": BATCH})
        strangers = Untouched.of(simulator)
        simulator.faults.rates.update(FAULTS)

        for name in drawn_commands(draw):
            # What a fault ends early must do no harm either.
            with suppress(OrchestratorError):
                await COMMANDS[name](rig)
            assert strangers.differences() == {}, f"{name} in {options.world}"

    assert len(strangers.before) == len(entries) + 6
