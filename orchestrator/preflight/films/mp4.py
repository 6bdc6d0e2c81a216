"""MP4 (ISO/IEC 14496-12): the boxes of a file, its tracks, and the time and the place of each picture.

They are read from the index (`moov`), and from the fragments (`moof`) after it, which browsers, phones and capture
cards write. The file may be damaged in any way.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

#: `read(offset, length)` returns bytes of the file, fewer at its end.
Read = Callable[[int, int], bytes]

#: More boxes at the top level, or in one box, than any film has: even a day in fragments of a second has fewer.
MAX_BOXES = 200_000
_HEADER_BYTES = 16
#: The bytes of a picture or sound entry before its boxes (ISO/IEC 14496-12 section 12.1.3, 12.2.3).
_PICTURE_ENTRY_BYTES, _SOUND_ENTRY_BYTES = 78, 28
_NO_MEDIA = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
#: The rotation in degrees by the first two numbers of the track's matrix, which have 16 fractional bits.
_UNITY, _MINUS = 0x00010000, 2**32 - 0x00010000
_TURNS = {(0, _UNITY): 90, (_MINUS, 0): 180, (0, _MINUS): 270}
# Flags of tfhd and trun (ISO/IEC 14496-12 sections 8.8.7 and 8.8.8).
_BASE_OFFSET, _DESCRIPTION, _DEFAULT_DURATION = 0x1, 0x2, 0x8
_DATA_OFFSET, _FIRST_FLAGS, _DURATION, _SIZE, _FLAGS, _COMPOSITION = 0x1, 0x4, 0x100, 0x200, 0x400, 0x800


class DamagedError(Exception):
    """The bytes are not the expected box; the message names it."""


@dataclass(frozen=True, slots=True)
class Box:
    """A box of a file: its four-letter type, and the offsets of its start, its content and its end."""

    type: str
    start: int
    content: int
    end: int
    #: True when the box has no length, so that it extends to the end of the file.
    is_open_ended: bool = False


def boxes_of_file(read: Read, size: int) -> Iterator[Box]:
    """Yield the top-level boxes of a file of *size* bytes; the last may end beyond it. Raises DamagedError."""
    start = 0
    for _ in range(MAX_BOXES):
        if start + 8 > size:
            return
        box = _box(read(start, _HEADER_BYTES), start, size)
        yield box
        start = box.end
    raise DamagedError(f"over {MAX_BOXES} boxes")


def boxes_in(content: memoryview) -> Iterator[tuple[str, memoryview]]:
    """Yield type and content of the boxes in *content*; raises DamagedError when one does not fit."""
    start = 0
    for _ in range(MAX_BOXES):
        if start + 8 > len(content):
            return
        box = _box(bytes(content[start : start + _HEADER_BYTES]), start, len(content))
        if box.end > len(content):
            raise DamagedError(f"the box {box.type} does not fit")
        yield box.type, content[box.content : box.end]
        start = box.end
    raise DamagedError(f"over {MAX_BOXES} boxes in one")


def first_in(content: memoryview, *path: str) -> memoryview | None:
    """Return the content of the first box at *path*, such as `mdia`, `minf`, `stbl`; None when there is none."""
    for name in path:
        found = next((inside for type_, inside in boxes_in(content) if type_ == name), None)
        if found is None:
            return None
        content = found
    return content


def _box(header: bytes, start: int, size: int) -> Box:
    length, type_ = struct.unpack_from(">I4s", header)
    name = type_.decode("latin-1")
    if length == 0:
        return Box(name, start, start + 8, size, is_open_ended=True)
    if length != 1:
        if length < 8:
            raise DamagedError(f"a box of {length} bytes")
        return Box(name, start, start + 8, start + length)
    if len(header) < _HEADER_BYTES:
        raise DamagedError(f"the box {name} has no length")
    (length,) = struct.unpack_from(">Q", header, 8)
    if length < _HEADER_BYTES:
        raise DamagedError(f"a box of {length} bytes")
    return Box(name, start, start + _HEADER_BYTES, start + length)


def table(content: memoryview, offset: int, count: int, *, is_long: bool = False) -> array[int]:
    """Return *count* big-endian numbers of 32 or, if *is_long*, 64 bits at *offset*; raises DamagedError if cut."""
    width = 8 if is_long else 4
    raw = content[offset : offset + count * width]
    if len(raw) != count * width:
        raise DamagedError("a table of the index is cut")
    numbers = array("Q" if is_long else "I", bytes(raw))
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


def number(content: memoryview, offset: int, width: int = 4) -> int:
    """Return the big-endian number of *width* bytes at *offset*; raises DamagedError if it is cut."""
    raw = content[offset : offset + width]
    if len(raw) != width:
        raise DamagedError("a number of the index is cut")
    return int.from_bytes(raw, "big")


def is_long(content: memoryview) -> bool:
    """Return True for a box of version 1, whose times have 64 bits."""
    return number(content, 0, 1) == 1


@dataclass(frozen=True, slots=True)
class Layout:
    """The places of a track's samples (pictures, or pieces of sound) in the file, in chunks of consecutive samples.

    `sizes` has the size of every sample, or is one number for all. `runs` are (first chunk from 0, samples a chunk).
    """

    count: int
    sizes: Sequence[int] | int
    offsets: Sequence[int]
    runs: Sequence[tuple[int, int]]

    @property
    def end(self) -> int:
        """The end offset of the last sample in the file; 0 when there are no samples."""
        if not self.offsets:
            return 0
        last = max(range(len(self.offsets)), key=self.offsets.__getitem__)
        samples = self._samples_of(last)
        if isinstance(self.sizes, int):
            return self.offsets[last] + len(samples) * self.sizes
        return self.offsets[last] + sum(self.sizes[samples.start : samples.stop])

    def spread(self, count: int) -> list[tuple[int, int]]:
        """Return offset and size of about *count* samples spread over the film, including one of the last chunk."""
        if not self.offsets:
            return []
        found = []
        for chunk in [
            *range(0, len(self.offsets), max(1, len(self.offsets) // count)),
            len(self.offsets) - 1,
        ]:
            samples = self._samples_of(chunk)
            size = self.sizes if isinstance(self.sizes, int) else self.sizes[samples.start] if samples else 0
            found.append((self.offsets[chunk], size if samples else 0))
        return found

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
    """One track: `kind` is `vide`, `soun` or another handler type; times are in ticks of 1/`timescale` s.

    `entry` has the boxes that describe the codec. `steps` are the durations of samples as (count, ticks). `turned` is
    the clockwise rotation in degrees that a player applies to the pictures.
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
    """Return the tracks in *moov*, the content of the index; raises DamagedError."""
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
    stts = _inside(stbl, "stts")
    numbers = table(stts, 8, 2 * number(stts, 4))
    steps = list(zip(numbers[::2], numbers[1::2], strict=True))
    seconds = sum(count * ticks for count, ticks in steps) / timescale
    shown = edited_seconds(first_in(trak, "edts", "elst"), movie_timescale)
    matrix = 52 if is_long(tkhd) else 40
    across, down = number(tkhd, matrix), number(tkhd, matrix + 4)
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
        # Mirrored and skewed pictures count as not turned: no camera writes them.
        turned=_TURNS.get((across, down), 0),
        steps=steps,
        layout=layout_of(stbl),
    )


def _inside(content: memoryview, *path: str) -> memoryview:
    found = first_in(content, *path)
    if found is None:
        raise DamagedError(f"the index has no {path[-1]}")
    return found


def _sample_entry(stsd: memoryview, kind: str) -> tuple[str, memoryview, bool, int, int]:
    """Return the codec, the boxes of its description, True if encrypted, and width and height of stored pictures."""
    type_, content = next(boxes_in(stsd[8:]), ("", memoryview(b"")))
    is_picture = kind == "vide"
    width, height = (number(content, 24, 2), number(content, 26, 2)) if is_picture else (0, 0)
    boxes = content[_PICTURE_ENTRY_BYTES if is_picture else _SOUND_ENTRY_BYTES :]
    if type_ not in {"encv", "enca"}:
        return type_, boxes, False, width, height
    original = first_in(boxes, "sinf", "frma")
    return bytes(original or b"").decode("latin-1"), boxes, True, width, height


def edited_seconds(elst: memoryview | None, timescale: int) -> float | None:
    """Return the seconds of a track that its edit list shows; None if it has none, or only means `to the end`."""
    if elst is None or not timescale:
        return None
    entry_bytes, width = (20, 8) if is_long(elst) else (12, 4)
    shown = 0
    for place in range(number(elst, 4)):
        start = 8 + place * entry_bytes
        if number(elst, start + width, width) not in _NO_MEDIA:
            shown += number(elst, start, width)
    return shown / timescale or None


def layout_of(stbl: memoryview) -> Layout:
    """Read the places of the samples from the tables of one track; raises DamagedError."""
    stsz, stsc, long_offsets = first_in(stbl, "stsz"), _inside(stbl, "stsc"), first_in(stbl, "co64")
    sizes: array[int] | int
    if stsz is None:
        count, sizes = compact_sizes(_inside(stbl, "stz2"))
    else:
        count = number(stsz, 8)
        sizes = number(stsz, 4) or table(stsz, 12, count)
    offsets = long_offsets if long_offsets is not None else _inside(stbl, "stco")
    numbers = table(stsc, 8, 3 * number(stsc, 4))
    runs = [(first - 1, many) for first, many in zip(numbers[::3], numbers[1::3], strict=True)]
    firsts = [first for first, _ in runs]
    # With chunks out of order, the computed places of all samples would be wrong.
    if firsts and (firsts[0] != 0 or firsts != sorted(set(firsts))):
        raise DamagedError("the chunks are out of order")
    return Layout(
        count=count,
        sizes=sizes,
        offsets=table(offsets, 8, number(offsets, 4), is_long=long_offsets is not None),
        runs=runs,
    )


def compact_sizes(stz2: memoryview) -> tuple[int, array[int]]:
    """Return the number of samples and the size of each, from a table with 4, 8 or 16 bits per size."""
    bits, count = number(stz2, 7, 1), number(stz2, 8)
    raw = bytes(stz2[12 : 12 + (count * bits + 7) // 8])
    if bits == 4:
        halves = (half for byte in raw for half in (byte >> 4, byte & 15))
        return count, array("I", list(halves)[:count])
    width = max(1, bits // 8)
    places = range(0, len(raw) - width + 1, width)
    return count, array("I", (int.from_bytes(raw[place : place + width], "big") for place in places))


@dataclass(slots=True)
class Fragments:
    """The durations that a film's fragments add to its tracks, by track id: (count, ticks) in order."""

    steps: dict[int, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))

    def ticks(self, track: int) -> int:
        """Return the total duration of a track's fragments."""
        return sum(count * ticks for count, ticks in self.steps.get(track, ()))


def default_durations(moov: memoryview) -> Mapping[int, int]:
    """Return the default ticks of a sample in fragments, by track id; empty for a film without fragments."""
    mvex = first_in(moov, "mvex")
    if mvex is None:
        return {}
    return {number(trex, 4): number(trex, 12) for type_, trex in boxes_in(mvex) if type_ == "trex"}


def promised_ticks(moov: memoryview) -> int | None:
    """Return the total duration in ticks of the movie, if the film's header has it (`mehd`), or None."""
    mehd = first_in(moov, "mvex", "mehd")
    return None if mehd is None else number(mehd, 4, 8 if is_long(mehd) else 4)


def promised_end(sidx: memoryview, end: int) -> int:
    """Return the end offset of the pieces listed in the piece index *sidx*, which itself ends at *end*."""
    first, start = (number(sidx, 20, 8), 32) if is_long(sidx) else (number(sidx, 16), 24)
    count = number(sidx, start - 2, 2)
    sizes = (number(sidx, start + 12 * place) & 0x7FFFFFFF for place in range(count))
    return end + first + sum(sizes)


def add_fragment(fragments: Fragments, moof: memoryview, defaults: Mapping[int, int]) -> None:
    """Add the durations of *moof* to *fragments*; raises DamagedError."""
    for type_, traf in boxes_in(moof):
        if type_ != "traf" or (tfhd := first_in(traf, "tfhd")) is None:
            continue
        flags, track = number(tfhd, 1, 3), number(tfhd, 4)
        default = defaults.get(track, 0)
        if flags & _DEFAULT_DURATION:
            default = number(tfhd, 8 + 8 * bool(flags & _BASE_OFFSET) + 4 * bool(flags & _DESCRIPTION))
        for name, trun in boxes_in(traf):
            if name == "trun":
                fragments.steps[track] += durations(trun, default)


def durations(trun: memoryview, default: int) -> Iterator[tuple[int, int]]:
    """Yield the durations in *trun* as (count, ticks), or *default* if it has none. Raises DamagedError."""
    flags, count = number(trun, 1, 3), number(trun, 4)
    if not flags & _DURATION:
        yield count, default
        return
    start = 8 + 4 * bool(flags & _DATA_OFFSET) + 4 * bool(flags & _FIRST_FLAGS)
    width = 4 * sum(bool(flags & flag) for flag in (_DURATION, _SIZE, _FLAGS, _COMPOSITION))
    for place in range(count):
        yield 1, number(trun, start + place * width)
