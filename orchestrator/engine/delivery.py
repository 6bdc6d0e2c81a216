"""Proof of delivery: the objects the service shows, compared with what was sent."""

from __future__ import annotations

from orchestrator.domain.assets import Asset
from orchestrator.domain.delivery import VERIFIED, expected_etag, is_md5
from orchestrator.domain.errors import EntryError
from orchestrator.domain.presigned import PresignedUrl
from orchestrator.engine.collaborators import Probe
from orchestrator.engine.entry import HeldEntry
from orchestrator.engine.inquiry import Inquiry, download_url
from orchestrator.journal.records import SegmentRecord
from orchestrator.metastudio.wire import DownloadUrls


class DeliveryCheck:
    """Compares length and ETag of every object that can be seen with what the receipts say."""

    def __init__(self, inquiry: Inquiry, probe: Probe, *, is_required: bool) -> None:
        """Look through *probe*; *is_required* makes an object that cannot be seen an error."""
        self._inquiry = inquiry
        self._probe = probe
        self._is_required = is_required

    async def verdict(self, entry: HeldEntry) -> str:
        """`verified`, or `unverified (why)`.

        Raises EntryError when an object differs, or when it cannot be seen although that is required.
        """
        job = await self._inquiry.show(entry)
        urls = DownloadUrls() if job is None else job.download_urls
        doubts = [
            doubt
            for asset in entry.record.assets
            if not _is_proved(entry.segments, asset)
            and (doubt := await self._doubt(entry, asset, download_url(urls, asset.kind)))
        ]
        if not doubts:
            return VERIFIED
        if self._is_required:
            raise EntryError(
                f"delivery cannot be verified: {doubts[0]}",
                code="Unverified",
                hint="run without --verify-object to accept the receipts of the parts as proof",
            )
        return f"unverified ({'; '.join(doubts)})"

    async def _doubt(self, entry: HeldEntry, asset: Asset, url: PresignedUrl | None) -> str | None:
        """Why the asset's object is not proved to be right; raises EntryError when it is proved to be wrong."""
        if url is None:
            return f"the service shows no {asset.kind}"
        facts = await self._probe(url)
        if facts is None or facts.length is None:
            return f"{asset.kind} cannot be looked at"
        if facts.length != asset.size:
            raise _differs(asset, f"{facts.length} bytes long instead of {asset.size}")
        expected = _expected_etag(entry.segments, asset)
        if expected is None or facts.etag is None:
            return f"no digest of {asset.kind} to compare"
        if facts.etag == expected:
            return None
        if not is_md5(facts.etag.partition("-")[0]):
            return f"the ETag of {asset.kind} is no MD5"
        raise _differs(asset, "another content than was sent")


def _is_proved(segments: list[SegmentRecord], asset: Asset) -> bool:
    """A file of one PUT is proved by its receipt; what was joined from parts must be looked at."""
    return not asset.kind.is_multipart and any(
        segment.kind is asset.kind and segment.receipt is not None and segment.receipt.is_verified
        for segment in segments
    )


def _differs(asset: Asset, how: str) -> EntryError:
    return EntryError(
        f"the stored {asset.kind} is not what was sent: {how}",
        code="Integrity",
        hint="cancel the entry, which deletes its job, then retry it",
    )


def _expected_etag(segments: list[SegmentRecord], asset: Asset) -> str | None:
    mine = sorted(
        (segment for segment in segments if segment.kind is asset.kind),
        key=lambda segment: segment.segment.part_number,
    )
    receipts = [segment.receipt for segment in mine if segment.receipt is not None]
    known = [md5 for receipt in receipts if is_md5(md5 := receipt.md5 or receipt.etag or "")]
    if not mine or len(known) != len(mine):
        return None
    return expected_etag(known, is_multipart=asset.kind.is_multipart)
