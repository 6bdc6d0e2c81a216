"""A server's schema with a journal and a queue, and entries in both."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
import pytest

from orchestrator.fleet.queue import QueueItem, install, open_queue
from orchestrator.journal.journal import open_journal
from tests.journal.samples import BATCH, Clock, add_entries
from tests.postgres import postgres, schema_of

__all__ = ["postgres"]


@pytest.fixture
def state(postgres: str) -> Iterator[str]:
    """The URL of a schema with the tables of a journal and of a fleet."""

    async def prepare(url: str) -> None:
        async with open_journal(url, clock=Clock()):
            await install(url)

    with schema_of(postgres) as url:
        anyio.run(prepare, url)
        yield url


@pytest.fixture
def queued(request: pytest.FixtureRequest, state: str) -> list[QueueItem]:
    """Two entries, or as many as the test says, which are queued."""
    count = getattr(request, "param", 2)

    async def put() -> list[QueueItem]:
        async with open_journal(state, clock=Clock()) as journal, open_queue(state) as queries:
            wanted = [QueueItem(BATCH, record.entry_id) for record in await add_entries(journal, count)]
            await queries.put(wanted)
            return wanted

    return anyio.run(put)
