"""Sizes, times and rates as people write and read them: 16MiB, 30d, 1:02:03, 20M, `08:00,5M 20:00,off`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from orchestrator.domain.errors import ConfigurationError

_FACTORS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_BINARY_FACTORS = {"ki": 1024, "mi": 1024**2, "gi": 1024**3, "ti": 1024**4}
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\s*", re.IGNORECASE)
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([smhdw]?)\s*", re.IGNORECASE)
_STEP: Final = re.compile(r"([01]?\d|2[0-3]):([0-5]\d),(\S+)")
#: A smaller number without a suffix was probably meant in megabytes, as some programs read it.
_LEAST_PLAIN_RATE: Final = 10_000
_RATE_HINT: Final = "write bytes per second, for example 20M; off; or a timetable such as 08:00,5M 20:00,off"


def parse_duration(text: str) -> float:
    """Parse `30d`, `12h`, `45m`, `90s` or `90` as seconds; raises ValueError with a hint."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a time; write for example 30d, 12h, 45m or 90s")
    return float(match[1]) * _SECONDS[match[2].lower()]


def parse_bytes(text: str) -> int:
    """Parse `16MiB` (binary) or `20M`, `20MB` (decimal) as bytes; raises ValueError with a hint."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a size; write for example 16MiB, 20M or 512K")
    number, unit = Decimal(match[1]), (match[2] or "").lower()
    return int(number * {**_FACTORS, **_BINARY_FACTORS}[unit])


def format_duration(seconds: float) -> str:
    """Format *seconds* for `parse_duration`, in the largest unit that gives a whole number."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:g}s"


def format_bytes(count: float) -> str:
    """Format *count* bytes for people, in decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        text = f"{count:.0f}" if unit == "B" else f"{count:.1f}"
        if abs(float(text)) < 1000:  # rounded as shown: 999,960 bytes are 1.0 MB, not 1000.0 kB
            return f"{text} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def as_clock(seconds: float) -> str:
    """Format *seconds* as `1:02:03` or `2:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def moment(seconds: float) -> str:
    """Format *seconds* since the epoch as `2026-11-22T08:00:00Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class Timetable:
    """The bandwidth limits by time of day: a step is the second of the day and the bytes per second from then on.

    None is no limit; the last step holds past midnight.
    """

    steps: tuple[tuple[float, int | None], ...] = ((0.0, None),)

    def __str__(self) -> str:
        """Return the timetable in the form that `parse_timetable` reads."""
        words = [
            (start, "off" if rate is None else f"{rate}B" if rate < _LEAST_PLAIN_RATE else str(rate))
            for start, rate in self.steps
        ]
        if len(words) == 1:
            return words[0][1]
        return " ".join(f"{start // 3600:02.0f}:{start % 3600 // 60:02.0f},{word}" for start, word in words)

    def bytes_per_second(self, second_of_day: float) -> int | None:
        """Return the limit at *second_of_day*; None if there is none."""
        begun = [rate for start, rate in self.steps if start <= second_of_day]
        return begun[-1] if begun else self.steps[-1][1]


def parse_timetable(text: str) -> Timetable:
    """Parse `20M`, `off` or `08:00,5M 20:00,off` (local time); raises ConfigurationError."""
    words = text.split()
    if len(words) == 1 and "," not in words[0]:
        return Timetable(((0.0, _rate(words[0])),))
    steps: dict[float, int | None] = {}
    for word in words:
        match = _STEP.fullmatch(word)
        if match is None:
            raise ConfigurationError(f"{word!r} is not a step of a bandwidth timetable", hint=_RATE_HINT)
        steps[int(match[1]) * 3600.0 + int(match[2]) * 60.0] = _rate(match[3])
    # Two steps at the same time contradict each other.
    if not steps or len(steps) < len(words):
        raise ConfigurationError(f"{text!r} is not a bandwidth", hint=_RATE_HINT)
    return Timetable(tuple(sorted(steps.items())))


def _rate(word: str) -> int | None:
    if word.lower() == "off":
        return None
    try:
        rate = parse_bytes(word)
    except ValueError:
        rate = 0
    if not rate:
        raise ConfigurationError(f"{word!r} is not a bandwidth", hint=_RATE_HINT)
    if word.strip().isdecimal() and rate < _LEAST_PLAIN_RATE:
        raise ConfigurationError(
            f"{rate} bytes a second; did you mean {word}M?", hint=f"write {word}B if not"
        )
    return rate
