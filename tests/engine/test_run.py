"""A batch from its manifest to confirmed jobs."""

from __future__ import annotations

from orchestrator.domain.errors import ExitCode
from orchestrator.domain.states import EntryState
from orchestrator.engine.events import Point, StepReached
from tests.rig import Rig

ALL_KINDS = ("action_video", "cover", "id_card_image1", "id_card_image2", "grant_file")


async def test_every_file_of_every_entry_is_stored_and_confirmed_once(rig: Rig) -> None:
    """The job on a good day."""
    entries = rig.make_entries(4, kinds=ALL_KINDS)

    report = await rig.run()

    assert report.exit_code == ExitCode.OK
    assert report.entries.done == report.entries.total == 4
    rig.assert_delivered(entries)
    assert {record.state for record in (await rig.entries()).values()} == {EntryState.CONFIRMED}


async def test_a_second_run_has_nothing_to_do_and_asks_nobody(rig: Rig) -> None:
    """Running again is harmless."""
    rig.make_entries(3, kinds=ALL_KINDS)
    await rig.run()
    before = rig.simulator.stats.to_document()

    report = await rig.run()

    assert report.exit_code == ExitCode.OK
    assert report.tally.sent_segments == 0
    assert report.entries.done == 3
    assert rig.simulator.stats.to_document() == before


async def test_a_link_does_not_wait_for_the_journal_between_two_segments(rig: Rig) -> None:
    """The second goes out before the receipt of the first is on the disk; what it needs there is there before."""
    rig.make_entries(1)

    await rig.run({"parallel": 1})

    steps = [(step.point, step.part_number) for step in rig.events if isinstance(step, StepReached)]
    order = [
        *((Point.WRITE_STARTED.after, 1), (Point.WRITE_STARTED.after, 2), (Point.PUT.after, 1)),
        *((Point.PUT.before, 2), (Point.WRITE_RECEIPT.after, 1)),
    ]
    assert [step for step in steps if step in order] == order


async def test_delivery_is_proved_where_the_service_shows_the_objects(rig: Rig) -> None:
    """After confirm each object's length and ETag are compared with what was sent."""
    rig.make_entries(1, kinds=ALL_KINDS)

    await rig.run()

    (record,) = (await rig.entries()).values()
    assert record.delivered == "verified"
