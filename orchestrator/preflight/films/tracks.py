"""A film's tracks from its index (`moov`): when each picture is shown, and where its bytes lie."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.preflight.films.boxes import DamagedError, boxes_in, first_in, is_long, number, table

#: Bytes of a picture or sound entry before the boxes in it (ISO/IEC 14496-12 section 12.1.3, 12.2.3).
_PICTURE_ENTRY_BYTES, _SOUND_ENTRY_BYTES = 78, 28
_NO_MEDIA = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
_UNITY = 0x00010000


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a track's samples (pictures, or pieces of sound) lie in the file: chunks of samples in a row.

    `sizes` is the size of every sample, or one number for all; `runs` are (first chunk from 0, samples a chunk).
    """

    count: int
    sizes: Sequence[int] | int
    offsets: Sequence[int]
    runs: Sequence[tuple[int, int]]

    @property
    def end(self) -> int:
        """Where the sample that lies last in the file ends; 0 when there is none."""
        if not self.offsets:
            return 0
        last = max(range(len(self.offsets)), key=self.offsets.__getitem__)
        samples = self._samples_of(last)
        if isinstance(self.sizes, int):
            return self.offsets[last] + len(samples) * self.sizes
        return self.offsets[last] + sum(self.sizes[samples.start : samples.stop])

    def spread(self, count: int) -> list[tuple[int, int]]:
        """About *count* samples, offset and size, spread over the film; the last chunk's is one of them."""
        if not self.offsets:
            return []
        step = max(1, len(self.offsets) // count)
        chunks = [*range(0, len(self.offsets), step), len(self.offsets) - 1]
        return [(self.offsets[chunk], self._first_size(chunk)) for chunk in chunks]

    def _first_size(self, chunk: int) -> int:
        samples = self._samples_of(chunk)
        if not samples:
            return 0
        return self.sizes if isinstance(self.sizes, int) else self.sizes[samples.start]

    def _samples_of(self, chunk: int) -> range:
        before = 0
        for place, (first, count) in enumerate(self.runs):
            next_first = self.runs[place + 1][0] if place + 1 < len(self.runs) else len(self.offsets)
            if chunk < next_first:
                start = before + (chunk - first) * count
                return range(min(start, self.count), min(start + count, self.count))
            before += (next_first - first) * count
        raise DamagedError("a chunk has no samples")


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One track: `kind` is `vide`, `soun` or another handler's; times in ticks of 1/`timescale` s.

    `entry` are the boxes that describe the codec, `steps` how often each duration follows, `turned` the degrees a
    player turns the pictures clockwise.
    """

    id: int
    kind: str
    codec: str
    entry: memoryview
    is_encrypted: bool
    timescale: int
    seconds: float
    width: int
    height: int
    turned: int
    steps: Sequence[tuple[int, int]]
    layout: Layout = field(repr=False)


def tracks_of(moov: memoryview) -> list[Track]:
    """The tracks that *moov*, the content of the index, describes; raises DamagedError."""
    mvhd = first_in(moov, "mvhd")
    movie_timescale = 0 if mvhd is None else number(mvhd, 20 if is_long(mvhd) else 12)
    traks = [content for type_, content in boxes_in(moov) if type_ == "trak"]
    return [_track(trak, movie_timescale) for trak in traks]


def _track(trak: memoryview, movie_timescale: int) -> Track:
    tkhd, mdhd = _inside(trak, "tkhd"), _inside(trak, "mdia", "mdhd")
    kind = bytes(_inside(trak, "mdia", "hdlr")[8:12]).decode("latin-1")
    stbl = _inside(trak, "mdia", "minf", "stbl")
    codec, entry, is_encrypted, width, height = _sample_entry(_inside(stbl, "stsd"), kind)
    timescale = number(mdhd, 20 if is_long(mdhd) else 12)
    if not timescale:
        raise DamagedError("a track without a clock")
    steps = _steps(_inside(stbl, "stts"))
    seconds = sum(count * ticks for count, ticks in steps) / timescale
    shown = _edited_seconds(first_in(trak, "edts", "elst"), movie_timescale)
    return Track(
        id=number(tkhd, 20 if is_long(tkhd) else 12),
        kind=kind,
        codec=codec,
        entry=entry,
        is_encrypted=is_encrypted,
        timescale=timescale,
        seconds=min(seconds, shown) if shown else seconds,
        width=width,
        height=height,
        turned=_turned(tkhd),
        steps=steps,
        layout=_layout(stbl),
    )


def _inside(content: memoryview, *path: str) -> memoryview:
    found = first_in(content, *path)
    if found is None:
        raise DamagedError(f"the index has no {path[-1]}")
    return found


def _sample_entry(stsd: memoryview, kind: str) -> tuple[str, memoryview, bool, int, int]:
    """Codec, the boxes in its description, whether it is encrypted, and the size of the stored pictures."""
    type_, content = next(boxes_in(stsd[8:]), ("", memoryview(b"")))
    is_picture = kind == "vide"
    width, height = (number(content, 24, 2), number(content, 26, 2)) if is_picture else (0, 0)
    boxes = content[_PICTURE_ENTRY_BYTES if is_picture else _SOUND_ENTRY_BYTES :]
    if type_ not in {"encv", "enca"}:
        return type_, boxes, False, width, height
    original = first_in(boxes, "sinf", "frma")
    return bytes(original or b"").decode("latin-1"), boxes, True, width, height


def _steps(stts: memoryview) -> list[tuple[int, int]]:
    numbers = table(stts, 8, 2 * number(stts, 4))
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _edited_seconds(elst: memoryview | None, timescale: int) -> float | None:
    """What an edit list shows of a track; None when it says nothing, or only `to the end`."""
    if elst is None or not timescale:
        return None
    entry_bytes, width = (20, 8) if is_long(elst) else (12, 4)
    shown = 0
    for place in range(number(elst, 4)):
        start = 8 + place * entry_bytes
        if number(elst, start + width, width) not in _NO_MEDIA:
            shown += number(elst, start, width)
    return shown / timescale or None


def _turned(tkhd: memoryview) -> int:
    """The degrees by which the track's matrix turns the pictures; 0 for mirrors and slants."""
    start = 52 if is_long(tkhd) else 40
    across, down = number(tkhd, start), number(tkhd, start + 4)
    minus = 2**32 - _UNITY
    return {(0, _UNITY): 90, (minus, 0): 180, (0, minus): 270}.get((across, down), 0)


def _layout(stbl: memoryview) -> Layout:
    count, sizes = _sizes(stbl)
    long_offsets = first_in(stbl, "co64")
    offsets = long_offsets if long_offsets is not None else _inside(stbl, "stco")
    stsc = _inside(stbl, "stsc")
    numbers = table(stsc, 8, 3 * number(stsc, 4))
    runs = [(first - 1, many) for first, many in zip(numbers[::3], numbers[1::3], strict=True)]
    firsts = [first for first, _ in runs]
    if firsts and (firsts[0] != 0 or firsts != sorted(set(firsts))):
        raise DamagedError("the chunks are out of order")
    return Layout(
        count=count,
        sizes=sizes,
        offsets=table(offsets, 8, number(offsets, 4), is_long=long_offsets is not None),
        runs=runs,
    )


def _sizes(stbl: memoryview) -> tuple[int, array[int] | int]:
    stsz = first_in(stbl, "stsz")
    if stsz is None:
        return _compact_sizes(_inside(stbl, "stz2"))
    same, count = number(stsz, 4), number(stsz, 8)
    return count, same or table(stsz, 12, count)


def _compact_sizes(stz2: memoryview) -> tuple[int, array[int]]:
    bits, count = number(stz2, 7, 1), number(stz2, 8)
    raw = bytes(stz2[12 : 12 + (count * bits + 7) // 8])
    if bits == 4:
        halves = (half for byte in raw for half in (byte >> 4, byte & 15))
        return count, array("I", list(halves)[:count])
    width = max(1, bits // 8)
    places = range(0, len(raw) - width + 1, width)
    return count, array("I", (int.from_bytes(raw[place : place + width], "big") for place in places))
