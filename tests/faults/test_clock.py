"""A machine whose clock is wrong: what kills upload URLs on arrival is said, and what does not does no harm."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.errors import ExitCode
from orchestrator.engine.events import Point, UrlsExpired
from orchestrator.engine.report import RunOutcome
from orchestrator.metastudio.credentials import FoundCredentials, UserToken
from orchestrator.simulator import SimulatorOptions
from tests.faults.conftest import Trial


async def run_skewed(trial: Trial, hours: float) -> RunOutcome:
    """Run with a token, which is not dated, and a clock that is *hours* ahead of the service's."""
    token = UserToken(trial.rig.simulator.options.token)
    trial.rig.service = {
        **trial.rig.service,
        "credentials": FoundCredentials(secret=token, source="the test", project_id=None),
    }
    return await trial.run(clock=lambda: trial.time.clock() + hours * 3600.0)


async def test_a_clock_that_kills_urls_on_arrival_ends_the_run_at_the_first_entry(trial: Trial) -> None:
    """Exit 4 with what to do, as often as it is tried: no job is deleted, and no entry gets a second one."""
    entries = trial.rig.make_entries(2, size=600_000, kinds=("cover",))
    trial.rig.settings = replace(trial.rig.settings, jobs=1)

    reports = [await run_skewed(trial, 25.0) for _ in range(3)]
    jobs = len(trial.rig.simulator.all_jobs)
    right = await trial.run()

    assert [report.exit_code for report in reports] == [ExitCode.CONFIGURATION] * 3
    assert all("clock is 25:00:0" in str(report.cause) for report in reports)
    assert jobs == 1
    assert right.exit_code == ExitCode.OK
    assert len(trial.rig.simulator.all_jobs) == 2
    trial.assert_delivered(entries)


@pytest.mark.parametrize("hours", [-25.0, -2.0, 2.0, 23.0])
async def test_a_wrong_clock_that_kills_no_urls_does_no_harm(trial: Trial, hours: float) -> None:
    """The service's own time judges whether URLs are alive: none is renewed before its time."""
    entries = trial.rig.make_entries(2, size=600_000)

    report = await run_skewed(trial, hours)

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    assert not trial.rig.events_of(UrlsExpired)


async def test_a_clock_behind_does_not_make_urls_live_longer(trial: Trial) -> None:
    """They are known to be dead, and renewed, once the service's day is over: the store is not asked in vain."""
    entries = trial.rig.make_entries(1, size=600_000)
    trial.rig.settings = replace(trial.rig.settings, parallel=1)
    trial.at(Point.PUT.after, lambda: trial.time.put_forward(25 * 3600.0))

    report = await run_skewed(trial, -30.0)

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    assert trial.rig.events_of(UrlsExpired)
    assert not [refused for refused in trial.rig.simulator.stats.refusals if "put" in refused.lower()]


@pytest.mark.parametrize("simulator_options", [SimulatorOptions(url_lifetime_seconds=-120.0)], ids=[""])
async def test_urls_that_are_given_dead_are_not_asked_for_again(trial: Trial) -> None:
    """The next ones would be no better: one job an entry, none deleted."""
    trial.rig.make_entries(2, size=200_000)

    report = await trial.run()

    assert report.exit_code == ExitCode.SOME_FAILED
    assert (await trial.error_of("avatar-0"))[:2] == ("entry", "UrlExpired")
    assert len(trial.rig.simulator.all_jobs) == 2
    assert trial.rig.simulator.stats.requests["delete"] == 0
