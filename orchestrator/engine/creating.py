"""Jobs: making one, finding one whose create answer was lost, replacing one whose URLs have died."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.domain.assets import Asset, AssetKind
from orchestrator.domain.entries import create_tag
from orchestrator.domain.errors import (
    CredentialsError,
    EntryError,
    RequestRejectedError,
    ServiceUnreachableError,
    ThrottledError,
    UrlExpiredError,
)
from orchestrator.domain.part_counts import part_counts
from orchestrator.domain.segments import plan_segments
from orchestrator.domain.states import EntryState
from orchestrator.engine.collaborators import Collaborators, OnExpired
from orchestrator.engine.entry import HeldEntry
from orchestrator.engine.events import UrlsExpired
from orchestrator.journal.records import SegmentRecord
from orchestrator.metastudio.requests import JobQuery, create_body, update_body
from orchestrator.metastudio.wire import JobSummary, JobUrls, UploadUrls

#: Errors after which a create provably made no job (metastudio-protocol section 3).
_NOT_CARRIED_OUT = (RequestRejectedError, CredentialsError, ServiceUnreachableError, ThrottledError)


class JobMaker:
    """Gives an entry a job with living upload URLs, exactly one."""

    def __init__(self, collaborators: Collaborators) -> None:
        """Work with the run's client and journal."""
        self._with = collaborators

    async def create(self, entry: HeldEntry) -> None:
        """Create the job under a tag that finds it again should the answer be lost.

        Raises InterruptedTransferError when it is unknown whether the job exists; `settle` then finds out.
        """
        tag = create_tag(self._with.batch, entry.entry_id, self._with.nonce())
        await entry.transition(EntryState.CREATING, "job requested", create_tag=tag)
        counts = self._counts(entry)
        body = create_body(entry.avatar, batch_name=self._with.batch.name, tag=tag, part_counts=counts)
        try:
            with entry.step("create"):
                job = await self._with.client.create_job(body, app_user_id=entry.avatar.app_user_id)
        except _NOT_CARRIED_OUT:
            await entry.forget_job("no job was made")
            raise
        await self._keep(entry, job, counts, "job created")

    async def settle(self, entry: HeldEntry) -> None:
        """Find the job of a create whose answer was lost: take it over, or make room for a new one."""
        orphans = await self._orphans(entry)
        if not orphans:
            # A create that was cut off, by a kill or a timeout, may still be on its way to the service.
            await self._with.drain.sleep(self._with.settings.settle_seconds)
            orphans = await self._orphans(entry)
        for extra in orphans[1:]:
            await self._delete(entry, extra.job_id)
        if not orphans:
            await entry.forget_job("the service has no job with the tag of the lost create")
            return
        await self._adopt(entry, orphans[0].job_id)

    async def renew_urls(self, entry: HeldEntry, error: UrlExpiredError) -> None:
        """Get fresh upload URLs: by update where the service allows it, else by a new job in the old one's place.

        Raises EntryError when that is not wanted (`--on-expired fail`).
        """
        if self._with.settings.on_expired is OnExpired.FAIL:
            raise EntryError(error.message, code="UrlExpired", hint="--on-expired recreate makes a new job")
        counts = self._counts(entry)
        lost = [segment for segment in entry.segments if segment.receipt]
        # An update may take the parts away, so their receipts go before it: a kill in between must not leave them.
        parts = [segment for segment in lost if segment.kind.is_multipart]
        if parts:
            await entry.drop_receipts(parts)
        job = await self._updated(entry, entry.job_id, counts)
        self._publish_cost(entry, lost if job is None else parts, "recreate" if job is None else "update")
        if job is None:
            await self.replace(entry, "upload URLs expired: the job was deleted to be created anew")
        else:
            await entry.replace_segments(await self._with_stored_files(entry, job, counts))

    async def reopen(self, entry: HeldEntry) -> bool:
        """Update the job to what the manifest says now; False when the service does not allow it.

        Files that are stored and have not changed stay; videos go to new uploads, so they are sent again.
        """
        counts = self._counts(entry)
        job = await self._updated(entry, entry.job_id, counts)
        if job is None:
            return False
        planned = await self._with_stored_files(entry, job, counts)
        await entry.reopen(planned, "the job takes the changed files")
        return True

    async def replace(self, entry: HeldEntry, reason: str) -> None:
        """Delete the job, so that a new one is created; raises RequestRejectedError when it may not be deleted."""
        await self._delete(entry, entry.job_id)
        await entry.forget_job(reason)

    async def _orphans(self, entry: HeldEntry) -> list[JobSummary]:
        tag = entry.record.create_tag or ""
        listed = self._with.client.iterate_jobs(JobQuery(tag=tag), app_user_id=entry.avatar.app_user_id)
        with entry.step("list"):
            # Whether the filter matches whole tags only is not documented; a job that tells its tags is checked.
            return [job async for job in listed if not job.tags or tag in job.tags]

    async def _adopt(self, entry: HeldEntry, job_id: str) -> None:
        counts = self._counts(entry)
        job = await self._updated(entry, job_id, counts)
        if job is not None:
            await self._keep(entry, job, counts, "job of a lost create taken over")
            return
        # Its URLs were in the lost answer and cannot be had again.
        await self._delete(entry, job_id)
        await entry.forget_job("the orphan of a lost create was deleted")

    async def _updated(
        self, entry: HeldEntry, job_id: str, counts: Mapping[AssetKind, int]
    ) -> JobUrls | None:
        body = update_body(
            entry.avatar,
            batch_name=self._with.batch.name,
            tag=entry.record.create_tag or "",
            part_counts=counts,
        )
        try:
            with entry.step("update"):
                return await self._with.client.update_job(job_id, body, app_user_id=entry.avatar.app_user_id)
        except RequestRejectedError:
            return None

    async def _delete(self, entry: HeldEntry, job_id: str) -> None:
        with entry.step("delete"):
            await self._with.client.delete_job(job_id, app_user_id=entry.avatar.app_user_id)

    async def _keep(
        self, entry: HeldEntry, job: JobUrls, counts: Mapping[AssetKind, int], reason: str
    ) -> None:
        try:
            planned = planned_segments(entry.record.assets, counts, job.urls)
        except EntryError:
            # The job cannot hold the files, so it must not stay behind as an orphan.
            await self._delete(entry, job.job_id)
            await entry.forget_job("the job could not take the files and was deleted")
            raise
        await entry.keep_job(job.job_id, planned, reason)

    async def _with_stored_files(
        self, entry: HeldEntry, job: JobUrls, counts: Mapping[AssetKind, int]
    ) -> list[SegmentRecord]:
        """The segments with fresh URLs; single files that are stored as they are now need none.

        Whether parts survive an update is not known (metastudio-protocol section 1.4): it is asked later.
        """
        planned = planned_segments(entry.record.assets, counts, job.urls)
        stored = {old.kind: old for old in entry.segments if not old.kind.is_multipart}
        return [
            stored[new.kind] if await self._is_stored(entry, stored.get(new.kind), new) else new
            for new in planned
        ]

    async def _is_stored(self, entry: HeldEntry, old: SegmentRecord | None, new: SegmentRecord) -> bool:
        if old is None or old.receipt is None or old.receipt.md5 is None or old.segment != new.segment:
            return False
        return old.receipt.md5 == await self._with.sender.digest(entry.asset(new.kind), new.segment)

    def _counts(self, entry: HeldEntry) -> dict[AssetKind, int]:
        return part_counts(entry.avatar, entry.record.assets, self._with.settings.part_bytes)

    def _publish_cost(self, entry: HeldEntry, lost: Sequence[SegmentRecord], remedy: str) -> None:
        self._with.events.publish(
            UrlsExpired(
                entry=entry.entry_id,
                job_id=entry.record.job_id,
                remedy=remedy,
                lost_bytes=sum(segment.segment.length for segment in lost),
            )
        )


def planned_segments(
    assets: Sequence[Asset], counts: Mapping[AssetKind, int], urls: UploadUrls
) -> list[SegmentRecord]:
    """Pair each segment with its URL; raises EntryError when the service gave not as many as were asked for."""
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
