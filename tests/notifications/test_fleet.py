"""Notifications of a worker of a fleet."""

from __future__ import annotations

import time
import unicodedata
from pathlib import Path

import pytest

from orchestrator.api.run_report import document_of_queued_batch
from orchestrator.domain.entries import BatchKey
from orchestrator.engine.events import EntryFailed
from orchestrator.journal.journal import open_journal
from orchestrator.notifications.fleet import FleetNotifier
from orchestrator.notifications.notices import Message
from orchestrator.notifications.sending import Target
from orchestrator.observe.streams import ReportingContext


async def test_a_failure_is_told_however_the_name_of_its_batch_is_composed(tmp_path: Path) -> None:
    """An older program may have stored the name with decomposed letters."""
    stored = unicodedata.normalize("NFD", "café")
    sent: list[Message] = []

    def send(message: Message) -> bool:
        sent.append(message)
        return True

    failure = EntryFailed(
        batch="café", entry="anna", kind="refused", code=None, message="no", request_id=None, hint=None
    )
    async with open_journal(str(tmp_path / "journal.db"), clock=time.time) as journal:
        key = BatchKey("https://service", "project", stored)
        await journal.start_run(key, manifest_path=None, is_submit_wanted=False, run_id="run-1")
        async with FleetNotifier(
            [Target("chat://...", "digest", send)],
            None,
            journal,
            document=document_of_queued_batch,
            reporting=ReportingContext(hidden=(), warn=pytest.fail, stdout=pytest.fail, command_output=2),
        ) as notifier:
            notifier(failure)

    assert [message.body for message in sent] == ["anna: no"]
