"""Films that are written in fragments (`moof`), as browsers, phones and capture cards do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from orchestrator.preflight.films.boxes import boxes_in, first_in, is_long, number

# Flags of tfhd and trun (ISO/IEC 14496-12 sections 8.8.7 and 8.8.8).
_BASE_OFFSET, _DESCRIPTION, _DEFAULT_DURATION = 0x1, 0x2, 0x8
_DATA_OFFSET, _FIRST_FLAGS, _DURATION, _SIZE, _FLAGS, _COMPOSITION = 0x1, 0x4, 0x100, 0x200, 0x400, 0x800


@dataclass(slots=True)
class Fragments:
    """What a film's fragments add to its tracks, by track id: durations in ticks, as (count, ticks) in order."""

    steps: dict[int, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))

    def ticks(self, track: int) -> int:
        """How long the fragments of a track are together."""
        return sum(count * ticks for count, ticks in self.steps.get(track, ()))


def default_durations(moov: memoryview) -> Mapping[int, int]:
    """Ticks of a sample by track id, where its fragment does not say; empty for a film without fragments."""
    mvex = first_in(moov, "mvex")
    if mvex is None:
        return {}
    return {number(trex, 4): number(trex, 12) for type_, trex in boxes_in(mvex) if type_ == "trex"}


def promised_ticks(moov: memoryview) -> int | None:
    """How long all fragments are together, in ticks of the movie, where the film's header says so (`mehd`)."""
    mehd = first_in(moov, "mvex", "mehd")
    return None if mehd is None else number(mehd, 4, 8 if is_long(mehd) else 4)


def promised_end(sidx: memoryview, end: int) -> int:
    """Where the pieces end that a piece index lists, which itself ends at *end*."""
    first, start = (number(sidx, 20, 8), 32) if is_long(sidx) else (number(sidx, 16), 24)
    count = number(sidx, start - 2, 2)
    sizes = (number(sidx, start + 12 * place) & 0x7FFFFFFF for place in range(count))
    return end + first + sum(sizes)


def add_fragment(fragments: Fragments, moof: memoryview, defaults: Mapping[int, int]) -> None:
    """Take the durations of *moof* into *fragments*; raises DamagedError."""
    for type_, traf in boxes_in(moof):
        if type_ == "traf" and (tfhd := first_in(traf, "tfhd")) is not None:
            track, default = _header(tfhd, defaults)
            truns = (content for name, content in boxes_in(traf) if name == "trun")
            fragments.steps[track] += _durations(truns, default)


def _header(tfhd: memoryview, defaults: Mapping[int, int]) -> tuple[int, int]:
    flags, track = number(tfhd, 1, 3), number(tfhd, 4)
    if not flags & _DEFAULT_DURATION:
        return track, defaults.get(track, 0)
    skipped = 8 * bool(flags & _BASE_OFFSET) + 4 * bool(flags & _DESCRIPTION)
    return track, number(tfhd, 8 + skipped)


def _durations(truns: Iterable[memoryview], default: int) -> Iterable[tuple[int, int]]:
    for trun in truns:
        flags, count = number(trun, 1, 3), number(trun, 4)
        if not flags & _DURATION:
            yield count, default
            continue
        start = 8 + 4 * bool(flags & _DATA_OFFSET) + 4 * bool(flags & _FIRST_FLAGS)
        width = 4 * sum(bool(flags & flag) for flag in (_DURATION, _SIZE, _FLAGS, _COMPOSITION))
        for place in range(count):
            yield 1, number(trun, start + place * width)
