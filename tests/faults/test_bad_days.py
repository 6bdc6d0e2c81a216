"""Whole batches on bad days: many faults at once, a store that stalls, URLs that hardly live."""

from __future__ import annotations

import time
from dataclasses import replace

import anyio
import pytest

from orchestrator.domain.errors import ExitCode
from orchestrator.engine.events import UrlsExpired
from orchestrator.simulator import SimulatorOptions, World
from tests.crash.others import Others
from tests.faults.conftest import IDLE_SECONDS, Trial, VirtualTime
from tests.rig import BATCH

BAD_DAY = SimulatorOptions(
    fault_rates={
        "slow-down": 0.10,
        "reset": 0.05,
        "lost-answer": 0.05,
        "lost-create": 0.20,
        "lost-confirm": 0.30,
    },
    seed=7,
)
#: Little is shown: no download URLs, and no tags in the list.
DIM_DAY = SimulatorOptions(
    world=World(put_again="refused", download_urls="never", list_tags="hidden"),
    fault_rates={"lost-create": 0.20, "lost-confirm": 0.30},
    seed=11,
)
STALLING = SimulatorOptions(fault_rates={"stall": 0.10}, seed=3)
SHORT_LIVED = SimulatorOptions(url_lifetime_seconds=10.0, store_bytes_per_second=4_000_000.0)
#: Seconds of the shared clock per real second where URLs live 10 s.
HASTE = 20.0


@pytest.mark.long
@pytest.mark.parametrize("simulator_options", [BAD_DAY], ids=[""])
async def test_thirty_avatars_get_through_a_bad_day(trial: Trial) -> None:
    """Throttling, resets, lost answers, creates and confirms: exit 0, all right, one job each."""
    entries = trial.rig.make_entries(30, size=600_000, kinds=("cover", "grant_file"))

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    assert len(trial.rig.simulator.jobs) == 30
    struck = trial.rig.simulator.faults.counts
    assert all(struck[fault] > 0 for fault in BAD_DAY.fault_rates)
    assert all(len(sizes) == 1 for sizes in trial.rig.simulator.stats.stored.values())


@pytest.mark.long
@pytest.mark.parametrize("simulator_options", [DIM_DAY], ids=[""])
@pytest.mark.parametrize("is_submit_wanted", [False, True], ids=["confirmed", "submitted"])
async def test_thirty_avatars_get_through_a_day_on_which_little_is_shown(
    trial: Trial, *, is_submit_wanted: bool
) -> None:
    """Lost creates are found by show, lost confirms settled by evidence: exit 0, one job each, no harm to others."""
    entries = trial.rig.make_entries(30, size=600_000, kinds=("action_video", "cover", "id_card_image1"))
    # Jobs of the very names would have to be decided on: that is another test's.
    others = Others(trial.rig.simulator, batch_name=BATCH, names=["Someone of the console"])
    await others.arrive()
    trial.rig.settings = replace(trial.rig.settings, is_submit_wanted=is_submit_wanted)

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    assert others.touched() == []
    trial.assert_delivered(entries, submissions=int(is_submit_wanted), apart_from=others.job_ids)
    delivered = {record.delivered or "" for record in (await trial.rig.entries()).values()}
    assert all(word.startswith("unverified (") for word in delivered), delivered
    struck = trial.rig.simulator.faults.counts
    assert all(struck[fault] > 0 for fault in DIM_DAY.fault_rates)


@pytest.mark.parametrize("simulator_options", [STALLING], ids=[""])
async def test_a_store_that_stalls_is_cut_by_the_watchdog_every_time(trial: Trial) -> None:
    """Ten PUTs of a hundred are never read: each is cut after the idle timeout, and the batch is finished."""
    entries = trial.rig.make_entries(12, size=600_000)

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    stalls = trial.rig.simulator.faults.counts["stall"]
    assert stalls > 0
    assert sum(f"for {IDLE_SECONDS:g} s" in retry.message for retry in trial.retries()) == stalls


class HurriedTime(VirtualTime):
    """A clock that runs faster than the world's."""

    def __init__(self) -> None:
        """Begin now."""
        super().__init__()
        self._started = time.monotonic()

    def clock(self) -> float:
        """Seconds since the epoch."""
        return self._began + self.monotonic()

    def monotonic(self) -> float:
        """Seconds since the beginning."""
        return (time.monotonic() - self._started) * HASTE

    async def sleep(self, seconds: float) -> None:
        """Wait for as long as that takes here."""
        await anyio.sleep(seconds / HASTE)


@pytest.mark.long
@pytest.mark.parametrize("simulator_options", [SHORT_LIVED], ids=[""])
@pytest.mark.parametrize("virtual_time", [HurriedTime], ids=[""])
async def test_urls_that_hardly_live_are_made_anew_until_all_is_through(trial: Trial) -> None:
    """What five entries at once cannot send in ten seconds, one after the other can."""
    entries = trial.rig.make_entries(5, size=1_200_000)
    trial.rig.settings = replace(trial.rig.settings, settle_seconds=0.1)

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    assert len(trial.rig.events_of(UrlsExpired)) > 0
    assert len(trial.rig.simulator.jobs) == 5
    assert len(trial.rig.simulator.all_jobs) > 5
