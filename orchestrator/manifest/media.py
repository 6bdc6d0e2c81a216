"""Whether the service's review can take a film: length, picture size, codec (metastudio-protocol section 6)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.manifest.problems import Severity

RESOLUTIONS = ((1920, 1080), (1080, 1920), (3840, 2160), (2160, 3840))
MINUTES = (3, 10)
FLEXUS_MINUTES = (1, 5)


@dataclass(frozen=True, slots=True)
class Film:
    """What is known of a video track; None where the file does not tell."""

    seconds: float | None
    width: int | None
    height: int | None
    codec: str | None


class MediaLibraryError(Exception):
    """The library that reads films is not installed."""


def read_film(path: str) -> Film | None:
    """The first video track of *path*, None when there is none; raises MediaLibraryError or OSError."""
    from pymediainfo import MediaInfo  # noqa: PLC0415 - slow to import, and not needed for most commands

    if not MediaInfo.can_parse():
        raise MediaLibraryError
    tracks = MediaInfo.parse(path).video_tracks
    if not tracks:
        return None
    track = tracks[0]
    seconds = float(track.duration) / 1000 if track.duration else None
    return Film(seconds, track.width, track.height, track.format)


def complaints(film: Film | None, *, is_flexus: bool) -> Iterator[tuple[str, str, Severity]]:
    """What the review would say of a training video: the rule, a sentence, and whether that is certain."""
    if film is None or film.seconds is None or film.width is None or film.height is None:
        yield "P01", "has no video that can be read; is the file complete?", Severity.ERROR
        return
    yield from _length_complaints(film.seconds, is_flexus=is_flexus)
    if (film.width, film.height) not in RESOLUTIONS:
        allowed = ", ".join(f"{width}x{height}" for width, height in RESOLUTIONS)
        yield "P09", f"is {film.width}x{film.height}; the service takes {allowed}", Severity.ERROR
    if film.codec != "AVC":
        yield (
            "P09",
            f"has the codec {film.codec}; the review is known to fail for others than H.264",
            Severity.WARNING,
        )


def _length_complaints(seconds: float, *, is_flexus: bool) -> Iterator[tuple[str, str, Severity]]:
    least, most = FLEXUS_MINUTES if is_flexus else MINUTES
    whole_seconds = round(seconds)
    if not least * 60 <= whole_seconds <= most * 60:
        minutes = f"{whole_seconds // 60}:{whole_seconds % 60:02}"
        kind = "flexus avatars" if is_flexus else "avatars"
        yield (
            "P08",
            f"is {minutes} minutes long; for {kind} the service takes {least} to {most}",
            Severity.ERROR,
        )
