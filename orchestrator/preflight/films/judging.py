"""What the review would say of a film's facts: rules P01 to P05, P08 and P09 (metastudio-protocol section 6)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.domain.quantities import format_bytes
from orchestrator.preflight.films.film import Film
from orchestrator.preflight.finding import Finding, likely_refused, look_first, refused

SIZES = ((1920, 1080), (1080, 1920), (3840, 2160), (2160, 3840))
MINUTES = (3, 10)
FLEXUS_MINUTES = (1, 5)
#: A film of exactly 3 minutes may lack two pictures of them.
_LENGTH_TOLERANCE = 0.1
_FEWEST_PICTURES = 25
#: 25 pictures a second, counted over a film whose last one is short.
_RATE_TOLERANCE = 0.25
_UNEVEN_SHARE = 0.02
#: "Usually under 5 G" (submission page).
_USUAL_BYTES = 5 * 1024**3
#: Sound is cut in pieces, so it seldom ends with the picture to the second.
_SOUND_TOLERANCE = 1.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a film is for, as far as it decides what it must be."""

    is_flexus: bool = False
    is_sound_needed: bool = True


def judge_film(film: Film, wanted: Wanted) -> Iterator[Finding]:
    """What the rules find in *film*; of one that is not whole nothing but that."""
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
    """*seconds* as minutes, to the tenth where there is one: `2:59.6`, `3:00`."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    return f"{minutes}:{rest // 10:02}" + (f".{rest % 10}" if rest % 10 else "")


def judge_rate(film: Film) -> Iterator[Finding]:
    """Whether pictures come evenly, and often enough (P02)."""
    rate = film.pictures_per_second or 0
    if film.uneven > _UNEVEN_SHARE:
        longest = f", the longest lasts {film.longest_step:.2f} s" if film.longest_step else ""
        message = f"has a variable frame rate: {film.uneven:.0%} of its pictures are off the beat{longest}"
        yield look_first("P02", message)
    elif rate < _FEWEST_PICTURES - _RATE_TOLERANCE:
        yield look_first("P02", f"has {rate:.4g} pictures a second; 25 or more are asked for")


def judge_making(film: Film) -> Iterator[Finding]:
    """What a camera or an export made of pictures and sound that usual players do not show (P05)."""
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
