"""What the service refuses for good: one entry's trouble stays its own, everybody's stops the run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.errors import ExitCode
from orchestrator.metastudio.credentials import Credentials, FoundCredentials
from orchestrator.simulator import SimulatorOptions
from tests.faults.conftest import Trial


@pytest.mark.parametrize("simulator_options", [SimulatorOptions(cap_urls=2)], ids=[""])
async def test_too_few_urls_fail_the_entry_and_leave_no_job(trial: Trial) -> None:
    """The definitions cap the arrays at 50: a job that cannot take its file must not stay behind."""
    trial.rig.make_entries(2, size=700_000)

    report = await trial.run()

    assert report.exit_code == ExitCode.SOME_FAILED
    assert (await trial.error_of("avatar-0"))[:2] == ("entry", "UrlCount")
    assert not trial.rig.simulator.jobs


async def test_one_refused_entry_does_not_stop_the_others(trial: Trial) -> None:
    """A 403 at a URL's first use fails the entry with the store's own words."""
    trial.rig.make_entries(3, size=200_000)
    trial.rig.settings = replace(trial.rig.settings, jobs=1)
    trial.rig.simulator.faults.script("put", [None, "early-403"])

    report = await trial.run()

    assert report.exit_code == ExitCode.SOME_FAILED
    assert (report.entries.done, report.entries.failed) == (2, 1)
    assert (await trial.error_of("avatar-1"))[:2] == ("rejected", "AccessDenied")


async def test_the_same_refusal_of_entry_after_entry_stops_the_run(trial: Trial) -> None:
    """Three alike in a row mean the account, not the entry: the rest is not even tried."""
    trial.rig.make_entries(6, size=200_000)
    trial.rig.settings = replace(trial.rig.settings, jobs=1)
    trial.rig.simulator.faults.script("put", ["early-403"] * 20)

    report = await trial.run()

    assert report.exit_code == ExitCode.REFUSED
    assert report.entries.failed == 3
    assert len(trial.rig.simulator.all_jobs) == 3


async def test_refusals_with_successes_in_between_do_not_stop_the_run(trial: Trial) -> None:
    """The breaker counts refusals in a row only."""
    trial.rig.make_entries(5, size=200_000)
    trial.rig.settings = replace(trial.rig.settings, jobs=1)
    trial.rig.simulator.faults.script("put", ["early-403", "early-403", None, "early-403", "early-403"])

    report = await trial.run()

    assert report.exit_code == ExitCode.SOME_FAILED
    assert (report.entries.done, report.entries.failed) == (1, 4)


async def test_wrong_credentials_stop_the_run_before_anything_is_made(trial: Trial) -> None:
    """Exit 4, and no trace of the key that was wrong."""
    trial.rig.make_entries(3, size=200_000)
    wrong = Credentials("WRONGACCESSKEY000001", "a-secret-that-is-wrong")
    trial.rig.service = {
        **trial.rig.service,
        "credentials": FoundCredentials(secret=wrong, source="the test", project_id=None),
    }

    report = await trial.run()

    assert report.exit_code == ExitCode.CONFIGURATION
    assert not trial.rig.simulator.all_jobs


async def test_a_service_that_is_down_stops_the_run_until_later(trial: Trial) -> None:
    """Exit 5; the next run does all of it."""
    entries = trial.rig.make_entries(2, size=200_000)
    endpoint = trial.rig.simulator.endpoint
    trial.rig.service = {**trial.rig.service, "endpoint": "http://127.0.0.1:9"}
    down = await trial.run()
    trial.rig.service = {**trial.rig.service, "endpoint": endpoint}

    report = await trial.run()

    assert (down.exit_code, report.exit_code) == (ExitCode.TEMPORARY, ExitCode.OK)
    trial.assert_delivered(entries)
