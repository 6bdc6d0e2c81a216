"""What is measured of pictures: how green and bright one is, and how it differs from another.

A deep look compares every picture of a film with the one before: only that shows a freeze or a jump cut (rule P17).
"""

from __future__ import annotations

from typing import Any, TypeAlias

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

#: Height, width, three colours of 8 bits.
Picture: TypeAlias = NDArray[np.uint8]

#: The border that a presenter leaves free: the outer share of the width on both sides, and of the height on top.
_SIDE, _TOP = 0.14, 0.10
#: Below this height arms and clothes reach the border.
_LOWEST = 0.7
#: Pixels of a block: sensor noise is averaged away.
_BLOCK = 8
_DARK, _BRIGHT = 24, 235
#: A step of a block's brightness that is no noise.
_CHANGED = 12
#: Pictures are compared at this size, in grey.
_WIDE = 160
#: Pictures none of whose points differs by as much as this are the same: re-encoding alone makes a difference.
_SAME = 2.0
_FREEZE_SECONDS = 0.8
#: A jump stands out from all other steps: this many times their 99th percentile, and at least this much.
_JUMP_TIMES, _JUMP_LEAST = 2.2, 0.5


def measure_picture(picture: Picture) -> dict[str, Any]:
    """Shares from 0 to 1, brightness from 0 to 255, and L* from 0 to 100."""
    luma: NDArray[Any] = picture @ np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
    blocks = border_blocks(picture)
    red, green, blue = (blocks[..., place].astype(float) for place in range(3))
    # A hue, however dark it is lit; black, white and grey have none.
    is_green = (green > 32) & (green > 1.25 * red) & (green > 1.25 * blue)
    lightness = lightness_of(blocks[is_green]) if is_green.any() else np.zeros(1)
    low, high = np.percentile(lightness, (3, 97))
    return {
        "green": float(is_green.mean()),
        "green_spread": float(high - low),
        "mean": float(luma.mean()),
        "dark": float((luma < _DARK).mean()),
        "bright": float((luma > _BRIGHT).mean()),
    }


def border_blocks(picture: Picture) -> NDArray[Any]:
    """The mean colours of the blocks of the border, one row each."""
    height, width = (size // _BLOCK * _BLOCK for size in picture.shape[:2])
    blocks = (
        picture[:height, :width]
        .reshape(height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK, 3)
        .mean(axis=(1, 3))
    )
    rows, columns = blocks.shape[:2]
    mask = np.zeros((rows, columns), bool)
    side = max(1, round(columns * _SIDE))
    mask[: round(rows * _LOWEST), :side] = True
    mask[: round(rows * _LOWEST), -side:] = True
    mask[: max(1, round(rows * _TOP))] = True
    border: NDArray[Any] = blocks[mask]
    return border


def changed_share(before: NDArray[Any], after: NDArray[Any]) -> tuple[float, float]:
    """The share of border blocks that changed, and by how much the middle one of all did."""
    difference = np.abs(before.astype(float) - after.astype(float)).mean(axis=1)
    return float((difference > _CHANGED).mean()), float(np.median(difference))


def lightness_of(colours: NDArray[Any]) -> NDArray[Any]:
    """L* of sRGB colours (CIE 1976)."""
    linear = np.where(
        colours / 255 <= 0.04045, colours / 255 / 12.92, ((colours / 255 + 0.055) / 1.055) ** 2.4
    )
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    lightness: NDArray[Any] = np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)
    return lightness


def moves_of(path: str) -> tuple[list[tuple[float, float]], list[float]]:
    """Frozen pictures as (second, length), and the seconds of jumps; decodes all of the film at *path*."""
    # When each picture but the first is shown, and how it differs from the one before: on average, and at most.
    times: list[float] = []
    steps: list[float] = []
    largest: list[float] = []
    before: NDArray[Any] | None = None
    reformatter = VideoReformatter()
    with av.open(path) as film:
        stream = film.streams.video[0]
        stream.codec_context.thread_count = 1  # the pool has a process for every core already
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
    return freezes_in(times, np.asarray(largest)), jumps_in(times, np.asarray(steps))


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
