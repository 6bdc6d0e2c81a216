"""Jobs that exist before an entry's create: a person decides what becomes of them, or `--on-existing` says it.

Tested by tests/engine/test_existing_jobs.py and tests/engine/test_ways_on.py.
"""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

import anyio

from orchestrator.domain.assets import AssetKind
from orchestrator.domain.entries import BatchKey, changed_fields
from orchestrator.domain.errors import DecisionNeededError, LockHeldError
from orchestrator.engine.context import OnExisting, Run
from orchestrator.engine.steps.existing_jobs import Existing, ExistingJob, ExistingJobs
from orchestrator.engine.steps.takeover import JobContents, Takeover, contents_of
from orchestrator.journal.records import Twin

if TYPE_CHECKING:
    from orchestrator.engine.entry import HeldEntry
    from orchestrator.engine.steps.create import JobMaker

#: Other jobs of the batch that are looked at to learn how this service shows one that holds its film.
_MODELS = 20
_WAYS_OUT = (
    "run again with --on-existing adopt to take over what exists, or --on-existing create for a new job"
)


class Adopter:
    """Makes the job of an entry, unless one exists that this journal does not know."""

    def __init__(self, run: Run, maker: JobMaker) -> None:
        self._run = run
        self._maker = maker
        self._existing = ExistingJobs(run)
        self._takeover = Takeover(run)
        #: The other batch's lock is held for one entry at a time: by this run's workers too.
        self._moving = anyio.Lock()

    async def create(self, entry: HeldEntry) -> None:
        """Give the entry a job.

        Raises DecisionNeededError, and makes none, where one exists and `--on-existing` does not say what to do
        about it; else as `JobMaker.create` does.
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

    async def _adopt(self, entry: HeldEntry, existing: Existing) -> bool:
        """Take over what exists; False when there was nothing to take, or it made room for a new job."""
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

    async def _move(self, entry: HeldEntry, twin: Twin) -> None:
        """Let the entry have the job of the same entry in another batch, which gives it up.

        Raises DecisionNeededError when the job was made from other fields, or the other batch is being run.
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

    async def _make_room(self, entry: HeldEntry, known: ExistingJob, contents: JobContents) -> None:
        """Delete a job that gives no URLs, if this program made it and it provably holds no film."""
        job_id = known.job.job_id
        # An empty list may mean either, so that something else has to show that the training video is not joined.
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

    async def _is_partial(self, entry: HeldEntry, contents: JobContents) -> bool:
        """True when the job holds some parts of our file, cut as we cut it, and lacks others."""
        parts = dict(contents.parts or {})
        planned = self._maker.segments_of(entry, AssetKind.TRAINING_VIDEO)
        held = [segment for segment in planned if segment.part_number in parts]
        if not held or len(held) != len(parts) or len(held) == len(planned):
            return False
        asset = entry.asset(AssetKind.TRAINING_VIDEO)
        return await self._run.sender.digest(asset, held[0]) == parts[held[0].part_number]

    async def _are_joined_jobs_shown(self, entry: HeldEntry) -> bool:
        """True when another job of the batch shows what a joined film looks like here, which this one does not."""
        for job in self._existing.others_waiting(entry)[:_MODELS]:
            contents = await contents_of(self._run.client, job.job_id, entry.avatar.app_user_id)
            if contents is not None and contents.is_marked_joined:
                return True
        return False
