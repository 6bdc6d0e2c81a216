"""Comparing files with what was sent of them, where path, size and time cannot say that they are the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence

import anyio
import anyio.to_thread

from orchestrator.domain.assets import Asset, AssetKind
from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.sameness import Sameness, sameness_of_content, sameness_of_file
from orchestrator.domain.segments import Segment
from orchestrator.journal.journal import Journal
from orchestrator.journal.records import EntryRecord
from orchestrator.transfer.comparing import md5s_of

#: An entry the journal knows, and its files as they are now.
Found = tuple[EntryRecord, Sequence[Asset]]


class ContentComparison:
    """Hashes each file in question once, in threads, and remembers what came of it."""

    def __init__(self, journal: Journal, on_comparison: Callable[[int], None]) -> None:
        self._journal = journal
        self._on_comparison = on_comparison
        self._limiter = anyio.CapacityLimiter(os.cpu_count() or 1)
        self._verdicts: dict[tuple[str, AssetKind], tuple[Asset, Sameness]] = {}

    async def compare(self, found: Iterable[Found]) -> None:
        """Answer what `content_of` will be asked about *found*; costs nothing where nothing is in question."""
        questions = {}
        for record, assets in found:
            open_assets = [
                asset
                for asset in _in_question(record, assets)
                if self.content_of(record.entry_id, asset) is Sameness.OPEN
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
        """What comparing *asset* gave; OPEN where that was not needed."""
        compared, verdict = self._verdicts.get((entry_id, asset.kind), (None, Sameness.OPEN))
        return verdict if compared == asset else Sameness.OPEN

    async def _compare(self, record: EntryRecord, assets: Sequence[Asset]) -> None:
        segments = await self._journal.segments(record)
        for asset in assets:
            stored = [one for one in segments if one.kind is asset.kind and one.receipt is not None]
            sent = [one.receipt.md5 for one in stored if one.receipt is not None]
            if None in sent:
                # Nothing that is read could prove it.
                verdict = Sameness.UNKNOWN
            else:
                verdict = await self._hash(asset, [one.segment for one in stored], sent)
            self._verdicts[record.entry_id, asset.kind] = (asset, verdict)

    async def _hash(self, asset: Asset, segments: Sequence[Segment], sent: Sequence[str | None]) -> Sameness:
        try:
            found = await anyio.to_thread.run_sync(
                md5s_of, asset, segments, limiter=self._limiter, abandon_on_cancel=True
            )
        except OrchestratorError:
            # It changes while it is read, or cannot be read: nothing is proved.
            return Sameness.UNKNOWN
        return sameness_of_content(sent, found)


def _in_question(record: EntryRecord, assets: Sequence[Asset]) -> list[Asset]:
    """Those of *assets* of which path, size and time do not say whether they are the files that were sent."""
    known = record.assets
    if known == assets:
        return []
    before = {asset.kind: asset for asset in known}
    return [asset for asset in assets if sameness_of_file(before.get(asset.kind), asset) is Sameness.OPEN]
