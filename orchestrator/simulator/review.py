"""The review of a submitted job: its result, and its check of the training video."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pymediainfo import MediaInfo

from orchestrator.simulator.bucket import Bucket
from orchestrator.simulator.faults import Faults
from orchestrator.simulator.jobs import (
    AUTO_VERIFYING,
    MANUAL_VERIFYING,
    RESOLUTION_REFUSED,
    Job,
    ReviewFailure,
)
from orchestrator.simulator.links import (
    AUDIO,
    GRANT_FILE,
    ID_CARD_IMAGE1,
    ID_CARD_IMAGE2,
    TRAINING_VIDEO,
    object_key,
)
from orchestrator.simulator.options import SimulatorOptions

ALLOWED_RESOLUTIONS = frozenset({(1920, 1080), (1080, 1920), (3840, 2160), (2160, 3840)})


async def resolution_of(path: Path) -> tuple[int, int] | None:
    """Return width and height of the first video track, None if the file has none."""
    return await asyncio.to_thread(_resolution, path)


def _resolution(path: Path) -> tuple[int, int] | None:
    # An open file is passed: the library cannot open names that the locale cannot encode.
    with path.open("rb", buffering=0) as file:
        tracks = MediaInfo.parse(file).video_tracks
    return next(
        ((int(track.width), int(track.height)) for track in tracks if track.width and track.height), None
    )


def resolution_name(resolution: tuple[int, int] | None) -> str | None:
    """Return the service's name for an allowed resolution, None for any other."""
    if resolution is None or resolution not in ALLOWED_RESOLUTIONS:
        return None
    return "4K" if max(resolution) == 3840 else "1080P"


_RESOLUTION_REASON = (
    "The resolution of the training video is not allowed. Only 1080p (1920x1080, 1080x1920)"
    " or 4K (3840x2160, 2160x3840) is supported."
)


class Reviewer:
    """A reviewer that decides at submission: by script, by chance and by the files."""

    def __init__(self, options: SimulatorOptions, bucket: Bucket, faults: Faults) -> None:
        self._options = options
        self._bucket = bucket
        self._faults = faults

    async def judge(self, job: Job) -> ReviewFailure | None:
        """Return the failure that the review will report, None for a pass; a scripted failure occurs once per job."""
        scripted = self._scripted(job)
        if scripted is not None:
            job.scripted_failures += 1
            return scripted
        return await self._footage(job) or await self._documents(job)

    def _scripted(self, job: Job) -> ReviewFailure | None:
        if job.scripted_failures:
            return None
        fault = self._faults.draw("review")
        if fault == "manual-review-fail":
            return ReviewFailure(MANUAL_VERIFYING, RESOLUTION_REFUSED, _RESOLUTION_REASON)
        if fault == "review-fail" or self._options.review_failure_marker in job.fields["name"]:
            return ReviewFailure(AUTO_VERIFYING, RESOLUTION_REFUSED, _RESOLUTION_REASON)
        return None

    async def _footage(self, job: Job) -> ReviewFailure | None:
        async with self._bucket.file(object_key(job.job_id, TRAINING_VIDEO)) as path:
            resolution = await resolution_of(path)
        job.model_resolution = resolution_name(resolution)
        # Files that are not films pass: tests of the transfer use random bytes as footage.
        if not self._options.is_footage_reviewed or resolution is None or resolution in ALLOWED_RESOLUTIONS:
            return None
        return ReviewFailure(AUTO_VERIFYING, RESOLUTION_REFUSED, _RESOLUTION_REASON)

    async def _documents(self, job: Job) -> ReviewFailure | None:
        needed = [GRANT_FILE, ID_CARD_IMAGE1, ID_CARD_IMAGE2] if self._options.needs_id_documents else []
        needed += [AUDIO] if job.fields["audio_source_type"] == "AUDIO" else []
        keys = {asset.kind: object_key(job.job_id, asset) for asset in needed}
        held = await self._bucket.held(keys.values())
        missing = [kind for kind, key in keys.items() if key not in held]
        if not missing:
            return None
        return ReviewFailure(AUTO_VERIFYING, "", f"Not uploaded: {', '.join(missing)}.")
