"""A worker that was cut off from the server for longer than its hold, and is back."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest
from pgqueuer.ports.repository import EntrypointExecutionParameter

from orchestrator.api.engine_settings import real_clocks
from orchestrator.domain.retry import RetryPolicy
from orchestrator.engine import lifecycle
from orchestrator.engine.context import WorkSettings, open_shared_resources
from orchestrator.engine.events import EventBus
from orchestrator.fleet.queue import QueueItem, open_queue
from orchestrator.fleet.worker import Worker, WorkerSettings
from orchestrator.journal.journal import Journal, open_journal
from orchestrator.journal.records import EntryRecord
from orchestrator.metastudio.credentials import Credentials, FoundCredentials
from tests.journal.samples import KEY, Clock
from tests.rig import run_settings, service_settings

_HOLD_SECONDS = 60.0


@pytest.mark.parametrize("queued", [1], indirect=True)
async def test_a_worker_whose_entry_was_taken_over_does_not_claim_it_again(
    state: str, queued: list[QueueItem], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its journal may have the link again before its heartbeat: the claim would fence the heir in mid-upload."""
    (wanted,) = queued
    claim, claims = Journal.claim, []
    secret = FoundCredentials(secret=Credentials("ak", "sk"), source="the test", project_id=None)
    work = WorkSettings(
        service=service_settings(endpoint=KEY.endpoint, project_id=KEY.project_id, credentials=secret),
        settings=run_settings(),
        policy=RetryPolicy(),
        grace_seconds=1.0,
        run_id="run-1",
    )
    async with (
        open_journal(state, clock=Clock()) as journal,
        open_queue(state) as queries,
        open_shared_resources(work, journal, EventBus(), real_clocks()) as place,
    ):
        settings = WorkerSettings(
            entries=2, hold_seconds=_HOLD_SECONDS, host="one", work_of=lambda _: work, batch=wanted.batch
        )
        worker = Worker(place, queries, settings)
        (job,) = await queries.dequeue(
            1,
            {wanted.batch: EntrypointExecutionParameter(concurrency_limit=0)},  # type: ignore[dict-item]
            queries.taker,  # type: ignore[arg-type]
            None,
            timedelta(seconds=_HOLD_SECONDS),
        )

        async def claim_too_late(journal: Journal, record: EntryRecord) -> EntryRecord:
            claims.append(record.epoch)
            if len(claims) == 1:
                # While this worker waits for the server another takes both, the row and the entry.
                queries.holds[job.id].renewed_at -= _HOLD_SECONDS
                with psycopg.connect(state, autocommit=True) as server:
                    server.execute("UPDATE pgqueuer SET queue_manager_id = %s", [uuid4()])
                await claim(journal, record)
            return await claim(journal, record)

        monkeypatch.setattr(Journal, "claim", claim_too_late)
        monkeypatch.setattr(lifecycle, "check_unchanged", lambda _: None)
        await worker.handle(job)
        kept = await journal.entry(*wanted)

    assert kept is not None
    assert claims == [kept.epoch - 1]
