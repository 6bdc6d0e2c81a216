"""Sizes, rates and times as people write and read them: 16MiB, 20M, 512K, 30d, 90s, 1:02:03."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal

_FACTORS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_BINARY_FACTORS = {"ki": 1024, "mi": 1024**2, "gi": 1024**3, "ti": 1024**4}
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\s*", re.IGNORECASE)
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([smhdw]?)\s*", re.IGNORECASE)


def parse_duration(text: str) -> float:
    """Read `30d`, `12h`, `45m`, `90s` or `90` as seconds; raises ValueError with a hint."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a time; write for example 30d, 12h, 45m or 90s")
    return float(match[1]) * _SECONDS[match[2].lower()]


def parse_bytes(text: str) -> int:
    """Read `16MiB` (binary) or `20M`, `20MB` (decimal) as bytes; raises ValueError with a hint."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a size; write for example 16MiB, 20M or 512K")
    number, unit = Decimal(match[1]), (match[2] or "").lower()
    return int(number * {**_FACTORS, **_BINARY_FACTORS}[unit])


def format_duration(seconds: float) -> str:
    """Write *seconds* as `parse_duration` reads them, in the largest unit that makes a whole number."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:g}s"


def format_bytes(count: float) -> str:
    """Write *count* bytes as people read them, in decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        text = f"{count:.0f}" if unit == "B" else f"{count:.1f}"
        if abs(float(text)) < 1000:  # as shown: 999,960 bytes are 1.0 MB, not 1000.0 kB
            return f"{text} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def as_clock(seconds: float) -> str:
    """Seconds as `1:02:03` or `2:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def moment(seconds: float) -> str:
    """Seconds since the epoch as `2026-11-22T08:00:00Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
