"""The facts of a film, damage to it, and findings that predict the review.

Rules P01 to P05, P08 and P09 (metastudio-protocol section 6).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from typing import Any

from orchestrator.domain.assets import Fingerprint
from orchestrator.domain.quantities import format_bytes
from orchestrator.preflight.cache import Cache
from orchestrator.preflight.films.codecs import Pictures, codec_name, pictures_of
from orchestrator.preflight.films.mp4 import (
    Box,
    DamagedError,
    Fragments,
    Read,
    Track,
    add_fragment,
    boxes_of_file,
    default_durations,
    first_in,
    is_long,
    number,
    promised_end,
    promised_ticks,
    tracks_of,
)
from orchestrator.preflight.rulebook import Finding, likely_refused, look_first, refused

#: An index of this size belongs to a recording of days; that of a film of minutes has under 2 MiB.
MAX_INDEX_BYTES = 128 * 1024**2
_MAX_FRAGMENT_BYTES = 16 * 1024**2
#: The number of pictures whose first bytes are checked: a copy that only reserved its space has zeros there.
_PROBED_PICTURES = 16
#: A step between pictures is uneven when it differs from the usual step by more than this share.
_EVEN_SHARE = 0.2
#: The kind of films in the cache.
_KIND = "film"
_NO_VIDEO = "has no video that can be read; is the file complete?"
_INTERRUPTED = "the recording or the copy was interrupted"
SIZES = ((1920, 1080), (1080, 1920), (3840, 2160), (2160, 3840))
MINUTES = (3, 10)
FLEXUS_MINUTES = (1, 5)
#: In seconds: a film of exactly 3 minutes may be two pictures short.
_LENGTH_TOLERANCE = 0.1
_FEWEST_PICTURES = 25
#: In pictures per second: the duration of the last picture distorts the average of a film with 25.
_RATE_TOLERANCE = 0.25
_UNEVEN_SHARE = 0.02
#: "Usually under 5 G" (submission page).
_USUAL_BYTES = 5 * 1024**3
#: In seconds: sound is stored in pieces, so it seldom ends exactly with the pictures.
_SOUND_TOLERANCE = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """The facts of one film; None for facts that the file does not contain.

    `damage` describes why the film is not whole. `turned` is the rotation in degrees that a player applies to the
    stored pictures. `uneven` is the share of steps between pictures that differ from the usual one, and
    `longest_step` the longest step in seconds. `sound_seconds` is None without sound.
    """

    bytes: int
    damage: str | None = None
    seconds: float | None = None
    width: int | None = None
    height: int | None = None
    codec: str | None = None
    turned: int = 0
    is_encrypted: bool = False
    bit_depth: int | None = None
    chroma: str | None = None
    is_interlaced: bool | None = None
    pixel: tuple[int, int] | None = None
    is_hdr: bool = False
    pictures_per_second: float | None = None
    uneven: float = 0.0
    longest_step: float | None = None
    sound_seconds: float | None = None


def examine_film(read: Read, size: int) -> Film:
    """Read the boxes of a film of *size* bytes; damage is recorded in the `Film`, and only OSError is raised."""
    try:
        boxes, trouble = boxes_until_trouble(read, size)
        index = next((box for box in boxes if box.type == "moov"), None)
        if index is None:
            return Film(bytes=size, damage=_without_index(boxes, size, trouble))
        if index.end > size:
            return Film(bytes=size, damage=_cut_at(size, index.end, "within its index"))
        if index.end - index.content > MAX_INDEX_BYTES:
            length = format_bytes(index.end - index.content)
            return Film(bytes=size, damage=f"is damaged: its index has {length}")
        return _examined(read, size, boxes, memoryview(read(index.content, index.end - index.content)))
    except DamagedError as error:
        return Film(bytes=size, damage=f"is damaged: {error}")


def boxes_until_trouble(read: Read, size: int) -> tuple[list[Box], str | None]:
    """Return the top-level boxes, and the error that ended them early; bytes after the last are often harmless."""
    boxes: list[Box] = []
    try:
        for box in boxes_of_file(read, size):
            if box.end > size and not (box.type.isascii() and box.type.isprintable()):
                return boxes, "bytes that are no box"
            boxes.append(box)
            if box.end > size:
                break
    except DamagedError as error:
        return boxes, str(error)
    return boxes, None


def _without_index(boxes: Sequence[Box], size: int, trouble: str | None) -> str:
    if any(box.type == "mdat" for box in boxes):
        return f"has no index (moov), so it cannot be played: {_INTERRUPTED} after {format_bytes(size)}"
    if trouble and not boxes:
        return f"is damaged: {trouble}"
    return f"has only its header, no video: is the file complete? {_INTERRUPTED.capitalize()}"


def _examined(read: Read, size: int, boxes: Sequence[Box], moov: memoryview) -> Film:
    tracks = tracks_of(moov)
    pictures = next((track for track in tracks if track.kind == "vide"), None)
    if pictures is None:
        return Film(bytes=size, damage=_NO_VIDEO)
    fragments, damage = _fragments(read, size, boxes, moov)
    film = _facts(size, pictures, next((t for t in tracks if t.kind == "soun"), None), fragments)
    # The first message that applies is the most informative: it includes the missing bytes and their place.
    end = max(track.layout.end for track in tracks)
    cut = boxes[-1] if boxes[-1].end > size else None
    if not damage and end > size:
        damage = _cut_at(size, end, "before its last picture")
    elif not damage and cut:
        damage = _cut_at(size, cut.end, f"within {cut.type}")
    elif not damage and not film.seconds:
        damage = "has no picture: " + _INTERRUPTED
    return replace(film, damage=damage or blank_pictures(read, size, pictures))


def _cut_at(size: int, end: int, place: str) -> str:
    return f"is cut {place}: {format_bytes(end - size)} of {format_bytes(end)} are missing at its end"


def blank_pictures(read: Read, size: int, track: Track) -> str | None:
    """Return a message if pictures of *track*, in a file of *size* bytes, are zeros; None if not, or if unknown.

    A picture of H.264 or H.265 begins with the length of its first unit, which is never zero.
    """
    width = pictures_of(track.entry).length_bytes
    if not width or track.is_encrypted:
        return None
    for offset, length in track.layout.spread(_PROBED_PICTURES):
        if length > width and not any(read(offset, width)):
            percent = round(100 * offset / size)
            return f"has no pictures from {percent} % on: the copy reserved the space, but did not fill it"
    return None


def _fragments(read: Read, size: int, boxes: Sequence[Box], moov: memoryview) -> tuple[Fragments, str | None]:
    """Return the film's fragments, and a message if some are missing."""
    fragments, defaults = Fragments(), default_durations(moov)
    if not defaults:
        return fragments, None
    for box in boxes:
        if box.end > size or box.end - box.content > _MAX_FRAGMENT_BYTES:
            continue
        if box.type == "moof":
            add_fragment(fragments, memoryview(read(box.content, box.end - box.content)), defaults)
        elif box.type == "sidx":
            end = promised_end(memoryview(read(box.content, box.end - box.content)), box.end)
            if end > size:
                return fragments, _cut_at(size, end, "between two fragments")
    promised, mvhd = promised_ticks(moov), first_in(moov, "mvhd")
    if not promised or mvhd is None:
        return fragments, None
    wanted = promised / (number(mvhd, 20 if is_long(mvhd) else 12) or 1)
    lengths = (track.seconds + fragments.ticks(track.id) / track.timescale for track in tracks_of(moov))
    found = max(lengths, default=0)
    damage = f"is cut between two fragments: it has {found:.1f} of {wanted:.1f} s"
    return fragments, damage if found < wanted - 1 else None


def _facts(size: int, track: Track, sound: Track | None, fragments: Fragments) -> Film:
    made: Pictures = pictures_of(track.entry)
    steps = [*track.steps, *fragments.steps.get(track.id, ())]
    seconds = track.seconds + fragments.ticks(track.id) / track.timescale
    count = sum(many for many, _ in steps)
    uneven, longest = evenness(steps, track.timescale)
    return Film(
        bytes=size,
        seconds=seconds or None,
        width=track.width or None,
        height=track.height or None,
        codec=codec_name(track.codec),
        turned=track.turned,
        is_encrypted=track.is_encrypted,
        bit_depth=made.bit_depth,
        chroma=made.chroma,
        is_interlaced=made.is_interlaced,
        pixel=made.pixel,
        is_hdr=made.is_hdr,
        pictures_per_second=count / seconds if seconds else None,
        uneven=uneven,
        longest_step=longest,
        sound_seconds=None if sound is None else sound.seconds + fragments.ticks(sound.id) / sound.timescale,
    )


def evenness(steps: Sequence[tuple[int, int]], timescale: int) -> tuple[float, float | None]:
    """Return the share of uneven steps, and the longest step in seconds; *steps* as in Track.

    The last picture's duration is ignored if no other picture has it. The usual step is the median.
    """
    by_length: dict[int, int] = {}
    for count, ticks in steps:
        by_length[ticks] = by_length.get(ticks, 0) + count
    if steps and by_length[steps[-1][1]] == 1:
        del by_length[steps[-1][1]]
    total = sum(by_length.values())
    if not total:
        return 0.0, None
    lengths = sorted(by_length)
    passed = accumulate(by_length[ticks] for ticks in lengths)
    usual = next(ticks for ticks, count in zip(lengths, passed, strict=True) if 2 * count >= total)
    uneven = sum(count for ticks, count in by_length.items() if abs(ticks - usual) > _EVEN_SHARE * usual)
    return uneven / total, max(by_length) / timescale


def read_film(path: str, cache: Cache | None = None) -> Film:
    """Return the facts of the film at *path*, from *cache* if the file is unchanged.

    Raises OSError when it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        known = cache.get(_KIND, status) if cache else None
        if known is not None:
            with contextlib.suppress(TypeError):  # written by another version of the program
                return _film(known)

        def read(offset: int, length: int) -> bytes:
            pieces = []
            # One call may return fewer bytes than requested.
            while length > 0 and (piece := os.pread(descriptor, min(length, 1 << 30), offset)):
                pieces.append(piece)
                offset += len(piece)
                length -= len(piece)
            return b"".join(pieces)

        film = examine_film(read, status.st_size)
        if cache:
            cache.put(_KIND, status, asdict(film))
        return film
    finally:
        os.close(descriptor)


def known_film(cache: Cache, fingerprint: Fingerprint) -> Film | None:
    """Return the facts of a film from *cache*, or None; the film itself may be missing."""
    known = cache.find(_KIND, fingerprint)
    with contextlib.suppress(TypeError):
        return _film(known) if known else None
    return None


def _film(known: dict[str, Any]) -> Film:
    pixel = known.pop("pixel", None)
    return Film(**known, pixel=tuple(pixel) if pixel else None)


@dataclass(frozen=True, slots=True)
class FilmRequirements:
    """The requirements that follow from the purpose of a film."""

    is_flexus: bool = False
    is_sound_needed: bool = True


def judge_film(film: Film, wanted: FilmRequirements) -> Iterator[Finding]:
    """Yield the findings about *film*; for a damaged film only the damage."""
    if film.damage:
        yield refused("P01", film.damage)
        return
    if (film.width, film.height) not in SIZES:
        allowed = ", ".join(f"{width}x{height}" for width, height in SIZES)
        yield refused("P09", f"is {film.width}x{film.height}; the service takes {allowed}")
    if film.codec != "H.264 (AVC)":
        message = f"has the codec {film.codec}; the review is known to fail for others than H.264"
        yield likely_refused("P09", message)
    least, most = FLEXUS_MINUTES if wanted.is_flexus else MINUTES
    seconds = film.seconds or 0
    if not least * 60 - _LENGTH_TOLERANCE <= seconds <= most * 60 + _LENGTH_TOLERANCE:
        kind = "flexus avatars" if wanted.is_flexus else "avatars"
        length = exact_minutes(seconds)
        yield refused("P08", f"is {length} minutes long; for {kind} the service takes {least} to {most}")
    yield from judge_rate(film)
    if film.turned:
        message = f"is stored lying: a player turns it by {film.turned} degrees, the review may not"
        yield likely_refused("P03", message)
    if film.sound_seconds is None and wanted.is_sound_needed:
        yield likely_refused("P04", "has no sound track, and the voice is taken from it")
    yield from judge_making(film)


def exact_minutes(seconds: float) -> str:
    """Format *seconds* as minutes, with tenths unless they are zero: `2:59.6`, `3:00`."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    return f"{minutes}:{rest // 10:02}" + (f".{rest % 10}" if rest % 10 else "")


def judge_rate(film: Film) -> Iterator[Finding]:
    """Check that the frame rate is constant and high enough (P02)."""
    rate = film.pictures_per_second or 0
    if film.uneven > _UNEVEN_SHARE:
        longest = f", the longest lasts {film.longest_step:.2f} s" if film.longest_step else ""
        message = f"has a variable frame rate: {film.uneven:.0%} of its pictures are off the beat{longest}"
        yield look_first("P02", message)
    elif rate < _FEWEST_PICTURES - _RATE_TOLERANCE:
        yield look_first("P02", f"has {rate:.4g} pictures a second; 25 or more are asked for")


def judge_making(film: Film) -> Iterator[Finding]:
    """Check for pictures and sound that usual players do not support (P05)."""
    if film.is_encrypted:
        yield refused("P05", "is encrypted, so nothing can play it; export it without protection")
    pixel = film.pixel or (1, 1)
    unusual = [
        *([f"{film.bit_depth} bit"] if film.bit_depth and film.bit_depth > 8 else []),
        *([film.chroma] if film.chroma not in {None, "4:2:0"} else []),
        *(["interlaced"] if film.is_interlaced else []),
        *(["HDR"] if film.is_hdr else []),
        *([f"not square ({pixel[0]}:{pixel[1]})"] if pixel[0] != pixel[1] else []),
    ]
    if unusual:
        words = ", ".join(str(word) for word in unusual)
        yield likely_refused("P05", f"has pictures that usual players do not show as they are: {words}")
    if film.bytes > _USUAL_BYTES:
        yield look_first("P05", f"has {format_bytes(film.bytes)}; films are usually under 5 GiB")
    if film.sound_seconds is not None and film.seconds:
        difference = film.sound_seconds - film.seconds
        if abs(difference) > _SOUND_TOLERANCE:
            word = "longer" if difference > 0 else "shorter"
            yield look_first("P05", f"has sound that is {abs(difference):.1f} s {word} than its pictures")
