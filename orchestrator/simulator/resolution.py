"""What the automatic review sees in a training video."""

import asyncio
from pathlib import Path

from pymediainfo import MediaInfo, Track

ALLOWED_RESOLUTIONS = frozenset({(1920, 1080), (1080, 1920), (3840, 2160), (2160, 3840)})


async def resolution_of(path: Path) -> tuple[int, int] | None:
    """Return width and height of the first video track, None when the file is no video."""
    return await asyncio.to_thread(_resolution, path)


def _resolution(path: Path) -> tuple[int, int] | None:
    # By its bytes: the library opens no name that the locale cannot write.
    with path.open("rb", buffering=0) as file:
        tracks = MediaInfo.parse(file).video_tracks
    return next((_size(track) for track in tracks if track.width and track.height), None)


def _size(track: Track) -> tuple[int, int]:
    return int(track.width), int(track.height)


def resolution_name(resolution: tuple[int, int] | None) -> str | None:
    """Return the service's word for an allowed resolution."""
    if resolution is None or resolution not in ALLOWED_RESOLUTIONS:
        return None
    return "4K" if max(resolution) == 3840 else "1080P"
