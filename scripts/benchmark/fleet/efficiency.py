"""How much faster several workers are than one."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmark.engine.entries import VIDEOS, write_avatars
from benchmark.fleet.rig import Rig, rigged
from benchmark.report import spread
from benchmark.suite import Bench, Finding, say, write_manifest

_BYTES_PER_SECOND = 10**6
_FLAGS = {"jobs": 2, "bwlimit": str(_BYTES_PER_SECOND), "api_rate": "unlimited"}
_TAKEN = "SELECT max(at) - min(at) FROM transitions"


def measure(bench: Bench) -> Finding:
    """One batch with 1, 2 and 4 workers."""
    entries, video_bytes = (4, 100_000) if bench.is_quick else (128, 750_000)
    counts = (1, 2) if bench.is_quick else (1, 2, 4)
    folder = bench.folder("efficiency")
    avatars = write_avatars(folder, VIDEOS[:1], entries, video_bytes)
    manifest = write_manifest(folder / "batch.yaml", avatars)
    seconds: dict[int, list[float]] = {count: [] for count in counts}
    with rigged(bench) as rig:
        for _, count in itertools.product(range(bench.rounds), counts):
            seconds[count].append(_seconds(rig, manifest, count))
            say(f"{count} workers: {seconds[count][-1]:.1f} s")
    return Finding(
        title="Workers at equal bandwidth",
        target="efficiency at 4 workers at least 95 %",
        how=f"{entries} entries of one film of {video_bytes} bytes; each worker `--bwlimit {_BYTES_PER_SECOND}"
        " --jobs 2`, so that the bandwidth binds and not the CPU. Workers wait when the batch is queued; the time is"
        " from the first entry that one takes to the last that is confirmed, by the journal. Efficiency is the time"
        " of one worker divided by that of n and by n.",
        columns=("workers", "s", "entries/s", "times faster", "efficiency %"),
        rows=_rows(seconds, entries),
        figures={f"{count} workers": found for count, found in seconds.items()},
    )


def _seconds(rig: Rig, manifest: Path, count: int) -> float:
    with rig.fleet() as fleet, ExitStack() as stack:
        workers = [stack.enter_context(fleet.worker(**_FLAGS)) for _ in range(count)]
        fleet.enqueue(manifest)
        fleet.await_end(workers, limit_seconds=600)
        ((seconds,),) = fleet.ask(_TAKEN)
        return float(seconds)


def _rows(seconds: Mapping[int, Sequence[float]], entries: int) -> list[list[str]]:
    alone = median(seconds[1])
    return [
        [
            str(count),
            spread(found, 1),
            f"{entries / median(found):.2f}",
            f"{alone / median(found):.2f}",
            f"**{alone / median(found) / count * 100:.1f}**",
        ]
        for count, found in seconds.items()
    ]
