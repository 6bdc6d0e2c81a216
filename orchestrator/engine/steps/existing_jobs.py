"""Jobs of a batch that exist although this journal knows nothing of them: a lost journal, another machine, a copy.

Tested by tests/engine/test_existing_jobs.py and tests/engine/test_no_harm.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import anyio

from orchestrator.domain.entries import SeenJob, entry_digests, forms, listed_since, normal, parse_tag
from orchestrator.engine.events import Point
from orchestrator.engine.job_search import seen_job
from orchestrator.journal.records import Twin
from orchestrator.metastudio.wire import JobQuery

if TYPE_CHECKING:
    from orchestrator.engine.context import Run
    from orchestrator.engine.entry import HeldEntry

#: Jobs looked through one after another that have nothing to do with the batch: more only come where the service pays
#: no attention to any filter, and the newest are looked at first.
MAX_UNRELATED_JOBS = 5000
#: Jobs of the name of one entry that are shown, where the list keeps tags to itself.
MAX_SHOWN_JOBS = 10


@dataclass(frozen=True, slots=True)
class ExistingJob:
    """A job that may be an entry's; `is_tagged` when it carries the entry's tag, and so was made by this program."""

    job: SeenJob
    is_tagged: bool


@dataclass(frozen=True, slots=True)
class Existing:
    """What there is already of an entry that has no job: jobs of other journals, the entry of a twin batch."""

    jobs: tuple[ExistingJob, ...] = ()
    twin: Twin | None = None

    def __bool__(self) -> bool:
        """True when a new job would be a second one."""
        return bool(self.jobs or self.twin)

    def __str__(self) -> str:
        """The jobs, and the batch of this journal that has the same files, for a message."""
        named = [f"job {known.job.job_id} ({known.job.name})" for known in self.jobs]
        if self.twin is not None:
            named.append(f"job {self.twin.entry.job_id or '(requested)'} of batch {self.twin.batch.name}")
        return ", ".join(named)


@dataclass(slots=True)
class _Survey:
    """What one listing showed: jobs by the entry's digest in their tag, and those without any tag by their name."""

    tagged: dict[str, list[SeenJob]] = field(default_factory=lambda: defaultdict(list))
    untagged: dict[str, list[SeenJob]] = field(default_factory=lambda: defaultdict(list))
    #: True once any job was seen with tags: then one without has none.
    shows_tags: bool = False


class ExistingJobs:
    """Asks the service once, before the first create of a run, what it has of the batch.

    Where the journal knows creates of the batch, only what was made since its last one is asked for: it finds what a
    journal from a backup has forgotten.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._lock = anyio.Lock()
        self._surveys: dict[str | None, _Survey] = {}
        self._twins: dict[str, Twin] = {}
        self._is_begun = False
        self._since: float | None = None

    async def of(self, entry: HeldEntry) -> Existing:
        """What exists of an entry whose job is about to be made; nothing that the journal knows."""
        app_user_id = entry.avatar.app_user_id
        if app_user_id not in self._surveys:
            async with self._lock:
                if not self._is_begun:
                    batch, journal = self._run.batch.digest, self._run.journal
                    self._since = await journal.last_create_at(batch)
                    self._twins = await journal.twins(batch)
                    self._is_begun = True
                # Another entry may have asked while this one waited.
                if app_user_id not in self._surveys:
                    with entry.step(Point.LIST_BATCH):
                        self._surveys[app_user_id] = await self._ask(app_user_id)
        survey = self._surveys[app_user_id]
        if not (survey.tagged or survey.untagged):
            # A new batch, as most are: nothing to compare its entries with.
            return Existing(twin=self._twins.get(entry.entry_id))
        digests = entry_digests(entry.entry_id)
        jobs = [ExistingJob(job, True) for digest in digests for job in survey.tagged.get(digest, ())]
        jobs += [known async for known in self._untagged(entry, survey)]
        # Those that this journal neither owns nor made.
        tags = {tag for known in jobs for tag in known.job.tags}
        creates = await self._run.journal.creates_tagged(tags) if tags else {}
        made = {tag for tag, create in creates.items() if create.job_id is None}
        unknown = [
            known
            for known in jobs
            if made.isdisjoint(known.job.tags) and not await self._run.journal.owns_job(known.job.job_id)
        ]
        return Existing(tuple(unknown), self._twins.get(entry.entry_id))

    def forget(self, entry: HeldEntry, job_id: str) -> None:
        """The job is gone, or is the entry's now."""
        survey = self._surveys[entry.avatar.app_user_id]
        for place, name in (
            *((survey.tagged, digest) for digest in entry_digests(entry.entry_id)),
            (survey.untagged, normal(entry.avatar.name)),
        ):
            if name in place:
                place[name] = [job for job in place[name] if job.job_id != job_id]

    def forget_twin(self, entry: HeldEntry) -> None:
        """The entry has what its twin had."""
        self._twins.pop(entry.entry_id, None)

    def others_waiting(self, entry: HeldEntry) -> list[SeenJob]:
        """The jobs of the same listing: examples of how this service shows a job that holds its files."""
        survey = self._surveys[entry.avatar.app_user_id]
        return [job for jobs in (*survey.tagged.values(), *survey.untagged.values()) for job in jobs]

    async def _ask(self, app_user_id: str | None) -> _Survey:
        survey = _Survey()
        for name in forms(self._run.batch.name):
            query = JobQuery(
                batch_name=name,
                create_since=None if self._since is None else listed_since(self._since),
                sort_dir="desc",
            )
            unrelated = 0
            async for job in self._run.client.iterate_jobs(query, app_user_id=app_user_id):
                survey.shows_tags |= bool(job.tags)
                tag = next(filter(None, map(self._tag_of_batch, job.tags)), None)
                is_of_batch = tag is not None or normal(job.batch_name or "") == normal(self._run.batch.name)
                if tag is not None:
                    survey.tagged[tag].append(seen_job(job))
                elif is_of_batch and not job.tags:
                    survey.untagged[normal(job.name)].append(seen_job(job))
                unrelated = 0 if is_of_batch else unrelated + 1
                if unrelated == MAX_UNRELATED_JOBS:
                    break
        return survey

    def _tag_of_batch(self, tag: str) -> str | None:
        """The entry's digest in a tag of this batch."""
        parsed = parse_tag(tag)
        return parsed.entry if parsed is not None and parsed.batch in self._run.batch.digests else None

    async def _untagged(self, entry: HeldEntry, survey: _Survey) -> AsyncIterator[ExistingJob]:
        """Jobs of the entry's name that the list shows without tags: show may know better.

        Where nothing shows tags, name and batch are enough to ask a person, but only before a batch is begun: later
        such a job can be what a lost create left behind.
        """
        for job in survey.untagged.get(normal(entry.avatar.name), ())[:MAX_SHOWN_JOBS]:
            with entry.step(Point.SHOW):
                detail = await self._run.client.find_job(job.job_id, app_user_id=entry.avatar.app_user_id)
            if detail is None:
                continue
            survey.shows_tags |= bool(detail.tags)
            digests = set(filter(None, map(self._tag_of_batch, detail.tags)))
            if digests & entry_digests(entry.entry_id):
                yield ExistingJob(replace(job, tags=detail.tags), True)
            elif self._since is None and not survey.shows_tags:
                yield ExistingJob(job, False)
