"""Jobs: creating one, finding one whose create answer was lost, replacing or changing one.

Tested by tests/engine/test_lost_creates.py, tests/engine/test_amending.py and tests/faults/test_expiry.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from orchestrator.domain.assets import Asset, AssetKind, Segment, part_counts, plan_segments
from orchestrator.domain.entries import SeenJob, create_tag
from orchestrator.domain.errors import (
    CredentialsError,
    DecisionNeededError,
    EntryError,
    RequestRejectedError,
    ServiceUnreachableError,
    StaleEpochError,
    ThrottledError,
    UrlExpiredError,
)
from orchestrator.domain.states import Change
from orchestrator.engine.context import OnExpired, Run
from orchestrator.engine.entry import ALWAYS_HELD, acting_under, uncut
from orchestrator.engine.events import Point, UrlsExpired
from orchestrator.engine.job_ownership import JobContents, JobFinder, JobSearch, Takeover
from orchestrator.journal.records import SegmentRecord
from orchestrator.metastudio.wire import JobUrls, UploadUrls, create_body, update_body

if TYPE_CHECKING:
    from orchestrator.engine.entry import ClaimedEntry
    from orchestrator.engine.steps.inquiry import Inquiry

#: Errors that prove that a create made no job (metastudio-protocol section 3).
_NOT_CARRIED_OUT = (RequestRejectedError, CredentialsError, ServiceUnreachableError, ThrottledError)


class JobMaker:
    """Gives an entry exactly one job with valid upload URLs."""

    def __init__(self, run: Run, inquiry: Inquiry) -> None:
        self._run = run
        self._finder = JobFinder(run.journal, run.client)
        self._takeover = Takeover(run)
        self._inquiry = inquiry

    async def create(self, entry: ClaimedEntry) -> None:
        """Create the job with a tag by which it can be found if the answer is lost.

        Raises InterruptedTransferError when it is unknown whether the job exists; `settle` then resolves that.
        """
        tag = create_tag(self._run.batch, entry.entry_id, self._run.clocks.nonce())
        await entry.request_job(tag, "job requested")
        counts = self._counts(entry)
        body = create_body(entry.avatar, batch_name=self._run.batch.name, tag=tag, part_counts=counts)
        # A worker that takes over may look for the job before it exists; then only its creator can delete it.
        with uncut():
            try:
                with entry.step(Point.CREATE):
                    job = await self._run.client.create_job(body, app_user_id=entry.avatar.app_user_id)
            except _NOT_CARRIED_OUT:
                await entry.forget_job("no job was made")
                raise
            await self._keep(entry, job, counts, "job created")

    async def settle(self, entry: ClaimedEntry) -> None:
        """Find the job of a create whose answer was lost: take it over, or make room for a new one.

        Only a job that carries the create's tag is touched; when no tags are shown, a warning names the candidates.
        """
        found = await self._find(entry)
        if not found.ours:
            # A create that was interrupted, by a kill or a timeout, may still be in flight to the service.
            await self._run.drain.sleep(self._run.settings.settle_seconds)
            found = await self._find(entry)
        if found.is_takeover:
            # The update was carried out but its answer was lost: ask for the URLs again.
            if not await self._refill(entry, found.ours[0].job_id):
                await entry.forget_job("the job that was to be taken over gives no URLs any more")
            return
        candidates = [
            contents for job in found.ours if (contents := await self._takeover.contents(entry, job.job_id))
        ]
        if not candidates:
            entry.warn_if(found.about_suspects())
            await entry.forget_job("the service shows no job with the tag of the lost create")
            return
        kept = next((each for each in candidates if each.is_seen_joined), candidates[0])
        for extra in candidates:
            if extra is not kept:
                await self._clear_away(entry, extra)
        if kept.is_seen_joined:
            await self._takeover.keep(entry, kept)
            return
        # The job's URLs were in the lost answer; only an update issues new ones.
        counts = self._counts(entry)
        job = await self._updated(entry, kept.job.job_id, counts) if kept.is_seen_empty else None
        if job is not None:
            await self._keep(entry, job, counts, "job of a lost create taken over")
            return
        await self._clear_away(entry, kept)
        await entry.forget_job("the orphan of a lost create makes room for a new job")

    async def renew_urls(self, entry: ClaimedEntry, error: UrlExpiredError) -> None:
        """Get fresh upload URLs: by update if the service allows it, else by a new job in place of the old one.

        Raises EntryError when that is disabled (`--on-expired fail`), ConfigurationError when the URLs have expired
        only by this machine's clock.
        """
        if self._run.settings.on_expired is OnExpired.FAIL:
            raise EntryError(error.message, code="UrlExpired", hint="--on-expired recreate makes a new job")
        counts = self._counts(entry)
        lost = [segment for segment in entry.segments if segment.receipt]
        # An update may delete stored data, so receipts are dropped first: a kill in between must not leave them.
        if lost:
            await entry.drop_receipts(lost)
        job = await self._updated(entry, entry.job_id, counts)
        if job is None:
            # The service's time may have been unknown before this answer.
            self._run.service_time.check_alive(_expiries(entry.segments))
            self._publish_cost(entry, lost, "recreate")
            await self.replace(entry, "upload URLs expired: the job was deleted to be created again")
            return
        planned = await self._with_stored_files(entry, job, counts)
        kept = {segment.kind for segment in planned if segment.receipt}
        self._publish_cost(entry, [segment for segment in lost if segment.kind not in kept], "update")
        await entry.replace_segments(planned)
        self._check_fresh(planned)

    async def reopen(self, entry: ClaimedEntry) -> bool:
        """Update the job to the current manifest; return False when the service does not allow it.

        Single files whose shown objects match the current files are kept; all else is sent again.
        """
        counts = self._counts(entry)
        job = await self._updated(entry, entry.job_id, counts)
        if job is None:
            return False
        planned = await self._with_stored_files(entry, job, counts)
        await entry.reopen(planned, "the job takes the changed files")
        self._check_fresh(planned)
        return True

    async def replace(self, entry: ClaimedEntry, reason: str) -> None:
        """Delete the job so that a new one is created; raise RequestRejectedError when the service keeps it."""
        await self.delete(entry, entry.job_id)
        await entry.forget_job(reason)

    async def take_over(self, entry: ClaimedEntry, seen: SeenJob) -> bool:
        """Give the entry a job of another journal, with fresh URLs and our tag; return False when it gets no URLs."""
        tag = create_tag(self._run.batch, entry.entry_id, self._run.clocks.nonce())
        await entry.request_job(tag, f"job {seen.job_id} is to be taken over", of_job=seen)
        return await self._refill(entry, seen.job_id)

    async def _refill(self, entry: ClaimedEntry, job_id: str) -> bool:
        """Get URLs for a job that may already hold parts of the entry; the upload finds out which."""
        counts = self._counts(entry)
        job = await self._updated(entry, job_id, counts)
        if job is None:
            return False
        planned = planned_segments(entry.record.assets, counts, job.urls)
        await entry.keep_job(job_id, planned, "job of another journal taken over")
        self._check_fresh(planned)
        entry.is_reconciled = False
        return True

    async def delete(self, entry: ClaimedEntry, job_id: str) -> None:
        """Delete a job; raise RequestRejectedError when the service keeps it."""
        with entry.step(Point.DELETE):
            await self._run.client.delete_job(job_id, app_user_id=entry.avatar.app_user_id)

    def segments_of(self, entry: ClaimedEntry, kind: AssetKind) -> list[Segment]:
        """Return the segments into which the entry's file of *kind* is cut."""
        return list(plan_segments(entry.asset(kind).size, self._counts(entry).get(kind, 1)))

    async def _find(self, entry: ClaimedEntry) -> JobSearch:
        with entry.step(Point.LIST):
            return await self._finder.find(entry.record)

    async def _clear_away(self, entry: ClaimedEntry, contents: JobContents) -> None:
        """Delete a job that is proved to be ours, unless it may hold files."""
        job_id = contents.job.job_id
        if contents.is_seen_empty:
            await self.delete(entry, job_id)
        else:
            entry.warn(f"job {job_id} is left over from a lost create and was kept: it may hold files")

    async def _updated(
        self, entry: ClaimedEntry, job_id: str, counts: Mapping[AssetKind, int]
    ) -> JobUrls | None:
        body = update_body(
            entry.avatar,
            batch_name=self._run.batch.name,
            tag=entry.record.create_tag or "",
            part_counts=counts,
        )
        # From now on stored data may be that of the previous files, or deleted.
        await entry.note(Point.WRITE_UPDATING, job_updated_at=self._run.clocks.clock())
        try:
            with entry.step(Point.UPDATE):
                return await self._run.client.update_job(job_id, body, app_user_id=entry.avatar.app_user_id)
        except RequestRejectedError:
            return None

    async def _keep(
        self, entry: ClaimedEntry, job: JobUrls, counts: Mapping[AssetKind, int], reason: str
    ) -> None:
        try:
            planned = planned_segments(entry.record.assets, counts, job.urls)
        except EntryError:
            # The job cannot hold the files, so it must not stay behind as an orphan.
            await self.delete(entry, job.job_id)
            await entry.forget_job("the job could not take the files and was deleted")
            raise
        try:
            await entry.keep_job(job.job_id, planned, reason)
        except StaleEpochError:
            # Another worker took the entry during the create. Leave no orphan, unless that worker found the job.
            if not await self._is_found(job.job_id, entry.record.create_tag or ""):
                # Only this worker knows the job, so it must delete it although its hold on the entry is lost.
                with acting_under(ALWAYS_HELD):
                    await self.delete(entry, job.job_id)
            raise
        self._check_fresh(planned)

    async def _is_found(self, job_id: str, tag: str) -> bool:
        """True when the worker that took the entry has the job, or is about to look for it."""
        owns_job = self._run.journal.owns_job
        if not await owns_job(job_id, [tag]):
            return False
        if not await owns_job(job_id):
            # It may have looked just before the job existed, and be about to journal that there is none.
            await self._run.clocks.sleep(2 * self._run.settings.settle_seconds)
        return await owns_job(job_id, [tag])

    def _check_fresh(self, planned: Sequence[SegmentRecord]) -> None:
        """Raise for URLs that are expired on arrival, once the job is journaled: new ones would be no better."""
        self._run.service_time.check_fresh(_expiries(each for each in planned if each.receipt is None))

    async def _with_stored_files(
        self, entry: ClaimedEntry, job: JobUrls, counts: Mapping[AssetKind, int]
    ) -> list[SegmentRecord]:
        """Return the segments with fresh URLs, and receipts for single files that are proved to be still stored.

        It is not known what survives an update (metastudio-protocol section 1.4). For single files only their
        download URLs can show it; the upload asks which parts are left before it sends any.
        """
        planned = planned_segments(entry.record.assets, counts, job.urls)
        if all(segment.kind.is_multipart for segment in planned):
            return planned
        shown = await self._inquiry.show(entry)
        for place, segment in enumerate(planned):
            if shown is None or segment.kind.is_multipart:
                continue
            finding = await self._inquiry.find_shown(entry, segment, shown, is_started=False)
            if finding.receipt is not None:
                now = self._run.clocks.clock()
                planned[place] = replace(segment, receipt=finding.receipt, stored_at=now)
        return planned

    def _counts(self, entry: ClaimedEntry) -> dict[AssetKind, int]:
        return part_counts(entry.avatar, entry.record.assets, self._run.settings.part_bytes)

    def _publish_cost(self, entry: ClaimedEntry, lost: Sequence[SegmentRecord], remedy: str) -> None:
        self._run.events.publish(
            UrlsExpired(
                batch=entry.batch_name,
                entry=entry.entry_id,
                job_id=entry.record.job_id,
                remedy=remedy,
                lost_bytes=sum(segment.segment.length for segment in lost),
            )
        )


class Changer:
    """Carries out the change that an entry's plan asks for; the plan itself is already in the journal."""

    def __init__(self, maker: JobMaker) -> None:
        self._maker = maker

    async def change(self, entry: ClaimedEntry) -> None:
        """Update or replace the job; afterwards the entry uploads what the job lacks.

        Raises DecisionNeededError, with the old plan restored, when the service does not allow the chosen change.
        """
        wanted = entry.record.change_wanted
        if wanted is not Change.RECREATE and await self._maker.reopen(entry):
            return
        if wanted is Change.UPDATE and entry.record.confirmed_at is not None:
            await _refuse(
                entry,
                DecisionNeededError(
                    "the service does not let this job be updated in its present state",
                    hint="run with --on-change recreate to delete the job and make a new one, "
                    "or put the manifest and the files back as they were",
                ),
            )
        try:
            await self._maker.replace(entry, "the job was deleted to be made again from the changed manifest")
        except RequestRejectedError as error:
            refusal = error.restated(
                DecisionNeededError,
                f"the job can neither be updated nor deleted: {error.message}",
                hint="put the manifest and the files back as they were, and give the new footage an entry of its own",
            )
            await _refuse(entry, refusal)


async def _refuse(entry: ClaimedEntry, refusal: DecisionNeededError) -> NoReturn:
    """Restore the plan that the job was made from, which matches what is stored, unless amending; raise *refusal*."""
    if entry.record.change_wanted is not Change.AMEND:
        await entry.put_plan_back()
    raise refusal from None


def _expiries(segments: Iterable[SegmentRecord]) -> list[float | None]:
    return [segment.url.expires_at for segment in segments if segment.url is not None]


def planned_segments(
    assets: Sequence[Asset], counts: Mapping[AssetKind, int], urls: UploadUrls
) -> list[SegmentRecord]:
    """Pair each segment with its URL; raise EntryError when the service returned another number than requested."""
    planned: list[SegmentRecord] = []
    for asset in assets:
        count = counts.get(asset.kind, 1)
        given = urls.get(asset.kind, [])
        if len(given) != count:
            raise EntryError(
                f"the service gave {len(given)} upload URLs for {asset.kind}, {count} were asked for",
                code="UrlCount",
                hint="ask for at most 50 parts (video_multipart_count: auto), or leave the file out",
            )
        planned += [
            SegmentRecord(kind=asset.kind, segment=segment, url=url)
            for segment, url in zip(plan_segments(asset.size, count), given, strict=True)
        ]
    return planned
