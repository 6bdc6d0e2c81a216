"""Existing jobs of a batch that this journal does not know: after a lost journal, from another machine or a copy.

Before an entry's create, a person or `--on-existing` decides what to do with them.

Tested by tests/engine/test_existing_jobs.py, tests/engine/test_no_harm.py and tests/engine/test_ways_on.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from shlex import quote
from typing import TYPE_CHECKING

import anyio

from orchestrator.domain.assets import AssetKind
from orchestrator.domain.entries import (
    BatchKey,
    SeenJob,
    changed_fields,
    entry_digests,
    forms,
    listed_since,
    normal,
    parse_tag,
)
from orchestrator.domain.errors import DecisionNeededError, LockHeldError
from orchestrator.engine.context import OnExisting, Run
from orchestrator.engine.events import Point
from orchestrator.engine.job_ownership import JobContents, Takeover, contents_of, seen_job
from orchestrator.journal.records import Twin
from orchestrator.metastudio.wire import JobQuery

if TYPE_CHECKING:
    from orchestrator.engine.entry import ClaimedEntry
    from orchestrator.engine.steps.create import JobMaker

#: The most other jobs of the batch examined to learn how this service shows a job that holds its film.
_MODELS = 20
_WAYS_OUT = (
    "run again with --on-existing adopt to take over what exists, or --on-existing create for a new job"
)
#: The most consecutive jobs read that do not belong to the batch. Only a service that ignores every filter lists
#: more, and the newest come first.
MAX_UNRELATED_JOBS = 5000
#: The most show calls for jobs with the name of one entry, when the list does not include tags.
MAX_SHOWN_JOBS = 10


class Adopter:
    """Creates the job of an entry, unless one exists that this journal does not know."""

    def __init__(self, run: Run, maker: JobMaker) -> None:
        self._run = run
        self._maker = maker
        self._existing = ExistingJobs(run)
        self._takeover = Takeover(run)
        #: Serializes this run's workers too, because the other batch's lock is taken for one entry at a time.
        self._moving = anyio.Lock()

    async def create(self, entry: ClaimedEntry) -> None:
        """Give the entry a job.

        Raises DecisionNeededError, and creates none, when one exists and `--on-existing` is `ask` or the job cannot
        be taken over; otherwise the errors of `JobMaker.create`.
        """
        existing = await self._existing.of(entry)
        if not existing:
            await self._maker.create(entry)
            return
        match self._run.settings.on_existing:
            case OnExisting.ADOPT:
                if not await self._adopt(entry, existing):
                    await self._maker.create(entry)
            case OnExisting.CREATE:
                entry.warn(f"a new job is made beside {existing}")
                await self._maker.create(entry)
            case OnExisting.ASK:
                raise DecisionNeededError(
                    f"a job exists for this entry that this batch did not make: {existing}",
                    code="JobExists",
                    hint=_WAYS_OUT,
                )

    async def _adopt(self, entry: ClaimedEntry, existing: Existing) -> bool:
        """Take over an existing job; return False when there is none to take, or it was deleted for a new job."""
        if existing.twin is not None:
            await self._move(entry, existing.twin)
            return True
        found = [
            (known, contents)
            for known in existing.jobs
            if (contents := await self._takeover.contents(entry, known.job.job_id)) is not None
        ]
        if not found:
            return False
        known, contents = max(found, key=lambda each: (each[1].is_seen_joined, each[1].parts is None))
        others = ", ".join(other.job.job_id for other, _ in found if other is not known)
        if others:
            entry.warn(
                f"job {known.job.job_id} was taken over; these exist as well and were left alone: {others}"
            )
        if contents.is_seen_joined or contents.parts is None:
            await self._takeover.keep(entry, contents)
        elif not await self._maker.take_over(entry, known.job):
            await self._make_room(entry, known, contents)
            return False
        self._existing.forget(entry, known.job.job_id)
        return True

    async def _move(self, entry: ClaimedEntry, twin: Twin) -> None:
        """Move the job of the same entry in another batch to this entry.

        Raises DecisionNeededError when the job was made from other field values, or a run works on the other batch.
        """
        batch = twin.batch
        others = changed_fields(twin.entry.avatar, entry.avatar)
        if others:
            raise DecisionNeededError(
                f"{Existing(twin=twin)} was made with other values of {', '.join(others)}",
                code="JobExists",
                hint=f"run it under --batch-name {quote(batch.name)} to change it there; "
                "--on-existing create makes a new job beside it",
            )
        key = BatchKey(batch.endpoint, batch.project_id, batch.name, known_digest=batch.batch)
        try:
            async with self._moving, self._run.journal.hold_batch(key):
                await entry.take_job_of(twin)
        except LockHeldError as error:
            raise DecisionNeededError(
                f"batch {batch.name} has the job, and {error.message}", code="JobExists", hint=error.hint
            ) from None
        self._existing.forget_twin(entry)

    async def _make_room(self, entry: ClaimedEntry, known: ExistingJob, contents: JobContents) -> None:
        """Delete a job without URLs if we made it and it provably holds no film; else raise DecisionNeededError."""
        job_id = known.job.job_id
        # An empty list of parts proves nothing, so something else must show that the training video is not joined.
        may_go = known.is_tagged and (
            contents.shows_other_files
            or await self._is_partial(entry, contents)
            or await self._are_joined_jobs_shown(entry)
        )
        if may_go:
            await self._maker.delete(entry, job_id)
            self._existing.forget(entry, job_id)
        await entry.forget_job("the job that exists gave no upload URLs")
        if not may_go:
            raise DecisionNeededError(
                f"job {job_id} cannot be taken over: the service gives no URLs for it, and nothing proves whether it "
                "holds the film",
                code="JobExists",
                hint="check it in the console and delete it there if it is empty; "
                "--on-existing create makes a new job beside it",
            )

    async def _is_partial(self, entry: ClaimedEntry, contents: JobContents) -> bool:
        """True when the job holds some parts of our file, cut the same way, and lacks others."""
        parts = dict(contents.parts or {})
        planned = self._maker.segments_of(entry, AssetKind.TRAINING_VIDEO)
        held = [segment for segment in planned if segment.part_number in parts]
        if not held or len(held) != len(parts) or len(held) == len(planned):
            return False
        asset = entry.asset(AssetKind.TRAINING_VIDEO)
        return await self._run.sender.digest(asset, held[0]) == parts[held[0].part_number]

    async def _are_joined_jobs_shown(self, entry: ClaimedEntry) -> bool:
        """True when another job of the batch shows that this service marks joined films, which this job is not."""
        for job in self._existing.others_waiting(entry)[:_MODELS]:
            contents = await contents_of(self._run.client, job.job_id, entry.avatar.app_user_id)
            if contents is not None and contents.is_marked_joined:
                return True
        return False


@dataclass(frozen=True, slots=True)
class ExistingJob:
    """A job that may be an entry's; `is_tagged` means that it carries the entry's tag, so this program made it."""

    job: SeenJob
    is_tagged: bool


@dataclass(frozen=True, slots=True)
class Existing:
    """The existing work for an entry without a job: jobs of other journals, and its entry in a twin batch."""

    jobs: tuple[ExistingJob, ...] = ()
    twin: Twin | None = None

    def __bool__(self) -> bool:
        """True when a new job would be a second one."""
        return bool(self.jobs or self.twin)

    def __str__(self) -> str:
        """Return the jobs, and the batch of this journal with the same files, for a message."""
        named = [f"job {known.job.job_id} ({known.job.name})" for known in self.jobs]
        if self.twin is not None:
            named.append(f"job {self.twin.entry.job_id or '(requested)'} of batch {self.twin.batch.name}")
        return ", ".join(named)


@dataclass(slots=True)
class _Survey:
    """The result of one listing: jobs by the entry's digest in their tag, and untagged jobs by their name."""

    tagged: dict[str, list[SeenJob]] = field(default_factory=lambda: defaultdict(list))
    untagged: dict[str, list[SeenJob]] = field(default_factory=lambda: defaultdict(list))
    #: True once any job was seen with tags; then a job without tags really has none.
    shows_tags: bool = False


class ExistingJobs:
    """Lists the jobs of the batch on the service once, before the first create of a run.

    If the journal has creates of the batch, only jobs made since the last one are listed. These are the jobs that a
    journal restored from a backup lacks.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._lock = anyio.Lock()
        self._surveys: dict[str | None, _Survey] = {}
        self._twins: dict[str, Twin] = {}
        self._is_begun = False
        self._since: float | None = None

    async def of(self, entry: ClaimedEntry) -> Existing:
        """Return the existing jobs for an entry whose job is about to be created, without those the journal has."""
        app_user_id = entry.avatar.app_user_id
        if app_user_id not in self._surveys:
            async with self._lock:
                if not self._is_begun:
                    batch, journal = self._run.batch.digest, self._run.journal
                    self._since = await journal.last_create_at(batch)
                    self._twins = await journal.twins(batch)
                    self._is_begun = True
                # Another entry may have listed the jobs while this one waited.
                if app_user_id not in self._surveys:
                    with entry.step(Point.LIST_BATCH):
                        self._surveys[app_user_id] = await self._ask(app_user_id)
        survey = self._surveys[app_user_id]
        if not (survey.tagged or survey.untagged):
            # Most batches are new and have nothing to compare their entries with.
            return Existing(twin=self._twins.get(entry.entry_id))
        digests = entry_digests(entry.entry_id)
        jobs = [ExistingJob(job, True) for digest in digests for job in survey.tagged.get(digest, ())]
        jobs += [known async for known in self._untagged(entry, survey)]
        # Keep the jobs that this journal neither owns nor made.
        tags = {tag for known in jobs for tag in known.job.tags}
        creates = await self._run.journal.creates_tagged(tags) if tags else {}
        made = {tag for tag, create in creates.items() if create.job_id is None}
        unknown = [
            known
            for known in jobs
            if made.isdisjoint(known.job.tags) and not await self._run.journal.owns_job(known.job.job_id)
        ]
        return Existing(tuple(unknown), self._twins.get(entry.entry_id))

    def forget(self, entry: ClaimedEntry, job_id: str) -> None:
        """Drop a job from the survey: it was deleted, or the entry has it now."""
        survey = self._surveys[entry.avatar.app_user_id]
        for place, name in (
            *((survey.tagged, digest) for digest in entry_digests(entry.entry_id)),
            (survey.untagged, normal(entry.avatar.name)),
        ):
            if name in place:
                place[name] = [job for job in place[name] if job.job_id != job_id]

    def forget_twin(self, entry: ClaimedEntry) -> None:
        """Drop the entry's twin: the entry has its job now."""
        self._twins.pop(entry.entry_id, None)

    def others_waiting(self, entry: ClaimedEntry) -> list[SeenJob]:
        """Return the jobs of the same listing, as examples of how this service shows a job that holds its files."""
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
        """Return the entry's digest in a tag of this batch; None for any other tag."""
        parsed = parse_tag(tag)
        return parsed.entry if parsed is not None and parsed.batch in self._run.batch.digests else None

    async def _untagged(self, entry: ClaimedEntry, survey: _Survey) -> AsyncIterator[ExistingJob]:
        """Yield jobs with the entry's name that the list shows without tags; show may return their tags.

        If no answer has tags, name and batch are enough to ask a person, but only before the batch has creates: later
        such a job may be the result of a lost create.
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
