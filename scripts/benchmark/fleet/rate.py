"""How well workers keep the one rate of calls they have together."""

from __future__ import annotations

import bisect
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from benchmark.engine.entries import KINDS, write_avatars
from benchmark.fleet.rig import Rig, rigged
from benchmark.measuring import FailedRunError
from benchmark.suite import Bench, Finding, say, write_manifest

_SETTLE_SECONDS = 5.0
#: What an entry of six files asks of the service, at least.
_WRITES, _READS = 6, 1
_WORKERS, _JOBS = 3, 8


@dataclass(frozen=True)
class Case:
    """A rate of which one kind of call binds."""

    name: str
    writes_per_second: float
    reads_per_second: float

    @property
    def binding(self) -> float:
        """Calls per second of the kind that binds."""
        return self.writes_per_second if self.name == "writes" else self.reads_per_second

    @property
    def entries_per_second(self) -> float:
        """As many as the rate allows."""
        return min(self.writes_per_second / _WRITES, self.reads_per_second / _READS)


@dataclass(frozen=True)
class Kept:
    """The calls of the kind that binds, in the window of one round."""

    moments: Sequence[float]
    seconds: float

    @property
    def per_second(self) -> float:
        """The mean."""
        return len(self.moments) / self.seconds

    @property
    def most(self) -> int:
        """The largest number of calls in any second, wherever it begins."""
        ends = (bisect.bisect_left(self.moments, moment + 1.0) for moment in self.moments)
        return max(end - start for start, end in enumerate(ends))


def measure(bench: Bench) -> Finding:
    """Three workers of which each alone would use the rate up."""
    seconds = 2.0 if bench.is_quick else 30.0
    cases = bench.chosen((Case("writes", 20, 100), Case("reads", 100, 5)))
    folder = bench.folder("rate")
    wanted = int(max(case.entries_per_second for case in cases) * (seconds + 2 * _SETTLE_SECONDS))
    # Beside those in progress at the end.
    avatars = write_avatars(folder, KINDS, wanted + 2 * _WORKERS * _JOBS)
    manifest = write_manifest(folder / "batch.yaml", avatars)
    with rigged(bench) as rig:
        kept = {case: [_kept(rig, manifest, case, seconds) for _ in range(bench.rounds)] for case in cases}
    return Finding(
        title="One rate of calls for all workers",
        target="`--api-rate` kept within 5 %",
        how=f"{_WORKERS} workers with `--jobs {_JOBS}`, as the service counts their calls in {seconds:g} s, from"
        f" {_SETTLE_SECONDS:g} s after the first on. Each alone would use the rate up. The largest number in a"
        " second is that of any second, wherever it begins.",
        columns=("what binds", "rate", "calls/s", "off %", "most in any second"),
        rows=[_row(case, found) for case, found in kept.items()],
        figures={case.name: [_figures(round_) for round_ in found] for case, found in kept.items()},
    )


def _kept(rig: Rig, manifest: Any, case: Case, seconds: float) -> Kept:
    rate = f"{case.writes_per_second:g}:{case.reads_per_second:g}"
    calls = rig.calls.writes if case.name == "writes" else rig.calls.reads
    with rig.fleet() as fleet, ExitStack() as stack:
        workers = [stack.enter_context(fleet.worker(jobs=_JOBS, api_rate=rate)) for _ in range(_WORKERS)]
        fleet.enqueue(manifest)
        known = len(calls)
        deadline = time.monotonic() + _SETTLE_SECONDS + seconds + 60
        while len(calls) == known or time.monotonic() < calls[known] + _SETTLE_SECONDS + seconds:
            for worker in workers:
                worker.require_alive()
            if time.monotonic() > deadline:
                raise FailedRunError("the workers made no call")
            time.sleep(0.1)
        if not fleet.ask("SELECT 1 FROM pgqueuer WHERE status = 'queued' LIMIT 1"):
            raise FailedRunError("the batch was too small for the window")
        since = calls[known] + _SETTLE_SECONDS
        moments = sorted(moment for moment in calls[known:] if since <= moment < since + seconds)
    kept = Kept(moments, seconds)
    say(f"{case.name} at {rate}: {kept.per_second:.2f}/s, at most {kept.most} in a second")
    return kept


def _figures(kept: Kept) -> dict[str, float]:
    return {"calls_per_second": kept.per_second, "most_in_a_second": kept.most}


def _row(case: Case, found: Sequence[Kept]) -> list[str]:
    means = [kept.per_second for kept in found]
    worst = max((mean / case.binding - 1 for mean in means), key=abs)
    return [
        case.name,
        f"{case.binding:g}",
        f"{min(means):.2f}-{max(means):.2f}",
        f"{worst * 100:+.1f}",
        str(max(kept.most for kept in found)),
    ]
