"""Measures of pictures: their green and brightness, and the differences between them.

A deep look compares every picture of a film with the previous one, which is the only way to find a freeze or a jump
cut (rule P17).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any, TypeAlias

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

#: Height, width, three colors of 8 bits.
Picture: TypeAlias = NDArray[np.uint8]

#: The border that a presenter leaves free: a share of the width on both sides, and of the height at the top.
_SIDE, _TOP = 0.14, 0.10
#: Below this share of the height, arms and clothes reach the border.
_LOWEST = 0.7
#: The side of a block in pixels; averaging over it removes sensor noise.
_BLOCK = 8
_DARK, _BRIGHT = 24, 235
#: A larger step of a block's brightness is not noise.
_CHANGED = 12
#: Pictures are compared at this width, in gray.
_WIDE = 160
#: Pictures are the same when every pixel differs by less than this: re-encoding alone causes small differences.
_SAME = 2.0
_FREEZE_SECONDS = 0.8
#: A step is a jump above this multiple of the steps' 99th percentile, and above this minimum.
_JUMP_TIMES, _JUMP_LEAST = 2.2, 0.5
#: About the number of pictures that a person would check in a film of five minutes.
PICTURES = 24
#: Pictures closer than this to each other show the same content.
_CLOSEST_SECONDS = 0.4
#: A picture with more than this multiple of the usual bytes shows something new: a cut, a flash, an end of black.
_SURPRISE = 8
#: A surprise also has more bytes than this; otherwise a moved hand would be one in a still film.
_SURPRISE_BYTES = 4000
_MOST_SURPRISES = 6
#: The budget in CPU seconds for pictures decoded only to reach a selected one: a base, and more per minute of film.
_ON_THE_WAY, _ON_THE_WAY_A_MINUTE = 1.0, 0.4
#: The cost of a decoded picture, measured with H.264: seconds per pixel, and per byte.
_PIXEL_COST, _BYTE_COST = 1.8e-9, 1.35e-7


def measure_picture(picture: Picture) -> dict[str, Any]:
    """Return shares from 0 to 1, brightness from 0 to 255, and the spread of L*, which is from 0 to 100."""
    luma: NDArray[Any] = picture @ np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
    blocks = border_blocks(picture)
    red, green, blue = (blocks[..., place].astype(float) for place in range(3))
    # Compare the hue, at any brightness; black, white and gray have none.
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
    """Return the mean colors of the blocks of the border, one row per block."""
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
    """Return the share of border blocks that changed, and the median change of all blocks."""
    difference = np.abs(before.astype(float) - after.astype(float)).mean(axis=1)
    return float((difference > _CHANGED).mean()), float(np.median(difference))


def lightness_of(colours: NDArray[Any]) -> NDArray[Any]:
    """Return L* of sRGB colors (CIE 1976)."""
    linear = np.where(
        colours / 255 <= 0.04045, colours / 255 / 12.92, ((colours / 255 + 0.055) / 1.055) ** 2.4
    )
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    lightness: NDArray[Any] = np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)
    return lightness


def moves_of(path: str) -> tuple[list[tuple[float, float]], list[float]]:
    """Return freezes as (second, length), and the seconds of jumps; decodes the whole film at *path*."""
    # For each picture but the first: its time, and its mean and largest difference from the previous one.
    times: list[float] = []
    steps: list[float] = []
    largest: list[float] = []
    before: NDArray[Any] | None = None
    reformatter = VideoReformatter()
    with av.open(path) as film:
        stream = film.streams.video[0]
        stream.codec_context.thread_count = 1  # the pool already has a process for every core
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
    """Return runs of identical pictures as (second, length)."""
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
    """Return the times of single steps far above all others; many large steps are ordinary motion."""
    if len(steps) < 3:
        return []
    usual = float(np.percentile(steps, 99))
    return [
        time for time, step in zip(times, steps, strict=True) if step > max(_JUMP_TIMES * usual, _JUMP_LEAST)
    ]


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture in the index: its decoding time in seconds, and its size in bytes."""

    seconds: float
    size: int
    is_key: bool


@dataclass(frozen=True, slots=True)
class PicturePosition:
    """A picture to measure: decode from the keyframe at `key` to the first picture at or after `seconds`."""

    key: float
    seconds: float


def positions_in(samples: Sequence[Sample], pixels: int, count: int = PICTURES) -> list[PicturePosition]:
    """Return about *count* positions in the order of the film, mostly keyframes, which cost one decoded picture each.

    When keyframes are further apart than the positions, and for surprises between them, additional pictures of
    *pixels* must be decoded, within a budget of CPU time.
    """
    if not samples:
        return []
    keys = [index for index, sample in enumerate(samples) if sample.is_key] or [0]
    wanted = surprises_in(samples)
    for target in spread_over(samples, keys, count):
        second = samples[target].seconds
        if all(abs(second - samples[other].seconds) >= _CLOSEST_SECONDS for other in wanted):
            wanted.append(target)
    # The budget is spent in this order; a position that would exceed it is dropped.
    budget = _ON_THE_WAY + _ON_THE_WAY_A_MINUTE * samples[-1].seconds / 60
    reached: dict[int, int] = {}
    positions = []
    for target in wanted:
        key = max((key for key in keys if key <= target), default=keys[0])
        passed = range(reached.get(key, key) + 1, target + 1)
        cost = sum(pixels * _PIXEL_COST + samples[index].size * _BYTE_COST for index in passed)
        if cost <= budget:
            budget -= cost
            reached[key] = max(target, reached.get(key, key))
            positions.append(PicturePosition(samples[key].seconds, samples[target].seconds))
    return sorted(positions, key=lambda position: position.seconds)


def surprises_in(samples: Sequence[Sample]) -> list[int]:
    """Return the largest pictures that are not keyframes, the largest first, each with the one before it.

    A flash has few bytes because it is flat; the picture after it needs many.
    """
    usual = median(sample.size for sample in samples if not sample.is_key) if len(samples) > 2 else 0
    large = [
        index
        for index, sample in enumerate(samples)
        if not sample.is_key and sample.size > max(_SURPRISE * usual, _SURPRISE_BYTES)
    ]
    large.sort(key=lambda index: -samples[index].size)
    return [place for index in large[:_MOST_SURPRISES] for place in (index, max(0, index - 1))]


def spread_over(samples: Sequence[Sample], keys: Sequence[int], count: int) -> list[int]:
    """Return evenly spread pictures, or the keyframes near them, and keyframes that come early."""
    step = samples[-1].seconds / max(1, count - 1)
    gaps = [after - before for before, after in pairwise(keys)]
    # Keyframes that come sooner than usual: encoders insert one when the picture changes.
    usual = median(gaps) if len(gaps) > 1 else math.inf
    sooner = [key for key, gap in zip(keys[1:], gaps, strict=True) if gap < 0.8 * usual]
    found = [keys[0], *sooner[: 2 * _MOST_SURPRISES]]
    for number in _coarse_to_fine(count):
        target = number * step
        near = min(keys, key=lambda key: abs(samples[key].seconds - target))
        if abs(samples[near].seconds - target) > max(step / 2, _CLOSEST_SECONDS):
            near = min(range(len(samples)), key=lambda index: abs(samples[index].seconds - target))
        found.append(near)
    return found


def _coarse_to_fine(count: int) -> list[int]:
    """Return all numbers below *count* in an order whose first numbers are always spread over the whole range."""
    order, taken = [0, count - 1], {0, count - 1}
    step = count
    while step > 1:
        step = (step + 1) // 2
        order += [number for number in range(0, count, step) if number not in taken]
        taken.update(order)
    return order
