"""Proof of delivery: the objects the service shows, compared with what was sent.

Tested by tests/engine/test_run.py and tests/faults/test_evidence.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from orchestrator.domain.assets import Asset, AssetKind
from orchestrator.domain.errors import DecisionNeededError, EntryError
from orchestrator.domain.evidence import (
    BY_EVIDENCE,
    DIGEST_OFF,
    VERIFIED,
    Confirmation,
    Evidence,
    is_md5,
    not_shown,
    unverified,
)
from orchestrator.domain.presigned import PresignedUrl
from orchestrator.engine.file_comparison import etag_of_sent
from orchestrator.journal.records import SegmentRecord
from orchestrator.metastudio.wire import DownloadUrls

if TYPE_CHECKING:
    from orchestrator.engine.context import Run
    from orchestrator.engine.entry import HeldEntry
    from orchestrator.engine.steps.inquiry import Inquiry

Confirmations = Mapping[AssetKind, Confirmation]


class DeliveryCheck:
    """Compares length and ETag of every object that can be seen with the digests of what was sent."""

    def __init__(self, run: Run, inquiry: Inquiry) -> None:
        self._run = run
        self._inquiry = inquiry

    async def verdict(self, entry: HeldEntry, confirmations: Confirmations) -> str:
        """Return `verified`, or `unverified (why)`; *confirmations* say how each video came to be joined.

        Raises EntryError when an object differs, or when it cannot be seen although that is required;
        DecisionNeededError when the object of a video that must be joined is another one.
        """
        job = await self._inquiry.show(entry)
        urls = DownloadUrls() if job is None else job.download_urls
        doubts: list[str] = []
        for asset in entry.record.assets:
            # A file of one PUT is proved by its receipt; what was joined from parts must be looked at.
            is_proved = not asset.kind.is_multipart and any(
                segment.kind is asset.kind and segment.receipt is not None and segment.receipt.is_verified
                for segment in entry.segments
            )
            if not is_proved:
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
        self, entry: HeldEntry, asset: Asset, url: PresignedUrl | None, confirmation: Confirmation | None
    ) -> str | None:
        """Why the asset's object is not proved to be right; raises EntryError when it is proved to be wrong."""
        is_by_evidence = confirmation is Confirmation.BY_EVIDENCE
        facts = await self._run.probe(url) if url is not None else None
        if facts is not None and facts.length not in {None, asset.size}:
            how = f"{facts.length} bytes long instead of {asset.size}"
            raise _differs(entry, asset, how, is_by_evidence=is_by_evidence)
        mine = [segment for segment in entry.segments if segment.kind is asset.kind]
        # What was sent with `--verify off` has no digest.
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
    """The usual case is no alarm: the parts of a film were compared one by one as they were sent."""
    receipts = [segment.receipt for segment in segments]
    is_compared = all(receipt is not None and receipt.is_verified for receipt in receipts)
    return not_shown(kind, is_compared=is_compared and kind.is_multipart)


def _differs(entry: HeldEntry, asset: Asset, how: str, *, is_by_evidence: bool) -> EntryError:
    """The stored object is another one; a person must choose where that contradicts a join that was concluded."""
    kind = DecisionNeededError if is_by_evidence else EntryError
    return kind(
        f"the stored {asset.kind} of job {entry.job_id} is not what was sent: {how}",
        code="Integrity",
        hint=entry.way_to_new_job,
    )
