"""Taking over jobs that hold their films already: they stay as they are, and are looked at as far as they show it."""

from __future__ import annotations

import re

from orchestrator.domain.assets import Asset
from orchestrator.domain.delivery import VERIFIED, expected_etag, is_md5
from orchestrator.domain.entries import normal
from orchestrator.domain.errors import DecisionNeededError
from orchestrator.domain.segments import plan_segments
from orchestrator.domain.service_states import WAIT_FILE_UPLOAD
from orchestrator.domain.states import EntryState
from orchestrator.engine.context import Collaborators
from orchestrator.engine.entry import HeldEntry
from orchestrator.engine.job_contents import Standing
from orchestrator.engine.steps.inquiry import download_url

ADOPTED = "unverified (adopted)"
#: The number of parts, 1 to 10000, that ends the ETag of a joined object (metastudio-protocol section 5.2).
_PART_COUNT = re.compile(r"([1-9][0-9]{0,3}|10000)?")


class Takeover:
    """Makes a job that another journal filled an entry's own."""

    def __init__(self, collaborators: Collaborators) -> None:
        """Compare through the run's sender and probe."""
        self._with = collaborators

    async def keep(self, entry: HeldEntry, standing: Standing) -> None:
        """Write the job down as it stands.

        Raises DecisionNeededError when it shows a file that is not the entry's.
        """
        job = standing.job
        delivered = await self._verdict(entry, standing)
        if normal(job.name) != normal(entry.avatar.name):
            entry.warn(f"job {job.job_id} is called {job.name!r} on the service and keeps that name")
        target = EntryState.CONFIRMED if job.state == WAIT_FILE_UPLOAD else EntryState.SUBMITTED
        await entry.adopt_job(job.job_id, target, f"job taken over as it is ({job.state})", delivered)
        if delivered != VERIFIED:
            entry.warn(f"job {job.job_id} was taken over as it is; not all of its files could be compared")

    async def _verdict(self, entry: HeldEntry, standing: Standing) -> str:
        compared = [await self._is_same(entry, asset, standing) for asset in entry.record.assets]
        for asset, is_same in zip(entry.record.assets, compared, strict=True):
            if is_same is False:
                raise DecisionNeededError(
                    f"job {standing.job.job_id} holds another {asset.kind} than {asset.path}",
                    code="Integrity",
                    hint="check the file; --on-existing create makes a new job beside it",
                )
        return VERIFIED if all(compared) else ADOPTED

    async def _is_same(self, entry: HeldEntry, asset: Asset, standing: Standing) -> bool | None:
        """Whether the stored object is the local file; None when that cannot be seen."""
        url = download_url(standing.job.download_urls, asset.kind)
        facts = None if url is None else await self._with.probe(url)
        if facts is None or facts.length is None:
            return None
        if facts.length != asset.size:
            return False
        md5, _, count = (facts.etag or "").partition("-")
        if not is_md5(md5) or not _PART_COUNT.fullmatch(count):
            return None
        segments = plan_segments(asset.size, int(count or 1))
        digests = [await self._with.sender.digest(asset, segment) for segment in segments]
        return facts.etag == expected_etag(digests, is_multipart=bool(count))
