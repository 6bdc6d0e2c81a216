"""Who tries an entry whose files a host cannot use, and how fast a host without files goes on."""

from __future__ import annotations

import math
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import anyio
import psycopg
import pytest
from pgqueuer.domain.types import QueueEntrypoint, QueueManagerId
from pgqueuer.ports.repository import EntrypointExecutionParameter

from orchestrator.api.engine_settings import real_clocks
from orchestrator.domain.assets import AssetKind
from orchestrator.domain.retry import RetryPolicy
from orchestrator.domain.states import EntryState
from orchestrator.engine import lifecycle
from orchestrator.engine.context import WorkSettings, open_shared_resources
from orchestrator.engine.drain import Stop
from orchestrator.engine.events import (
    EntryFinished,
    EntryHandedBack,
    Event,
    EventBus,
    SegmentStored,
    ServiceWarning,
)
from orchestrator.fleet.presence import STALE_SECONDS, Presence, WorkerIdentity
from orchestrator.fleet.queue import OwnedQueries, QueueItem, open_queue, queue_item_of
from orchestrator.fleet.unusable_files import RETRY_SECONDS, SUSPICIOUS, FileThrottle
from orchestrator.fleet.worker import Worker, WorkerSettings
from orchestrator.journal.journal import open_journal
from orchestrator.metastudio.credentials import Credentials, FoundCredentials
from tests.journal.samples import BATCH, Clock
from tests.rig import run_settings, service_settings

SCOPE = {"endpoint": "https://metastudio.example.com", "project_id": "project"}
OTHER_BATCH = "0" * 16


class Host:
    """A host's worker, as far as it takes rows."""

    def __init__(self, queries: OwnedQueries, presence: Presence) -> None:
        self.queries = queries
        self.presence = presence

    async def take(self, most: int = 10) -> list[QueueItem]:
        """What it takes when it looks once, one row at a time."""
        taken: list[QueueItem] = []
        while True:
            jobs = await self.queries.dequeue(
                1,
                {QueueEntrypoint(BATCH): EntrypointExecutionParameter(concurrency_limit=0)},
                self.queries.taker,  # type: ignore[arg-type]
                most,
                timedelta(seconds=60),
            )
            if not jobs:
                return taken
            taken += map(queue_item_of, jobs)


@asynccontextmanager
async def host(
    state: str, name: str, *, batch: str | None = None, project: str = "project"
) -> AsyncIterator[Host]:
    """A host that is alive."""
    async with open_queue(state) as queries:
        # As far as this worker knows the server was never away.
        queries.driver.there_since = -math.inf
        queries.taker = QueueManagerId(uuid.uuid4())
        queries.identity = WorkerIdentity.of(
            name, endpoint=SCOPE["endpoint"], project_id=project, batch=batch
        )
        made = Host(
            queries, Presence(queries.driver, queries.taker, f"process 1 on {name}", queries.identity)
        )
        await made.presence.show()
        yield made


async def hand_back(state: str, wanted: QueueItem, *names: str) -> None:
    """Write down that these hosts cannot use the entry's files."""
    async with open_journal(state, clock=Clock()) as journal:
        record = await journal.entry(*wanted)
        assert record is not None
        for name in names:
            record = await journal.hand_back(record, name, "film.mp4: no such file")


async def test_a_host_leaves_what_it_handed_back_to_others(state: str, queued: list[QueueItem]) -> None:
    """They take it at once, and it takes the rest."""
    first, second = queued
    await hand_back(state, first, "one")
    async with host(state, "one") as one, host(state, "two") as two:
        assert await one.take() == [second]
        assert await one.take() == []
        assert await one.queries.has_untried_hosts(first)
        assert await two.take() == [first]


@pytest.mark.parametrize(
    "other", ["dead", "gone", "of another batch", "of another project", "has tried", "the same"]
)
async def test_a_host_takes_it_again_when_no_other_is_left_to_try(
    state: str, queued: list[QueueItem], other: str
) -> None:
    """One that is dead, or could not take it either, is not waited for."""
    tried = ["one", "two"] if other == "has tried" else ["one"]
    await hand_back(state, queued[0], *tried)
    batch = OTHER_BATCH if other == "of another batch" else None
    project = "another" if other == "of another project" else "project"
    name = "one" if other == "the same" else "two"
    async with host(state, "one") as one, host(state, name, batch=batch, project=project) as two:
        if other == "gone":
            await two.presence.leave()
        if other == "dead":
            with psycopg.connect(state) as server:
                row = {"name": f"process 1 on {name}", "seconds": STALE_SECONDS + 1}
                server.execute(
                    "UPDATE workers SET seen_at = seen_at - %(seconds)s WHERE name = %(name)s", row
                )

        assert not await one.queries.has_untried_hosts(queued[0])
        assert await one.take() == queued


async def test_no_host_counts_as_dead_right_after_the_server_was_away(
    state: str, queued: list[QueueItem]
) -> None:
    """None could say that it lives."""
    await hand_back(state, queued[0], "one")
    async with host(state, "one") as one, host(state, "two"):
        with psycopg.connect(state) as server:
            server.execute("UPDATE workers SET seen_at = seen_at - 3600")
        one.queries.driver.there_since = one.queries.driver.monotonic()

        assert await one.queries.has_untried_hosts(queued[0])
        assert await one.take() == queued[1:]


@pytest.mark.parametrize("batch", [None, BATCH])
async def test_an_entry_whose_worker_died_is_left_to_others_as_well(
    state: str, queued: list[QueueItem], batch: str | None
) -> None:
    """A row that nobody refreshes is like one that waits."""
    await hand_back(state, queued[0], "one")
    async with host(state, "one") as one, host(state, "two", batch=batch) as two:
        assert await two.take() == queued
        with psycopg.connect(state) as server:
            server.execute("UPDATE pgqueuer SET heartbeat = heartbeat - interval '61 seconds'")

        assert await one.take() == queued[1:]


async def test_no_more_is_taken_than_a_worker_may_have(state: str, queued: list[QueueItem]) -> None:
    """What it has counts, also when that is more than it may have by now."""
    async with host(state, "one") as one, host(state, "two") as two:
        assert await one.take(most=1) == queued[:1]
        assert await one.take(most=0) == []
        one.queries.may_take = lambda: False
        assert await one.take() == []
        assert await two.take() == queued[1:]


def handed_back(entry: str) -> EntryHandedBack:
    """An entry whose files this host cannot use."""
    return EntryHandedBack(batch="studio", entry=entry, host="studio-1", message="film.mp4: no such file")


def read(*, is_resumed: bool = False) -> SegmentStored:
    """A segment of which this host has read the bytes, or which the store had."""
    return SegmentStored(
        batch="studio",
        entry="anna",
        asset=AssetKind.COVER,
        part_number=1,
        bytes=1,
        attempt=1,
        is_resumed=is_resumed,
        is_verified=True,
        seconds=0.0,
        put_seconds=0.0,
    )


class Room:
    """A worker's caution with a clock that stands until it is moved; `told` are its warnings."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.told: list[Event] = []
        events = EventBus(self.told.append)
        self.caution = FileThrottle(events, lambda: self.now)
        events.subscribe(self.caution)
        self.events = events

    def takes(self, seconds: float, step: float = 1.0) -> int:
        """How many entries it takes in *seconds*, if it hands each of them back."""
        count, end = 0, self.now + seconds
        while self.now < end:
            if self.caution.may_take():
                count += 1
                self.events.publish(handed_back(f"entry-{count}"))
            self.now += step
        return count


def test_a_host_without_files_looks_at_one_entry_in_half_a_minute() -> None:
    """After the first few; what it warns of is said once."""
    room = Room()

    assert room.takes(SUSPICIOUS) == SUSPICIOUS
    assert room.takes(20 * RETRY_SECONDS) in {19, 20}
    (warning,) = (event for event in room.told if isinstance(event, ServiceWarning))
    assert "studio-1" in warning.message
    assert "film.mp4" in warning.message


@pytest.mark.parametrize(
    ("event", "is_trusted"),
    [
        (read(), True),
        (EntryFinished(batch="studio", entry="anna", state=EntryState.CONFIRMED, is_done=True), True),
        (read(is_resumed=True), False),
        (EntryFinished(batch="studio", entry="anna", state=EntryState.UPLOADING, is_done=False), False),
    ],
)
def test_a_host_whose_files_are_back_goes_on_as_before(event: Event, *, is_trusted: bool) -> None:
    """With the first thing that shows that it reads files."""
    room = Room()
    room.takes(SUSPICIOUS)
    room.events.publish(event)

    assert [room.caution.may_take() for _ in range(5)] == [is_trusted] * 5


def test_a_bad_file_among_good_ones_slows_no_host_down() -> None:
    """Only several in a row are the host's fault."""
    room = Room()
    for number in range(100):
        room.events.publish(handed_back(f"entry-{number}"))
        assert room.caution.may_take()
        if number % (SUSPICIOUS - 1) == 1:
            room.events.publish(read())


class Watched:
    """A subscriber that knows what a worker handed back, and how often it asked whether it may take something."""

    event_types = frozenset({EntryHandedBack})

    def __init__(self) -> None:
        self.handed_back: list[str] = []
        self.asked = 0
        self._news = anyio.Event()

    def __call__(self, event: Event) -> None:
        assert isinstance(event, EntryHandedBack)
        self.handed_back.append(event.message)
        self._tell()

    def ask(self) -> None:
        """Count a question."""
        self.asked += 1
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until *is_so*."""
        while not is_so():
            await self._news.wait()

    async def settled(self) -> int:
        """How many entries were handed back once the worker has asked for more, several times, in vain."""
        while True:
            count, asked = len(self.handed_back), self.asked
            await self.until(lambda asked=asked: self.asked > asked + 5)  # type: ignore[misc]
            if len(self.handed_back) == count:
                return count


@asynccontextmanager
async def working(state: str, clock: Callable[[], float]) -> AsyncIterator[Watched]:
    """A worker on host one that works for the block, while two is alive."""
    stop, watched = Stop(), Watched()
    secret = FoundCredentials(secret=Credentials("ak", "sk"), source="the test", project_id=None)
    work = WorkSettings(
        service=service_settings(**SCOPE, credentials=secret),
        settings=run_settings(),
        policy=RetryPolicy(),
        grace_seconds=1.0,
        run_id="run-1",
        listening=stop.listening,
    )
    clocks = replace(real_clocks(), monotonic=clock)
    async with (
        host(state, "two"),
        open_journal(state, clock=Clock()) as journal,
        open_queue(state) as queries,
        open_shared_resources(work, journal, EventBus(watched), clocks) as place,
        anyio.create_task_group() as group,
    ):
        settings = WorkerSettings(entries=2, hold_seconds=60.0, host="one", work_of=lambda _: work)
        worker = Worker(place, queries, settings)
        may_take = queries.may_take

        def ask() -> bool:
            watched.ask()
            return may_take()

        queries.may_take = ask
        group.start_soon(worker.work)
        yield watched
        stop.ask()


@pytest.mark.long
@pytest.mark.parametrize("queued", [12], indirect=True)
async def test_a_worker_without_files_does_not_go_through_the_queue(
    state: str, queued: list[QueueItem]
) -> None:
    """Of what is queued it looks at the first few, and then at one for each half minute that passes."""
    now = 1000.0
    async with working(state, lambda: now) as watched:
        counts = [await watched.settled()]
        for _ in range(2):
            now += RETRY_SECONDS
            counts.append(await watched.settled())

    # It has two at once: the third and the fourth may be taken before anything is said of the third.
    assert counts[0] in {SUSPICIOUS, SUSPICIOUS + 1}
    assert counts[1:] == [counts[0] + 1, counts[0] + 2]
    assert len(queued) > counts[-1]


@pytest.mark.usefixtures("queued")
@pytest.mark.parametrize("queued", [1], indirect=True)
async def test_files_that_do_not_answer_are_left_to_others(
    state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of a share whose server is away, which hold whoever opens them."""
    answer = threading.Event()
    monkeypatch.setattr(lifecycle, "FILE_CHECK_SECONDS", 0.05)
    monkeypatch.setattr(lifecycle, "check_unchanged", lambda _: answer.wait())
    try:
        async with working(state, time.monotonic) as watched:
            await watched.until(lambda: bool(watched.handed_back))
    finally:
        answer.set()

    assert "did not answer" in watched.handed_back[0]
