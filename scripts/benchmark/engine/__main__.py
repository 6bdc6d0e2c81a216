"""`scripts/bench-engine`: measure what the program costs beyond the bytes, and write it down."""

from __future__ import annotations

from benchmark.engine import beginning, entries, limit, parts, scale
from benchmark.suite import Suite

SUITE = Suite(
    name="engine",
    description=__doc__,
    title="What it costs beyond the bytes",
    preamble=(
        "median and range. CPU is user and system time of the client alone, its start included",
        "where nothing else is said; peak is the largest of all rounds.",
    ),
    measurements={
        "entries": entries.measure,
        "scale": scale.measure,
        "parts": parts.measure,
        "beginning": beginning.measure,
        "limit": limit.measure,
    },
)

if __name__ == "__main__":
    SUITE.main()
