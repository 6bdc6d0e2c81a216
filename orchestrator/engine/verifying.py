"""Whether local files, and the objects stored of them, still are what was sent: reads only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import anyio.to_thread

from orchestrator.domain.assets import Asset, AssetKind, Fingerprint
from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.receipts import ObjectFacts, is_md5
from orchestrator.engine.steps.delivery import etag_of_sent
from orchestrator.journal.records import EntryRecord, SegmentRecord
from orchestrator.transfer.comparing import md5s_of


class FileState(StrEnum):
    """What a file is compared with what was sent of it."""

    SAME = "same"
    CHANGED = "changed"
    UNKNOWN = "unknown"


class Finding(NamedTuple):
    """One way to look at a file, and why it is not the same."""

    state: FileState
    reason: str | None = None


class FileVerdict(NamedTuple):
    """A file of an entry; `stored` is what its object is, None where the service does not show it."""

    entry_id: str
    kind: AssetKind
    path: str
    local: Finding
    stored: Finding | None

    @property
    def state(self) -> FileState:
        """A change on either side is one; a file that is missing here leaves it open."""
        if self.stored is not None and self.stored.state is FileState.CHANGED:
            return FileState.CHANGED
        return self.local.state

    @property
    def reason(self) -> str | None:
        """Why it is not the same, None where it is."""
        if self.stored is not None and self.stored.state is FileState.CHANGED:
            return self.stored.reason
        return self.local.reason


_SAME = Finding(FileState.SAME)


async def verify_entry(
    record: EntryRecord, segments: Iterable[SegmentRecord], objects: Mapping[AssetKind, ObjectFacts]
) -> list[FileVerdict]:
    """Hash every file of the entry and compare it with its receipts, and those with the *objects* that are shown."""
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
    """What the object is compared with the receipts; None where that is not shown or proves nothing."""
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
