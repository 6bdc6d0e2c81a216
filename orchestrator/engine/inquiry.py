"""Asking the service what it holds, so that nothing is guessed after a lost answer."""

from __future__ import annotations

from orchestrator.domain.assets import AssetKind
from orchestrator.domain.delivery import is_md5
from orchestrator.domain.errors import RequestRejectedError, UrlExpiredError
from orchestrator.domain.presigned import PresignedUrl
from orchestrator.domain.receipts import Receipt
from orchestrator.domain.service_states import WAIT_FILE_UPLOAD, JobGroup, group_of
from orchestrator.engine.collaborators import Collaborators
from orchestrator.engine.entry import HeldEntry
from orchestrator.journal.records import SegmentRecord
from orchestrator.metastudio.requests import Command
from orchestrator.metastudio.wire import DownloadUrls, JobDetail

_LIST_COMMANDS = {
    AssetKind.TRAINING_VIDEO: Command.GET_MULTIPART_UPLOADED,
    AssetKind.ACTION_VIDEO: Command.GET_ACTION_VIDEO_MULTIPART_UPLOADED,
}


#: Where the show answer names a file differently than the create answer (metastudio-protocol section 1.3).
_DOWNLOAD_NAMES = {AssetKind.AUDIO: ("audio_file", "audio")}


class Inquiry:
    """Questions about one entry's job."""

    def __init__(self, collaborators: Collaborators) -> None:
        """Ask through the run's client."""
        self._with = collaborators

    async def show(self, entry: HeldEntry) -> JobDetail | None:
        """The job as the service has it; None when it has none of that id."""
        try:
            with entry.step("show"):
                return await self._with.client.show_job(entry.job_id, app_user_id=entry.avatar.app_user_id)
        except RequestRejectedError as error:
            if error.status == 404:
                return None
            raise

    async def held_parts(self, entry: HeldEntry, kind: AssetKind) -> dict[int, str] | None:
        """ETag by part number of what the service holds of a video; None when it does not tell.

        The command for the action video is ambiguous (metastudio-protocol section 1.6), so its silence, an
        empty answer or a refusal, means nothing.
        """
        command = _LIST_COMMANDS[kind]
        try:
            with entry.step(command.value.lower()):
                result = await self._with.client.command(
                    entry.job_id, command, app_user_id=entry.avatar.app_user_id
                )
        except RequestRejectedError:
            return None
        parts = {part.part_number: part.etag.lower() for part in result.parts}
        return parts if parts or kind is AssetKind.TRAINING_VIDEO else None

    async def receipt_for(self, entry: HeldEntry, sent: SegmentRecord) -> Receipt | None:
        """The receipt of a segment whose answer was lost, if the service holds it as the file is now."""
        if not sent.kind.is_multipart:
            return await self._compared_object(entry, sent)
        held = await self.held_parts(entry, sent.kind)
        return await self.compared(entry, sent, (held or {}).get(sent.segment.part_number))

    async def compared(self, entry: HeldEntry, sent: SegmentRecord, etag: str | None) -> Receipt | None:
        """The receipt of a segment that the service holds under *etag*, if that is the MD5 of the file's bytes."""
        if etag is None:
            return None
        md5 = await self._with.sender.digest(entry.asset(sent.kind), sent.segment)
        return Receipt(etag=etag, md5=md5, is_verified=True) if md5 == etag else None

    async def disproves(self, entry: HeldEntry, sent: SegmentRecord) -> bool:
        """True when the job is gone, shows other files but not this one, or shows an object that is another."""
        job = await self.show(entry)
        if job is None:
            return True
        url = download_url(job.download_urls, sent.kind)
        if url is None:
            stored = {old.kind for old in entry.segments if old.receipt and not old.kind.is_multipart}
            return any(download_url(job.download_urls, kind) is not None for kind in stored)
        facts = await self._with.probe(url)
        if facts is None:
            return False
        if facts.length not in {None, sent.segment.length}:
            return True
        return is_md5(facts.etag or "") and await self.compared(entry, sent, facts.etag) is None

    async def _compared_object(self, entry: HeldEntry, sent: SegmentRecord) -> Receipt | None:
        """No call lists single files, but where show tells a download URL the object can be looked at."""
        job = await self.show(entry)
        url = download_url(job.download_urls, sent.kind) if job is not None else None
        facts = await self._with.probe(url) if url is not None else None
        if facts is None or facts.length != sent.segment.length:
            return None
        return await self.compared(entry, sent, facts.etag)

    async def is_joined(self, entry: HeldEntry, kind: AssetKind) -> bool | None:
        """Whether the parts of a video have become an object; None when the answers leave it open.

        Raises UrlExpiredError when the job is gone: only a new one can take the files.
        """
        job = await self.show(entry)
        if job is None:
            raise UrlExpiredError(f"the service no longer has job {entry.job_id}", code="JobGone")
        if group_of(job.state) is JobGroup.REVIEW_FAILED:
            return await self._is_joined_anew(entry, kind)
        if job.state != WAIT_FILE_UPLOAD or download_url(job.download_urls, kind) is not None:
            return True
        return False if await self.held_parts(entry, kind) else None

    async def _is_joined_anew(self, entry: HeldEntry, kind: AssetKind) -> bool | None:
        """Of an amended job state and object are those of the files before; parts that are held are not joined.

        That the training video's are held is asked before a confirm, so when they are not they have been joined.
        """
        if await self.held_parts(entry, kind):
            return False
        return True if kind is AssetKind.TRAINING_VIDEO else None


def download_url(urls: DownloadUrls, kind: AssetKind) -> PresignedUrl | None:
    """The URL under which the service shows a file, None when it shows none."""
    names = _DOWNLOAD_NAMES.get(kind, (kind.value,))
    return next(filter(None, map(urls.get, names)), None)
