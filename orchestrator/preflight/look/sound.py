"""What is measured of a film's sound: how loud the voice is, how loud the room, and when the voice starts."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.preflight.look.measures import Sound

#: Sound is measured in pieces of this length: shorter than a syllable.
PIECE_SECONDS = 0.02
_SILENCE = -90.0
#: What is at most so much quieter than the voice is voice.
_VOICE_BELOW = 25.0
_ABOVE_FLOOR = 8.0
#: Levels of noise alone spread no further than this.
_NOISE_ALONE = 5.0
#: A word or more, with its gaps: so much of this time is voice.
_SUSTAINED_SECONDS, _SUSTAINED_SHARE = 0.6, 0.5
#: As far as a sample goes, and how many in a row are there only when it was cut off.
_FULL_SCALE, _CLIPPED_RUN = 0.985, 3


class SoundMeter:
    """Takes mono sound as it is decoded, -1 to 1."""

    def __init__(self, rate: int) -> None:
        self._piece = max(1, round(rate * PIECE_SECONDS))
        self._rate = rate
        self._levels: list[NDArray[Any]] = []
        self._rest = np.zeros(0, np.float32)
        self._clipped = self._count = 0

    def take(self, samples: NDArray[Any]) -> None:
        """Measure the next *samples*."""
        self._count += len(samples)
        full = np.abs(samples) >= _FULL_SCALE
        if full.any():
            # A single sample up there may be music; one with neighbours there too was cut off.
            run = np.convolve(full, np.ones(_CLIPPED_RUN), "same") >= _CLIPPED_RUN
            self._clipped += int(run.sum())
        whole = np.concatenate((self._rest, samples))
        used = len(whole) // self._piece * self._piece
        pieces = whole[:used].reshape(-1, self._piece).astype(np.float64)
        levels = np.sqrt((pieces**2).mean(axis=1))
        self._levels.append(np.maximum(20 * np.log10(np.maximum(levels, 1e-9)), _SILENCE))
        self._rest = whole[used:]

    def result(self) -> Sound:
        """How loud voice and room are, and when a voice is first heard for more than a moment."""
        levels = np.concatenate(self._levels) if self._levels else np.zeros(0)
        if not len(levels):
            return Sound(voice=_SILENCE, floor=_SILENCE, clipped=0.0, voice_starts=None)
        voice, floor = (float(np.percentile(levels, share)) for share in (95, 8))
        return Sound(
            voice=voice,
            floor=floor,
            clipped=self._clipped / self._count,
            voice_starts=start_of_voice(levels, voice, floor),
        )

    def levels(self) -> NDArray[Any]:
        """All levels, for drawing."""
        return np.concatenate(self._levels) if self._levels else np.zeros(0)


def start_of_voice(levels: NDArray[Any], voice: float, floor: float) -> float | None:
    """When voice is heard for the first time for more than a moment."""
    threshold = max(voice - _VOICE_BELOW, min(floor + _ABOVE_FLOOR, voice - 3))
    window = round(_SUSTAINED_SECONDS / PIECE_SECONDS)
    is_voice = levels > threshold
    if voice - floor < _NOISE_ALONE or len(is_voice) < window:
        return None
    shares = np.convolve(is_voice, np.ones(window) / window, "valid")
    found = np.flatnonzero(shares >= _SUSTAINED_SHARE)
    if not len(found):
        return None
    first = int(found[0])
    return (first + int(np.argmax(is_voice[first : first + window]))) * PIECE_SECONDS


def loudness_curve(levels: Iterable[float], columns: int) -> list[float]:
    """The sound as *columns* heights from 0 to 1: the loudest piece of each, over 60 dB."""
    values = np.asarray(list(levels), dtype=float)
    if not len(values):
        return [0.0] * columns
    edges = np.linspace(0, len(values), columns + 1).astype(int)
    loudest = [values[start : max(end, start + 1)].max() for start, end in pairwise(edges)]
    return [float(np.clip(1 + level / 60, 0, 1)) for level in loudest]
