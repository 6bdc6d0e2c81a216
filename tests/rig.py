"""A batch of real files, a simulator and a journal, to run the engine between."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import yaml

from orchestrator.api.engine_settings import run_settings as default_run_settings
from orchestrator.domain.assets import AssetKind
from orchestrator.domain.outage import OutagePolicy
from orchestrator.domain.retry import RetryPolicy
from orchestrator.engine.batch import RunRequest, run_batch, submit_batch
from orchestrator.engine.cancelling import Cancellation, Canceller
from orchestrator.engine.context import RunSettings, WorkSettings
from orchestrator.engine.decision import Retry
from orchestrator.engine.events import Event, EventBus
from orchestrator.engine.report import RunOutcome
from orchestrator.engine.service_connection import Clocks, ServiceSettings, connect
from orchestrator.journal.journal import Journal, open_journal
from orchestrator.journal.records import EntryRecord
from orchestrator.manifest import Problem, open_manifest
from orchestrator.metastudio.credentials import Credentials, FoundCredentials
from orchestrator.metastudio.rate_limit import ApiRate
from orchestrator.settings.values import Settings
from orchestrator.simulator import JobView, Simulator
from orchestrator.simulator.footage import write_footage, write_letter, write_picture

BATCH = "rehearsal"


def run_settings(**changes: Any) -> RunSettings:
    """How a run behaves where only *changes* are set."""
    return replace(default_run_settings(Settings(), is_submit_wanted=False), **changes)


def service_settings(**values: Any) -> ServiceSettings:
    """How to talk to a service where only *values* are set, among them at least where it is and who calls."""
    settings = Settings()
    defaults = {
        "api_rate": settings.api_rate,
        "api_policy": RetryPolicy(attempts=settings.api_attempts, cap_seconds=20.0),
        "idle_timeout": settings.idle_timeout,
        "outage": OutagePolicy(),
        "is_verifying": settings.verify == "etag",
        "is_insecure_http_allowed": settings.insecure_http,
    }
    return ServiceSettings(**(defaults | values))


async def no_sleep(_: float) -> None:
    """Let the others run, and take no time."""
    await anyio.lowlevel.checkpoint()


@dataclass
class Rig:
    """One batch against one simulator; `events` are those of all runs."""

    simulator: Simulator
    folder: Path
    settings: RunSettings = field(default_factory=lambda: run_settings(part_bytes=256 * 1024))
    service: Mapping[str, Any] = field(default_factory=dict)
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    events: list[Event] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    seed: int = 1
    clock: Any = time.time
    #: Hears every event of a run, when there is one.
    on_event: Callable[[Event], object] | None = None

    @property
    def manifest(self) -> Path:
        """Where the manifest is."""
        return self.folder / f"{BATCH}.yaml"

    @property
    def state(self) -> Path:
        """Where the journal is."""
        return self.folder / "journal.db"

    def write_batch(self, entries: Iterable[Mapping[str, Any]], **head: Any) -> None:
        """Write the manifest."""
        document = {"batch_name": BATCH, **head, "avatars": [dict(entry) for entry in entries]}
        self.manifest.write_text(yaml.safe_dump(document), encoding="utf-8")

    def make_entries(
        self, count: int, *, size: int = 600_000, kinds: Iterable[str] = ()
    ) -> list[dict[str, Any]]:
        """Make real files for *count* avatars and write their manifest."""
        entries = [self.make_entry(f"avatar-{number}", size=size, kinds=kinds) for number in range(count)]
        self.write_batch(entries)
        return entries

    def make_entry(self, entry_id: str, *, size: int, kinds: Iterable[str] = ()) -> dict[str, Any]:
        """Make the files of one avatar: a training video of *size* bytes and one file of each of *kinds*."""
        seed = sum(entry_id.encode())
        entry = {"id": entry_id, "name": f"Name of {entry_id}"}
        for kind in ("training_video", *kinds):
            path = self.folder / f"{entry_id}-{kind}"
            _write_file(path, kind, size, seed)
            entry[kind] = path.name
        return entry

    async def run(self, settings: Mapping[str, Any] | None = None, **request: Any) -> RunOutcome:
        """Run the batch once, as the command does; *settings* change those of the run."""
        async with self._journal() as journal:
            return await run_batch(self.request(settings, **request), journal, self._bus(), self.clocks())

    async def retry(
        self, entry_ids: Collection[str] | None = None, *, is_cancelled_wanted: bool = False
    ) -> RunOutcome:
        """Retry the batch once, as the command does."""
        retry = Retry(entry_ids=entry_ids, is_cancelled_wanted=is_cancelled_wanted)
        return await self.run(retry=retry)

    async def cancel(self, entry_ids: Collection[str]) -> list[Cancellation]:
        """Cancel these entries, as the command does."""
        async with (
            self._journal() as journal,
            connect(self.service_settings(), self.clocks(), reader_threads=1) as connection,
        ):
            batch = (await journal.batches())[0].key
            return await Canceller(journal, connection.client, self._bus()).cancel(batch, entry_ids)

    async def submit(self) -> RunOutcome:
        """Submit the batch once, as the command does."""
        work = self.work_settings({"is_submit_wanted": True})
        async with self._journal() as journal:
            return await submit_batch(work, BATCH, journal, self._bus(), self.clocks())

    def clocks(self) -> Clocks:
        """Time and chance of one run."""
        self.seed += 1
        return Clocks(
            clock=self.clock,
            monotonic=time.monotonic,
            sleep=no_sleep,
            draw=random.Random(self.seed).random,
            nonce=_nonces(self.seed),
        )

    def _journal(self) -> AbstractAsyncContextManager[Journal]:
        return open_journal(str(self.state), clock=self.clock)

    def _bus(self) -> EventBus:
        return EventBus(self.events.append, *filter(None, [self.on_event]))

    def request(self, settings: Mapping[str, Any] | None = None, **changes: Any) -> RunRequest:
        """What `run` is asked to do."""
        values: dict[str, Any] = {
            "manifest": open_manifest(self.manifest),
            "work": self.work_settings(settings),
            "with_media": False,
            "on_problems": self.problems.extend,
        }
        return RunRequest(**(values | changes))

    def work_settings(self, settings: Mapping[str, Any] | None = None, **changes: Any) -> WorkSettings:
        """How the run behaves."""
        values: dict[str, Any] = {
            "service": self.service_settings(),
            "settings": replace(self.settings, **(settings or {})),
            "policy": self.policy,
            "grace_seconds": 30.0,
            "run_id": f"run-{self.seed}",
        }
        return WorkSettings(**(values | changes))

    def service_settings(self) -> ServiceSettings:
        """How to reach the simulator."""
        options = self.simulator.options
        values: dict[str, Any] = {
            "endpoint": self.simulator.endpoint,
            "project_id": options.project_id,
            "credentials": FoundCredentials(
                secret=Credentials(options.ak, options.sk), source="the test", project_id=None
            ),
            "api_rate": ApiRate(0.0, 0.0),
            "idle_timeout": 5.0,
        }
        return service_settings(**(values | dict(self.service)))

    async def entries(self) -> dict[str, EntryRecord]:
        """What the journal knows, by entry id."""
        async with open_journal(str(self.state), clock=self.clock) as journal:
            batch = (await journal.batches())[0].batch
            return {record.entry_id: record async for record in journal.entries(batch)}

    def events_of(self, kind: type[Event]) -> list[Any]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def jobs_by_name(self) -> dict[str, list[JobView]]:
        """The service's jobs that exist."""
        jobs: dict[str, list[JobView]] = {}
        for job in self.simulator.jobs:
            jobs.setdefault(job.name, []).append(job)
        return jobs

    def assert_delivered(
        self, entries: Iterable[Mapping[str, Any]], *, apart_from: Collection[str] = ()
    ) -> None:
        """One job for each entry, and every object equal to its file; *apart_from* names jobs of others."""
        jobs = self.jobs_by_name()
        for entry in entries:
            (job,) = (job for job in jobs[entry["name"]] if job.job_id not in apart_from)
            for kind in AssetKind:
                if kind.value in entry:
                    stored = job.objects[kind.value].read_bytes()
                    assert stored == (self.folder / entry[kind.value]).read_bytes(), (entry["id"], kind)


def _write_file(path: Path, kind: str, size: int, seed: int) -> None:
    if kind.endswith("video"):
        write_footage(path, size=size, seed=seed + len(kind))
    elif kind == "grant_file":
        write_letter(path, seed)
    else:
        write_picture(path, seed + len(kind) * ord(kind[-1]))


def _nonces(seed: int) -> Any:
    numbers = itertools.count()
    return lambda: f"{seed}-{next(numbers)}"
