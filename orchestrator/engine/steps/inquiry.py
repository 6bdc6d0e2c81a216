"""Inquiries about the contents of a job, and comparison with what was sent, so that nothing is guessed.

Tested by tests/faults/test_evidence.py, tests/engine/test_ways_on.py and tests/engine/test_run.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator.domain.assets import MAX_AUTO_PARTS, Asset, AssetKind
from orchestrator.domain.errors import DecisionNeededError, EntryError, RequestRejectedError, UrlExpiredError
from orchestrator.domain.evidence import (
    BY_EVIDENCE,
    DIGEST_OFF,
    VERIFIED,
    Confirmation,
    Evidence,
    Listing,
    Receipt,
    is_md5,
    not_shown,
    unverified,
)
from orchestrator.domain.presigned import PresignedUrl
from orchestrator.domain.states import WAIT_FILE_UPLOAD, JobGroup, group_of
from orchestrator.engine.events import Point
from orchestrator.engine.file_comparison import etag_of_sent
from orchestrator.journal.records import SegmentRecord
from orchestrator.metastudio.wire import Command, DownloadUrls, JobDetail

if TYPE_CHECKING:
    from orchestrator.engine.context import Run
    from orchestrator.engine.entry import ClaimedEntry

_LIST_COMMANDS = {
    AssetKind.TRAINING_VIDEO: Command.GET_MULTIPART_UPLOADED,
    AssetKind.ACTION_VIDEO: Command.GET_ACTION_VIDEO_MULTIPART_UPLOADED,
}
Confirmations = Mapping[AssetKind, Confirmation]


@dataclass(frozen=True, slots=True)
class SegmentFinding:
    """The result of looking for a segment: a *receipt* when it is stored, *is_absent* when not, else unknown."""

    receipt: Receipt | None = None
    is_absent: bool = False


UNKNOWN: Final = SegmentFinding()
_ABSENT: Final = SegmentFinding(is_absent=True)


@dataclass(frozen=True, slots=True)
class PartList:
    """The service's list of a video's parts: ETags by part number; *held* is None when it refuses to list them."""

    held: Mapping[int, str] | None

    def missing(self, segments: list[SegmentRecord]) -> list[SegmentRecord]:
        """Return the *segments* that are not listed as they were sent; none if the list was refused."""
        return [segment for segment in segments if not self.holds(segment)] if self.held is not None else []

    def holds(self, segment: SegmentRecord) -> bool:
        """True when the part is listed, with the ETag of what was sent as far as that can be compared."""
        number, receipt, held = segment.segment.part_number, segment.receipt, self.held or {}
        if number not in held:
            return _is_beyond_cap(number, held)
        etag = held[number]
        if receipt is None or not is_md5(etag) or etag == receipt.etag:
            return True
        sent = receipt.md5 or receipt.etag or ""
        return not is_md5(sent) or etag == sent

    def listing(self, segments: list[SegmentRecord]) -> Listing:
        """Classify the list for *segments* as a whole."""
        if self.held is None:
            return Listing.REFUSED
        if not self.held:
            return Listing.EMPTY
        return Listing.LACKING if self.missing(segments) else Listing.WHOLE


class Inquiry:
    """Questions about one entry's job."""

    def __init__(self, run: Run) -> None:
        self._run = run

    async def show(self, entry: ClaimedEntry) -> JobDetail | None:
        """Return the job from the service; None when it has no job with that id."""
        with entry.step(Point.SHOW):
            return await self._run.client.find_job(entry.job_id, app_user_id=entry.avatar.app_user_id)

    async def part_list(self, entry: ClaimedEntry, kind: AssetKind) -> PartList:
        """Return the service's list of a video's parts.

        The command for the action video is ambiguous (metastudio-protocol section 1.6), so an empty answer to it
        proves no more than a refusal.
        """
        command = _LIST_COMMANDS[kind]
        try:
            with entry.step(Point(command.value.lower())):
                result = await self._run.client.command(
                    entry.job_id, command, app_user_id=entry.avatar.app_user_id
                )
        except RequestRejectedError:
            return PartList(None)
        return PartList({part.part_number: part.etag.lower() for part in result.parts})

    async def find(self, entry: ClaimedEntry, sent: SegmentRecord) -> SegmentFinding:
        """Look for a segment whose PUT was started and that may be stored although no answer confirmed it."""
        if sent.kind.is_multipart:
            parts = await self.part_list(entry, sent.kind)
            return await self.find_listed(entry, sent, parts, is_started=True)
        job = await self.show(entry)
        if job is None:
            return _ABSENT
        if job.download_urls.of(sent.kind) is None:
            # A service that shows the job's other files would show this one too.
            others = (asset.kind for asset in entry.record.assets if asset.kind is not sent.kind)
            return _ABSENT if any(job.download_urls.of(kind) is not None for kind in others) else UNKNOWN
        return await self.find_shown(entry, sent, job, is_started=True)

    async def find_listed(
        self, entry: ClaimedEntry, sent: SegmentRecord, parts: PartList, *, is_started: bool
    ) -> SegmentFinding:
        """Look for a part in *parts*; *is_started* is True when a PUT of it may have been sent."""
        number, held = sent.segment.part_number, parts.held
        if held is None or (not held and sent.kind is not AssetKind.TRAINING_VIDEO):
            return UNKNOWN
        if number not in held:
            return UNKNOWN if _is_beyond_cap(number, held) else _ABSENT
        is_ours = is_started and entry.record.job_updated_at is None
        return await self._compared(entry, sent, held[number] or None, Evidence.LISTED, is_ours=is_ours)

    async def find_shown(
        self, entry: ClaimedEntry, sent: SegmentRecord, job: JobDetail, *, is_started: bool
    ) -> SegmentFinding:
        """Probe the object of a single file through its URL in *job*.

        *is_started* is True when a PUT of it may have been sent.
        """
        url = job.download_urls.of(sent.kind)
        facts = await self._run.probe(url) if url is not None else None
        if facts is None:
            return UNKNOWN
        if facts.length is not None and facts.length != sent.segment.length:
            return _ABSENT
        is_ours = is_started and facts.length is not None and entry.record.job_updated_at is None
        return await self._compared(entry, sent, facts.etag, Evidence.SEEN, is_ours=is_ours)

    async def _compared(
        self, entry: ClaimedEntry, sent: SegmentRecord, etag: str | None, evidence: Evidence, *, is_ours: bool
    ) -> SegmentFinding:
        """Judge the ETag of what is stored in the segment's place.

        An ETag that is no MD5 cannot be compared. The segment then counts as stored if only our PUT can have put
        something there (*is_ours*): after an update of the job it may be the previous file.
        """
        md5 = await self._run.sender.digest(entry.asset(sent.kind), sent.segment)
        if md5 == etag:
            return SegmentFinding(Receipt(etag=etag, md5=md5, is_verified=True, evidence=evidence))
        if is_md5(etag or ""):
            return _ABSENT
        if is_ours:
            return SegmentFinding(Receipt(etag=etag, md5=md5, is_verified=False, evidence=evidence))
        return UNKNOWN

    async def is_shown_joined(self, entry: ClaimedEntry, kind: AssetKind) -> bool:
        """True when the show answer proves that a video's parts are joined.

        State and object of an amended job are those of the previous files, so it is False for a job whose review
        failed. Raises UrlExpiredError when the job no longer exists: only a new job can take the files.
        """
        job = await self.show(entry)
        if job is None:
            raise UrlExpiredError(f"the service no longer has job {entry.job_id}", code="JobGone")
        if group_of(job.state) is JobGroup.REVIEW_FAILED:
            return False
        return job.state != WAIT_FILE_UPLOAD or job.download_urls.of(kind) is not None


def _is_beyond_cap(number: int, held: Mapping[int, str]) -> bool:
    """True when a list that may be capped (metastudio-protocol section 0, fact 9) ends before the part."""
    return len(held) >= MAX_AUTO_PARTS and number > max(held)


class DeliveryCheck:
    """Compares length and ETag of every visible object with the digests of what was sent."""

    def __init__(self, run: Run, inquiry: Inquiry) -> None:
        self._run = run
        self._inquiry = inquiry

    async def verdict(self, entry: ClaimedEntry, confirmations: Confirmations) -> str:
        """Return `verified`, or `unverified (why)`; *confirmations* record how each join became known.

        Raises EntryError when an object differs, or when it cannot be verified although that is required, and
        DecisionNeededError when the object of a video whose join was concluded from evidence differs.
        """
        job = await self._inquiry.show(entry)
        urls = DownloadUrls() if job is None else job.download_urls
        doubts: list[str] = []
        verified = {
            each.kind for each in entry.segments if each.receipt is not None and each.receipt.is_verified
        }
        for asset in entry.record.assets:
            # A file of one PUT is proved by its receipt; an object joined from parts must be probed.
            if asset.kind.is_multipart or asset.kind not in verified:
                confirmation = confirmations.get(asset.kind)
                doubt = await self._doubt(entry, asset, urls.of(asset.kind), confirmation)
                doubts += [doubt] if doubt else []
        if not doubts:
            return VERIFIED
        if self._run.settings.is_object_verified:
            raise EntryError(
                f"delivery cannot be verified: {doubts[0]}",
                code="Unverified",
                hint="run the same command without --verify-object to accept the store's answers as proof",
            )
        return unverified(doubts)

    async def _doubt(
        self, entry: ClaimedEntry, asset: Asset, url: PresignedUrl | None, confirmation: Confirmation | None
    ) -> str | None:
        """Return why the object is not proved to be right, None if it is; raise EntryError if proved wrong."""
        is_by_evidence = confirmation is Confirmation.BY_EVIDENCE
        facts = await self._run.probe(url) if url is not None else None
        if facts is not None and facts.length not in {None, asset.size}:
            how = f"{facts.length} bytes long instead of {asset.size}"
            raise _differs(entry, asset, how, is_by_evidence=is_by_evidence)
        mine = [segment for segment in entry.segments if segment.kind is asset.kind]
        # Segments sent with `--verify off` have no digest.
        receipts = [segment.receipt for segment in mine if segment.receipt is not None]
        if any(receipt.md5 is None and receipt.evidence is not Evidence.USED_UP for receipt in receipts):
            return DIGEST_OFF
        if facts is None or facts.length is None:
            if is_by_evidence:
                return BY_EVIDENCE
            return f"{asset.kind} cannot be looked at" if url is not None else _why_unseen(mine, asset.kind)
        expected = etag_of_sent(mine, asset)
        if expected is None or facts.etag is None:
            return f"no digest of {asset.kind} to compare"
        if facts.etag == expected:
            return None
        if not is_md5(facts.etag.partition("-")[0]):
            return f"the ETag of {asset.kind} is no MD5"
        raise _differs(entry, asset, "another content than was sent", is_by_evidence=is_by_evidence)


def _why_unseen(segments: list[SegmentRecord], kind: AssetKind) -> str:
    """Return why the object is unproved; usually harmless: a film's parts were compared as they were sent."""
    receipts = [segment.receipt for segment in segments]
    is_compared = all(receipt is not None and receipt.is_verified for receipt in receipts)
    return not_shown(kind, is_compared=is_compared and kind.is_multipart)


def _differs(entry: ClaimedEntry, asset: Asset, how: str, *, is_by_evidence: bool) -> EntryError:
    """Return the error for a differing object; when the join was concluded by evidence, a person must decide."""
    kind = DecisionNeededError if is_by_evidence else EntryError
    return kind(
        f"the stored {asset.kind} of job {entry.job_id} is not what was sent: {how}",
        code="Integrity",
        hint=entry.way_to_new_job,
    )
