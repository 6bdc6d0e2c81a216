"""Which pictures of a film to look at: spread over it, and where its index shows that something happens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

#: About as many pictures as a person would want to see of a film of five minutes.
PICTURES = 24
#: Pictures closer than this to each other show the same.
_CLOSEST_SECONDS = 0.4
#: A picture that needs this many times the usual bytes shows something new: a cut, a flash, a picture after black.
_SURPRISE = 8
#: And no less than this: in a still film a moved hand is a surprise.
_SURPRISE_BYTES = 4000
_MOST_SURPRISES = 6
#: CPU seconds for pictures that are only decoded on the way to a wanted one: for any film, and more a minute of it.
_ON_THE_WAY, _ON_THE_WAY_A_MINUTE = 1.0, 0.4
#: What a decoded picture costs, measured with H.264: seconds a pixel, and a byte.
_PIXEL_COST, _BYTE_COST = 1.8e-9, 1.35e-7


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture as the index has it: when it is decoded, in seconds, and how many bytes it has."""

    seconds: float
    size: int
    is_key: bool


@dataclass(frozen=True, slots=True)
class Place:
    """A picture to look at: decode from the keyframe at `key` to the first picture at or after `seconds`."""

    key: float
    seconds: float


def places_in(samples: Sequence[Sample], pixels: int, count: int = PICTURES) -> list[Place]:
    """About *count* places in the order of the film: mostly keyframes, which cost one decoded picture each.

    Where keyframes are further apart than the places, and at surprises between them, pictures of *pixels* are
    decoded on the way, within a budget of CPU time.
    """
    if not samples:
        return []
    keys = [index for index, sample in enumerate(samples) if sample.is_key] or [0]
    wanted = surprises_in(samples)
    for target in spread_over(samples, keys, count):
        second = samples[target].seconds
        if all(abs(second - samples[other].seconds) >= _CLOSEST_SECONDS for other in wanted):
            wanted.append(target)
    # Who comes first has the first claim on the budget; what would need too much decoded on the way is dropped.
    budget = _ON_THE_WAY + _ON_THE_WAY_A_MINUTE * samples[-1].seconds / 60
    reached: dict[int, int] = {}
    places = []
    for target in wanted:
        key = max((key for key in keys if key <= target), default=keys[0])
        passed = range(reached.get(key, key) + 1, target + 1)
        cost = sum(pixels * _PIXEL_COST + samples[index].size * _BYTE_COST for index in passed)
        if cost <= budget:
            budget -= cost
            reached[key] = max(target, reached.get(key, key))
            places.append(Place(samples[key].seconds, samples[target].seconds))
    return sorted(places, key=lambda place: place.seconds)


def surprises_in(samples: Sequence[Sample]) -> list[int]:
    """The largest pictures that are no keyframes, the largest first, each with the one before it.

    A flash is small, as flat as it is; what needs many bytes is the picture that comes back after it.
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
    """Evenly spread pictures, each the keyframe before it where one is near; and keyframes out of step."""
    step = samples[-1].seconds / max(1, count - 1)
    gaps = [after - before for before, after in pairwise(keys)]
    # Keyframes that come sooner than the others: encoders set one where the picture changes.
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
    """All numbers below *count*, so that any few of the first are spread over the whole."""
    order, taken = [0, count - 1], {0, count - 1}
    step = count
    while step > 1:
        step = (step + 1) // 2
        order += [number for number in range(0, count, step) if number not in taken]
        taken.update(order)
    return order
