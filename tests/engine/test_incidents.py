"""What of a run the journal keeps for those who look later, and how much at most."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from orchestrator.engine.events import OutageBegan, OutageEnded, ServiceWarning, WarningRaised
from orchestrator.engine.report import MOST_INCIDENTS, IncidentKeeper
from orchestrator.journal.history import KEPT_ATTEMPTS, AttemptRecord
from orchestrator.journal.journal import open_journal
from tests.journal.samples import BATCH, Clock, add_entries
from tests.rig import Rig

RUN = "run-1"


def began(side: str = "service") -> OutageBegan:
    return OutageBegan(
        side=side,
        kind="unreachable",
        reason="connection refused",
        code=None,
        request_id=None,
        lasted_seconds=0.0,
        next_try_seconds=4.0,
        patience_seconds=900.0,
    )


async def test_an_outage_is_kept_at_once_and_its_end_later(tmp_path: Path) -> None:
    """A run that is killed while it waits leaves the beginning; other sides go on being out."""
    clock, started = Clock(), list[Callable[[], Coroutine[Any, Any, None]]]()
    async with open_journal(str(tmp_path / "journal.db"), clock=clock) as journal:
        await add_entries(journal, 1)
        keeper = IncidentKeeper(journal, BATCH, RUN, started.append)
        keeper(began())
        keeper(began("store a"))
        keeper(OutageEnded(side="service", lasted_seconds=9.0))
        for write in started:
            await write()
        service, store = await journal.incidents(BATCH)

    assert len(started) == 2
    assert (service.kind, service.subject, service.message) == ("outage", "service", "connection refused")
    assert service.ended_at is not None
    assert service.ended_at >= service.at
    assert store.ended_at is None


async def test_a_run_keeps_no_more_than_the_first_hundreds(tmp_path: Path) -> None:
    """Thousands of warnings are one."""
    async with open_journal(str(tmp_path / "journal.db"), clock=Clock()) as journal:
        await add_entries(journal, 1)
        keeper = IncidentKeeper(journal, BATCH, RUN, lambda _: None)
        keeper(ServiceWarning(message="x" * 9000))
        for number in range(MOST_INCIDENTS + 5):
            keeper(WarningRaised(batch="studio", entry=f"e{number}", message="odd"))
        await journal.flush()
        kept = await journal.incidents(BATCH)

    assert len(kept) == MOST_INCIDENTS
    assert len(kept[0].message) == 500


async def test_of_the_tries_of_an_entry_the_latest_are_kept(tmp_path: Path) -> None:
    """Whoever claims it tidies up; how many there were is still known."""
    clock = Clock()
    async with open_journal(str(tmp_path / "journal.db"), clock=clock) as journal:
        (record,) = await add_entries(journal, 1)
        for number in range(KEPT_ATTEMPTS + 50):
            failed = AttemptRecord(
                at=float(number),
                operation="put",
                asset=None,
                part_number=None,
                attempt=1,
                kind="interrupted",
                code=None,
                message="reset",
                request_id=None,
                seconds=None,
            )
            journal.note_attempt(record, failed)
        await journal.flush()
        read = await journal.entry(record.batch, record.entry_id)
        assert read is not None
        await journal.claim(read)
        attempts = await journal.attempts(record)
        causes = await journal.causes(record.batch)

    assert [attempt.at for attempt in attempts] == [float(n) for n in range(50, KEPT_ATTEMPTS + 50)]
    assert [(cause.kind, cause.tries) for cause in causes] == [("interrupted", KEPT_ATTEMPTS)]
    assert read.attempts == KEPT_ATTEMPTS + 50


async def test_a_run_leaves_how_long_its_segments_took_and_where_its_events_are(rig: Rig) -> None:
    """So that a report can be made without having listened."""
    rig.make_entries(2, kinds=["cover"])
    work = rig.work_settings(events_path="/somewhere/events.jsonl")
    await rig.run(work=work)

    async with open_journal(str(rig.state), clock=rig.clock) as journal:
        (batch,) = await journal.batches()
        segments = [segment async for segment in journal.stored_segments(batch.batch)]
        (run,) = await journal.runs(batch.batch, limit=9)
        changes = await journal.state_changes(batch.batch, ["confirming", "confirmed"])

    assert run.events_path == "/somewhere/events.jsonl"
    assert {segment.entry_id for segment in segments} == {"avatar-0", "avatar-1"}
    assert {segment.asset for segment in segments} == {"training_video", "cover"}
    assert all(segment.took_seconds >= segment.put_seconds > 0 for segment in segments)  # type: ignore[operator]
    assert [change.to_state for change in changes if change.entry_id == "avatar-0"] == [
        "confirming",
        "confirmed",
    ]


async def test_segments_are_read_page_by_page_in_order(rig: Rig, monkeypatch: Any) -> None:
    """None twice, and none left out."""
    monkeypatch.setattr("orchestrator.journal.reading.PAGE_ROWS", 2)
    rig.make_entries(3, kinds=["cover"])
    await rig.run()

    async with open_journal(str(rig.state), clock=rig.clock) as journal:
        (batch,) = await journal.batches()
        read = [segment[:3] async for segment in journal.stored_segments(batch.batch)]
        count, _ = await journal.count_stored(batch.batch)

    assert read == sorted(set(read))
    assert len(read) == count
