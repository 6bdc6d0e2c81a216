"""Upload URLs that die: known from the URL, healed by fresh ones, and the cost told."""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn

import pytest

from orchestrator.domain.errors import ExitCode
from orchestrator.engine.context import OnExpired
from orchestrator.engine.events import Point, UrlsExpired
from orchestrator.simulator import SimulatorOptions, World
from tests.faults.conftest import Trial

DAY = 86_400.0
UPDATED = SimulatorOptions(world=World(update_allowed="always"))
RECREATED = SimulatorOptions()
SAYS_400 = SimulatorOptions(expired_status=400)
VARIANTS = pytest.mark.parametrize(
    "simulator_options", [UPDATED, RECREATED, SAYS_400], ids=["update", "recreate", "400"]
)


def one_at_a_time(trial: Trial) -> None:
    """Send one segment after the other, so that a point is a moment."""
    trial.rig.settings = replace(trial.rig.settings, jobs=1, parallel=1)


@VARIANTS
async def test_urls_that_expire_in_the_middle_are_replaced(trial: Trial) -> None:
    """The dead URL is not even tried; the entry goes on with fresh ones and says what that costs."""
    entries = trial.rig.make_entries(1, size=700_000, kinds=("cover",))
    one_at_a_time(trial)
    trial.at(Point.PUT.after, lambda: trial.time.put_forward(2 * DAY), occurrence=2)

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    (expired,) = trial.rig.events_of(UrlsExpired)
    is_updated = trial.rig.simulator.options.world.update_allowed == "always"
    assert expired.remedy == ("update" if is_updated else "recreate")
    assert expired.lost_bytes > 0
    assert len(trial.rig.simulator.all_jobs) == (1 if is_updated else 2)
    assert trial.rig.simulator.stats.refusals["put AccessDenied"] == 0


@VARIANTS
async def test_a_url_that_expires_under_a_put_is_told_by_the_stores_answer(trial: Trial) -> None:
    """Some stores answer 400 and some 403; the words of the XML decide."""
    entries = trial.rig.make_entries(1, size=700_000)
    one_at_a_time(trial)
    # The clock jumps after the URL was found to be alive.
    trial.at(Point.PUT.before, lambda: trial.time.put_forward(2 * DAY), occurrence=3)

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    assert trial.rig.simulator.stats.refusals["put AccessDenied"] == 1
    assert len(trial.rig.events_of(UrlsExpired)) == 1


@VARIANTS
async def test_urls_that_expired_while_the_entry_was_waiting_are_replaced(trial: Trial) -> None:
    """A batch that was left for days goes on, and no dead URL is tried."""
    entries = trial.rig.make_entries(2, size=700_000)
    one_at_a_time(trial)
    trial.rig.simulator.faults.script("put", ["early-403"])
    await trial.run()
    trial.time.put_forward(2 * DAY)

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    assert trial.rig.simulator.stats.refusals["put AccessDenied"] == 0


UNLISTED = World(update_allowed="always", action_part_list="empty", download_urls="never")


@pytest.mark.parametrize(
    "simulator_options",
    [
        SimulatorOptions(world=replace(UNLISTED, update_keeps=keeps))
        for keeps in ("everything", "parts", "nothing")
    ],
    ids=["everything", "parts", "nothing"],
)
async def test_parts_that_an_update_took_away_are_not_believed_in_after_a_stop(trial: Trial) -> None:
    """The receipts go before the update does: a run after a stop in between sends again what may be gone."""
    entries = trial.rig.make_entries(1, size=700_000, kinds=("action_video", "cover"))
    one_at_a_time(trial)
    # So slow that the last part could not arrive before its URL dies; yet that URL is alive.
    for occurrence in range(1, 7):
        trial.at(Point.PUT.after, lambda: trial.time.put_forward(0.16 * DAY), occurrence=occurrence)

    def stop() -> NoReturn:
        raise RuntimeError("stopped here")

    trial.at(Point.UPDATE.after, stop)
    stopped = await trial.run()

    report = await trial.run()

    assert (stopped.exit_code, report.exit_code) == (ExitCode.SOME_FAILED, ExitCode.OK)
    trial.assert_delivered(entries)
    assert len(trial.rig.simulator.all_jobs) == 1


async def test_a_small_file_that_took_long_does_not_condemn_the_film(trial: Trial) -> None:
    """The way there and back is most of what a small file takes, and says nothing of the link."""
    entries = trial.rig.make_entries(1, size=700_000, kinds=("cover",))
    one_at_a_time(trial)
    trial.at("put.after", lambda: trial.time.put_forward(0.1 * DAY))

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    assert not trial.rig.events_of(UrlsExpired)


async def test_expired_urls_fail_the_entry_where_that_is_wanted(trial: Trial) -> None:
    """`--on-expired fail`: the job stays as it is, and the hint names the other choice."""
    trial.rig.make_entries(1, size=700_000)
    one_at_a_time(trial)
    trial.rig.settings = replace(trial.rig.settings, on_expired=OnExpired.FAIL)
    trial.at(Point.WRITE_RECEIPT.after, lambda: trial.time.put_forward(2 * DAY))

    report = await trial.run()

    assert report.exit_code == ExitCode.SOME_FAILED
    assert (await trial.error_of("avatar-0"))[:2] == ("entry", "UrlExpired")
    assert trial.only_job().updates == 0


async def test_a_put_that_cannot_end_before_its_url_dies_is_not_begun(trial: Trial) -> None:
    """The rate measured so far tells; what the store would cut off is sent to a fresh URL instead."""
    entries = trial.rig.make_entries(1, size=700_000)
    one_at_a_time(trial)
    trial.at(Point.PUT.before, lambda: trial.time.put_forward(0.6 * DAY))

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    assert trial.points(Point.PUT.before) == 4
    assert len(trial.rig.events_of(UrlsExpired)) == 1


async def test_one_put_that_took_for_ever_does_not_condemn_fresh_urls(trial: Trial) -> None:
    """What was measured before the renewal no longer holds after it: the fresh URL is tried."""
    entries = trial.rig.make_entries(1, size=700_000)
    one_at_a_time(trial)
    trial.at(Point.PUT.after, lambda: trial.time.put_forward(1.5 * DAY))

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    assert len(trial.rig.events_of(UrlsExpired)) == 1


async def test_a_link_too_slow_for_any_url_is_given_up(trial: Trial) -> None:
    """Fresh URLs do not help for ever: the entry ends with a sentence that says what to change."""
    trial.rig.make_entries(1, size=700_000)
    one_at_a_time(trial)
    for occurrence in range(1, 20):
        trial.at(Point.PUT.before, lambda: trial.time.put_forward(2 * DAY), occurrence=occurrence)

    report = await trial.run()

    assert report.exit_code == ExitCode.SOME_FAILED
    assert (await trial.error_of("avatar-0"))[1] == "UrlExpired"
    assert len(trial.rig.events_of(UrlsExpired)) == trial.rig.settings.url_refreshes


@pytest.mark.parametrize("simulator_options", [SimulatorOptions(world=World(url_order="shuffled"))], ids=[""])
async def test_urls_in_any_order_get_the_part_they_are_for(trial: Trial) -> None:
    """The order of the arrays is not documented; the part number in each URL counts."""
    entries = trial.rig.make_entries(2, size=2_000_000)

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
