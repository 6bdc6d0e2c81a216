"""Every picture of a film, for what only that shows: frozen pictures and jump cuts (rule P17)."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

#: Pictures are compared at this size, in grey.
_WIDE = 160
#: Pictures none of whose points differs by as much as this are the same: re-encoding alone makes a difference.
_SAME = 2.0
_FREEZE_SECONDS = 0.8
#: A jump stands out from all other steps: this many times their 99th percentile, and at least this much.
_JUMP_TIMES, _JUMP_LEAST = 2.2, 0.5


def moves_of(path: str) -> tuple[list[tuple[float, float]], list[float]]:
    """Frozen pictures as (second, length), and the seconds of jumps; decodes all of the film at *path*."""
    times, steps, largest = _steps(path)
    return freezes_in(times, largest), jumps_in(times, steps)


def _steps(path: str) -> tuple[list[float], NDArray[Any], NDArray[Any]]:
    """When each picture but the first is shown, and how it differs from the one before: on average, and at most."""
    times: list[float] = []
    steps: list[float] = []
    largest: list[float] = []
    before: NDArray[Any] | None = None
    reformatter = VideoReformatter()
    with av.open(path) as film:
        stream = film.streams.video[0]
        stream.codec_context.thread_count = 1
        for frame in film.decode(stream):
            high = max(2, round(frame.height * _WIDE / frame.width / 2) * 2)
            shrunk = reformatter.reformat(
                frame, width=_WIDE, height=high, format="gray", interpolation="AREA"
            )
            picture = np.asarray(shrunk.to_ndarray(), dtype=np.float32)
            if before is not None:
                times.append(frame.time or 0.0)
                difference = np.abs(picture - before)
                steps.append(float(difference.mean()))
                largest.append(float(difference.max()))
            before = picture
    return times, np.asarray(steps), np.asarray(largest)


def freezes_in(times: list[float], steps: NDArray[Any]) -> list[tuple[float, float]]:
    """Runs of pictures that are the same, as (second, length)."""
    found: list[tuple[float, float]] = []
    start: float | None = None
    for time, step in zip(times, steps, strict=True):
        if step >= _SAME:
            start = None
        elif start is None:
            start = time
        elif time - start >= _FREEZE_SECONDS:
            found = [*(freeze for freeze in found if freeze[0] != start), (start, time - start)]
    return found


def jumps_in(times: list[float], steps: NDArray[Any]) -> list[float]:
    """Single steps far above all others; where many are, the film simply moves."""
    if len(steps) < 3:
        return []
    usual = float(np.percentile(steps, 99))
    return [
        time for time, step in zip(times, steps, strict=True) if step > max(_JUMP_TIMES * usual, _JUMP_LEAST)
    ]
