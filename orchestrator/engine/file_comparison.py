"""Comparison of files with what was sent: when a run is in doubt, and on request (`verify`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import anyio
import anyio.to_thread

from orchestrator.domain.assets import Asset, AssetKind, Fingerprint
from orchestrator.domain.entries import Sameness, sameness_of_content, sameness_of_file
from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.evidence import ObjectFacts, expected_etag, is_md5
from orchestrator.journal.journal import Journal
from orchestrator.journal.records import EntryRecord, SegmentRecord
from orchestrator.transfer.hashing import md5s_of

#: An entry in the journal, and its current files.
Found = tuple[EntryRecord, Sequence[Asset]]


class ContentComparison:
    """Hashes each file in question once, in threads, and remembers the results."""

    def __init__(self, journal: Journal, on_comparison: Callable[[int], None]) -> None:
        self._journal = journal
        self._on_comparison = on_comparison
        self._limiter = anyio.CapacityLimiter(os.cpu_count() or 1)
        self._verdicts: dict[tuple[str, AssetKind], tuple[Asset, Sameness]] = {}

    async def compare(self, found: Iterable[Found]) -> None:
        """Compare the files of *found* for later calls of `content_of`; costs nothing when no file is in question."""
        questions = {}
        for record, assets in found:
            if record.assets == assets:
                continue
            # The files whose path, size and time do not show whether they are the ones that were sent.
            before = {asset.kind: asset for asset in record.assets}
            open_assets = [
                asset
                for asset in assets
                if sameness_of_file(before.get(asset.kind), asset) is Sameness.OPEN
                and self.content_of(record.entry_id, asset) is Sameness.OPEN
            ]
            if open_assets:
                questions[record.entry_id] = (record, open_assets)
        count = sum(len(assets) for _, assets in questions.values())
        if not count:
            return
        self._on_comparison(count)
        async with anyio.create_task_group() as group:
            for record, assets in questions.values():
                group.start_soon(self._compare, record, assets)

    def content_of(self, entry_id: str, asset: Asset) -> Sameness:
        """Return the result of comparing *asset*; OPEN when no comparison was needed."""
        compared, verdict = self._verdicts.get((entry_id, asset.kind), (None, Sameness.OPEN))
        return verdict if compared == asset else Sameness.OPEN

    async def _compare(self, record: EntryRecord, assets: Sequence[Asset]) -> None:
        segments = await self._journal.segments(record)
        for asset in assets:
            stored = [one for one in segments if one.kind is asset.kind and one.receipt is not None]
            sent = [one.receipt.md5 for one in stored if one.receipt is not None]
            # Without a digest of what was sent, or with a file that changes or cannot be read, nothing is proved.
            verdict = Sameness.UNKNOWN
            if None not in sent:
                with suppress(OrchestratorError):
                    found = await anyio.to_thread.run_sync(
                        md5s_of,
                        asset,
                        [one.segment for one in stored],
                        limiter=self._limiter,
                        abandon_on_cancel=True,
                    )
                    verdict = sameness_of_content(sent, found)
            self._verdicts[record.entry_id, asset.kind] = (asset, verdict)


class FileState(StrEnum):
    """The result of comparing a file with what was sent."""

    SAME = "same"
    CHANGED = "changed"
    UNKNOWN = "unknown"


class Finding(NamedTuple):
    """The result of one comparison, and the reason when it is not SAME."""

    state: FileState
    reason: str | None = None


class FileVerdict(NamedTuple):
    """The verdict on a file; `stored` is that on its object, None when the service does not show enough of it."""

    entry_id: str
    kind: AssetKind
    path: str
    local: Finding
    stored: Finding | None

    @property
    def state(self) -> FileState:
        """The combined state: a change on either side counts; a missing local file leaves the state unknown."""
        if self.stored is not None and self.stored.state is FileState.CHANGED:
            return FileState.CHANGED
        return self.local.state

    @property
    def reason(self) -> str | None:
        """The reason why the file is not the same; None when it is."""
        if self.stored is not None and self.stored.state is FileState.CHANGED:
            return self.stored.reason
        return self.local.reason


_SAME = Finding(FileState.SAME)


async def verify_entry(
    record: EntryRecord, segments: Iterable[SegmentRecord], objects: Mapping[AssetKind, ObjectFacts]
) -> list[FileVerdict]:
    """Hash every file of the entry; compare it with its receipts, and these with the *objects* that are shown."""
    known = list(segments)
    verdicts = []
    for asset in record.assets:
        sent = sorted(
            (each for each in known if each.kind is asset.kind), key=lambda each: each.segment.part_number
        )
        local = await anyio.to_thread.run_sync(_local, asset, sent, abandon_on_cancel=True)
        stored = _stored(asset, sent, objects.get(asset.kind))
        verdicts.append(FileVerdict(record.entry_id, asset.kind, asset.path, local, stored))
    return verdicts


def _local(asset: Asset, sent: Sequence[SegmentRecord]) -> Finding:
    if not sent or any(each.receipt is None for each in sent):
        return Finding(FileState.UNKNOWN, "not all of it was sent")
    md5s = [each.receipt.md5 for each in sent if each.receipt is not None]
    if None in md5s:
        return Finding(FileState.UNKNOWN, "sent without a digest")
    try:
        fingerprint = Fingerprint.of(Path(asset.path).stat())
    except OSError as error:
        return Finding(FileState.UNKNOWN, f"cannot be read: {error.strerror}")
    length = sum(each.segment.length for each in sent)
    if fingerprint.size != length:
        return Finding(FileState.CHANGED, f"{fingerprint.size} bytes, {length} were sent")
    try:
        found = md5s_of(Asset(asset.kind, asset.path, fingerprint), [each.segment for each in sent])
    except OrchestratorError as error:
        return Finding(FileState.UNKNOWN, error.message)
    return _SAME if found == md5s else Finding(FileState.CHANGED, "its content is not what was sent")


def _stored(asset: Asset, sent: Sequence[SegmentRecord], facts: ObjectFacts | None) -> Finding | None:
    """Compare the object with the receipts; return None when it is not shown or proves nothing."""
    expected = etag_of_sent(sent, asset)
    if facts is None or expected is None:
        return None
    length = sum(each.segment.length for each in sent)
    if facts.length not in {None, length}:
        return Finding(FileState.CHANGED, f"the stored object has {facts.length} bytes, {length} were sent")
    if facts.etag is None or not is_md5(facts.etag.partition("-")[0]):
        return None
    if facts.etag == expected:
        return _SAME
    return Finding(FileState.CHANGED, "the stored object is not what was sent")


def etag_of_sent(mine: Sequence[SegmentRecord], asset: Asset) -> str | None:
    """Return the ETag expected for what was sent, from our own digests only; None when one is missing."""
    in_order = sorted(mine, key=lambda segment: segment.segment.part_number)
    md5s = [segment.receipt.md5 for segment in in_order if segment.receipt and segment.receipt.md5]
    if not mine or len(md5s) != len(mine):
        return None
    return expected_etag(md5s, is_multipart=asset.kind.is_multipart)
