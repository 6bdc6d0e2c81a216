"""The journal against a model in memory: whatever is done to it in whatever order, both tell the same."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from orchestrator.domain.assets import AssetKind
from orchestrator.domain.errors import IllegalTransitionError, StaleEpochError
from orchestrator.domain.evidence import Receipt
from orchestrator.domain.states import TRANSITIONS, EntryState
from orchestrator.journal.journal import Journal, open_journal
from orchestrator.journal.records import EntryRecord
from tests.journal.samples import BATCH, ERROR, RECEIPT, Clock, add_entries, planned
from tests.postgres import schema_of

VIDEO = AssetKind.TRAINING_VIDEO
ENTRIES = 2
PARTS = 2


@dataclass
class ModelEntry:
    """What an entry must look like."""

    state: EntryState = EntryState.PENDING
    epoch: int = 0
    job_id: str | None = None
    is_confirmed: bool = False
    kind_of_error: str | None = None
    receipts: dict[int, Receipt | None] = field(default_factory=dict)
    has_urls: bool = False
    history: list[tuple[str, str]] = field(default_factory=list)

    def move(self, target: EntryState) -> None:
        """Go to *target*."""
        self.history.append((self.state.value, target.value))
        self.state = target

    def forget_job(self) -> None:
        """The job is gone."""
        self.job_id, self.is_confirmed, self.receipts, self.has_urls = None, False, {}, False

    def plan(self) -> None:
        """New segments with fresh URLs."""
        self.receipts, self.has_urls = dict.fromkeys(range(1, PARTS + 1)), True


class Comparison:
    """Does everything to the journal and to the model; *records* are all that were ever handed out."""

    def __init__(self, location: str) -> None:
        self._location = location
        self._stack = AsyncExitStack()
        self._clock = Clock()
        self.journal: Journal
        self.model = [ModelEntry() for _ in range(ENTRIES)]
        self.records: list[list[EntryRecord]] = []

    async def open(self) -> None:
        """Open the journal, as each run does."""
        self.journal = await self._stack.enter_async_context(open_journal(self._location, clock=self._clock))
        if not self.records:
            self.records = [[record] for record in await add_entries(self.journal, ENTRIES)]

    async def close(self) -> None:
        """Close the journal."""
        await self._stack.aclose()

    async def do(self, name: str, place: int, age: int, choice: int) -> None:
        """Do the action *name* to the entry at *place* as somebody who read it *age* writes ago."""
        record = self.records[place][max(len(self.records[place]) - 1 - age, 0)]
        await getattr(self, f"_{name}")(place, record, choice)

    async def _go(self, place: int, record: EntryRecord, choice: int) -> None:
        targets = sorted(TRANSITIONS[record.state])
        await self._transition(place, record, targets[choice % len(targets)])

    async def _leap(self, place: int, record: EntryRecord, choice: int) -> None:
        await self._transition(place, record, list(EntryState)[choice % len(EntryState)])

    async def _transition(self, place: int, record: EntryRecord, target: EntryState) -> None:
        entry = self.model[place]
        if await self._guarded(place, record, target, self.journal.transition(record, target, "moved")):
            if entry.state is EntryState.FAILED and target is not EntryState.CANCELLED:
                entry.kind_of_error = None
            entry.move(target)

    async def _fail(self, place: int, record: EntryRecord, _: int) -> None:
        if await self._guarded(place, record, EntryState.FAILED, self.journal.failed(record, ERROR)):
            self.model[place].move(EntryState.FAILED)
            self.model[place].kind_of_error = ERROR.kind

    async def _claim(self, place: int, record: EntryRecord, _: int) -> None:
        if await self._guarded(place, record, None, self.journal.claim(record)):
            self.model[place].epoch += 1

    async def _create(self, place: int, record: EntryRecord, choice: int) -> None:
        job_id = f"job-{choice}"
        write = self.journal.job_created(record, job_id, planned(PARTS), "created")
        if await self._guarded(place, record, EntryState.UPLOADING, write):
            self.model[place].move(EntryState.UPLOADING)
            self.model[place].job_id = job_id
            self.model[place].plan()

    async def _lose(self, place: int, record: EntryRecord, _: int) -> None:
        if await self._guarded(place, record, EntryState.PENDING, self.journal.job_gone(record, "gone")):
            self.model[place].move(EntryState.PENDING)
            self.model[place].forget_job()

    async def _confirm(self, place: int, record: EntryRecord, _: int) -> None:
        write = self.journal.confirmed(record, "joined", delivered="verified")
        if await self._guarded(place, record, EntryState.CONFIRMED, write):
            self.model[place].move(EntryState.CONFIRMED)
            self.model[place].is_confirmed = True
            self.model[place].has_urls = False

    async def _store(self, place: int, record: EntryRecord, choice: int) -> None:
        part = choice % PARTS + 1
        await self.journal.segment_stored(record, VIDEO, part, RECEIPT, 1)
        entry = self.model[place]
        if record.epoch == entry.epoch and part in entry.receipts:
            entry.receipts[part] = RECEIPT

    async def _miss(self, place: int, record: EntryRecord, choice: int) -> None:
        part = choice % PARTS + 1
        await self.journal.segments_missing(record, [(VIDEO, part)])
        entry = self.model[place]
        if record.epoch == entry.epoch and part in entry.receipts:
            entry.receipts[part] = None

    async def _reopen(self, *_: object) -> None:
        await self.close()
        await self.open()

    async def _guarded(
        self, place: int, record: EntryRecord, target: EntryState | None, write: Awaitable[EntryRecord]
    ) -> bool:
        """Await *write*; True when it was written, which must be exactly when the model allows it."""
        entry = self.model[place]
        is_legal = target is None or target in TRANSITIONS[record.state]
        is_held = (record.state, record.epoch) == (entry.state, entry.epoch)
        try:
            self.records[place].append(await write)
        except IllegalTransitionError:
            assert not is_legal
            return False
        except StaleEpochError:
            assert is_legal
            assert not is_held
            return False
        assert is_legal
        assert is_held
        return True

    async def check(self) -> None:
        """Both tell the same of every entry."""
        found = [record async for record in self.journal.entries(BATCH)]
        assert len(found) == ENTRIES
        for record, entry in zip(found, self.model, strict=True):
            assert (record.state, record.epoch, record.job_id) == (entry.state, entry.epoch, entry.job_id)
            assert (record.confirmed_at is not None) == entry.is_confirmed
            assert (record.error and record.error.kind) == entry.kind_of_error
            parts = [part for part in await self.journal.segments(record) if part.kind is VIDEO]
            assert {part.segment.part_number: part.receipt for part in parts} == entry.receipts
            assert all((part.url is not None) == entry.has_urls for part in parts)
            history = await self.journal.transitions(record)
            assert [(change.from_state, change.to_state) for change in history] == entry.history


#: Some more often than others, so that entries get far.
NAMES = [
    "go",
    "go",
    "go",
    "create",
    "create",
    "store",
    "store",
    "confirm",
    "leap",
    "fail",
    "claim",
    "lose",
    "miss",
    "reopen",
]
ACTIONS = st.tuples(
    st.sampled_from(NAMES),
    st.integers(0, ENTRIES - 1),
    st.sampled_from([0, 0, 0, 0, 1, 3]),
    st.integers(0, 20),
)


# Shrinking a failure on real files would take minutes.
@settings(
    max_examples=15,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
@given(actions=st.lists(ACTIONS, min_size=10, max_size=40))
def test_the_journal_tells_what_a_model_tells(
    request: pytest.FixtureRequest, database: str, actions: list[tuple[str, int, int, int]]
) -> None:
    """Holders, losers, leaps and reopened journals in any order."""

    @contextmanager
    def new_place() -> Iterator[str]:
        if database == "sqlite":
            with tempfile.TemporaryDirectory() as folder:
                yield str(Path(folder) / "journal.db")
            return
        with schema_of(request.getfixturevalue("postgres")) as url:
            yield url

    async def compare() -> None:
        with new_place() as location:
            comparison = Comparison(location)
            await comparison.open()
            try:
                for action in actions:
                    await comparison.do(*action)
                await comparison.check()
            finally:
                await comparison.close()

    asyncio.run(compare())
