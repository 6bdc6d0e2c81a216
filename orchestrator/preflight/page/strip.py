"""A strip of small pictures of a film, for people; made again for each page and kept nowhere else."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from orchestrator.preflight.look.measuring import frames_at, places_of

PICTURES = 8
_LONGER_SIDE = 176
_QUALITY = 9  # of 2, the best, to 31


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """One picture, as base64 of a JPEG, and its second."""

    seconds: float
    jpeg: str
    width: int
    height: int


def strip_of(path: str) -> Sequence[Thumbnail]:
    """Eight pictures spread over the film at *path*; fewer, or none, where it cannot be decoded."""
    try:
        with av.open(path) as film:
            stream = film.streams.video[0]
            places = places_of(film)
            chosen = [places[round(n)] for n in np.linspace(0, len(places) - 1, min(PICTURES, len(places)))]
            reformatter = VideoReformatter()
            return [
                _thumbnail(reformatter, frame)
                for frame in frames_at(film, stream, list(dict.fromkeys(chosen)))
            ]
    except (av.error.FFmpegError, ValueError, IndexError, OSError):
        return []


def _thumbnail(reformatter: VideoReformatter, frame: av.VideoFrame) -> Thumbnail:
    scale = _LONGER_SIDE / max(frame.width, frame.height)
    width, height = (max(2, round(size * scale / 2) * 2) for size in (frame.width, frame.height))
    small = reformatter.reformat(frame, width=width, height=height, format="yuvj420p", interpolation="AREA")
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuvj420p"
    encoder.time_base = Fraction(1, 25)
    encoder.qmin = encoder.qmax = _QUALITY
    packets = [*encoder.encode(small), *encoder.encode(None)]
    content = b"".join(bytes(packet) for packet in packets)
    return Thumbnail(frame.time or 0.0, base64.b64encode(content).decode("ascii"), width, height)
