"""Rounds of fleets side by side, and what they came to."""

from __future__ import annotations

import shutil
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.fleet_harness import FleetHarness, FleetPlayed
from tests.crash.fleet_judge import had_only_stops, judge_fleet
from tests.crash.fleet_rounds import HOLD_SECONDS, Blow, FleetRound
from tests.crash.judge import Verdict


@dataclass
class FleetReport:
    """Counts over rounds; `failures` are sentences, each with how to repeat its round."""

    rounds: int = 0
    blows: Counter[Blow] = field(default_factory=Counter)
    entries_held: Counter[Blow] = field(default_factory=Counter)
    takeovers: dict[Blow, list[float]] = field(default_factory=dict)
    unhindered: list[float] = field(default_factory=list)
    """Take-overs for which another worker had a place, and was not struck itself."""
    worlds: set[str] = field(default_factory=set)
    faults: Counter[str] = field(default_factory=Counter)
    orphans: int = 0
    batch_bytes: int = 0
    resent_bytes: int = 0
    allowed_bytes: int = 0
    recreated_bytes: int = 0
    freezes: int = 0
    """Workers that stopped themselves, and were woken when others had ended all entries."""
    stop_rounds: int = 0
    resent_after_stops: int = 0
    failures: list[str] = field(default_factory=list)

    def add(self, done: FleetPlayed, verdict: Verdict) -> None:
        """Take one round into account."""
        self.rounds += 1
        self.worlds.add(str(done.round.drawn.world))
        self.faults.update(done.played.faults)
        for struck in done.struck:
            blow = struck.strike.blow
            self.blows[blow] += 1
            self.entries_held[blow] += len(struck.rows)
            self.takeovers.setdefault(blow, []).extend(struck.takeovers)
            if struck.had_heir:
                self.unhindered += struck.takeovers
        self.freezes += done.frozen is not None
        self.orphans += verdict.orphans
        self.batch_bytes += verdict.batch_bytes
        self.resent_bytes += verdict.resent_bytes
        self.allowed_bytes += verdict.allowed_bytes
        self.recreated_bytes += verdict.recreated_bytes
        if had_only_stops(done):
            self.stop_rounds += 1
            self.resent_after_stops += verdict.resent_bytes
        if verdict.problems:
            self.failures.append(_failure(done, verdict))

    def lines(self) -> Iterator[str]:
        """The report for people."""
        yield f"rounds             {self.rounds}"
        yield f"worlds             {len(self.worlds)}"
        yield f"faults             {self.faults.total()} of {len(self.faults)} kinds"
        yield f"bytes in batches   {self.batch_bytes:,}"
        yield f"bytes sent twice   {self.resent_bytes:,} of {self.allowed_bytes:,} that were in flight at the strikes"
        yield f"bytes of jobs created again {self.recreated_bytes:,}"
        twice = f"bytes sent twice in them {self.resent_after_stops:,}"
        yield f"rounds with SIGTERM and no fault of the store {self.stop_rounds}, {twice}"
        yield f"orphans that nothing proves ours, named in warnings {self.orphans}"
        yield f"workers that stopped themselves and were woken after the end {self.freezes}"
        yield f"rounds failed      {len(self.failures)}"
        yield f"strikes, with the entries of the workers, and seconds to take-overs (hold {HOLD_SECONDS:g} s):"
        for blow in Blow:
            seconds = self.takeovers.get(blow)
            times = f"; median {statistics.median(seconds):.1f}, most {max(seconds):.1f}" if seconds else ""
            taken = f", {len(seconds)} taken over" if seconds else ""
            yield f"  {self.blows[blow]:5}  {blow}: {self.entries_held[blow]} entries{taken}{times}"
        most = max(self.unhindered, default=0.0)
        yield f"take-overs by workers with free places {len(self.unhindered)}, most {most:.1f} s"
        yield from self.failures


def play_fleets(
    folder: Path,
    rounds: Sequence[FleetRound],
    postgres: str,
    *,
    at_once: int,
    is_kept: bool = False,
    on_round: Callable[[str], None] = lambda _: None,
) -> FleetReport:
    """Play and judge *rounds* with the database at *postgres*; files of those that went well go unless *is_kept*.

    *on_round* hears one line about each, from any thread.
    """
    report = FleetReport()

    def work(place: int) -> None:
        own = folder / f"fleet-{place}"
        own.mkdir(parents=True)
        harness = FleetHarness(own, postgres)
        try:
            for fleet in rounds[place::at_once]:
                done = harness.play(fleet)
                verdict = judge_fleet(done)
                report.add(done, verdict)
                on_round(_failure(done, verdict) if verdict.problems else _round_line(done, verdict))
                if not (is_kept or verdict.problems):
                    shutil.rmtree(done.played.folder)
        finally:
            harness.close()

    with ThreadPoolExecutor(at_once) as pool:
        for future in [pool.submit(work, place) for place in range(at_once)]:
            future.result()
    return report


def _round_line(done: FleetPlayed, verdict: Verdict) -> str:
    """One line: what the round was, in which world, and how it ended."""
    drawn = done.round.drawn
    outcome = f"{len(verdict.problems)} problems" if verdict.problems else "right"
    seconds = [f"{each:.1f}" for struck in done.struck for each in struck.takeovers]
    taken = f"; taken over after {', '.join(seconds)} s" if seconds else ""
    struck = ", ".join(str(each.strike) for each in done.struck) or "no strike"
    if done.frozen is not None:
        struck = f"stopped itself at {done.round.stops_at}"
    return f"round {drawn.number}: {outcome}; {drawn.story}; world: {drawn.world or 'the defaults'}; {struck}{taken}"


def _failure(done: FleetPlayed, verdict: Verdict) -> str:
    drawn = done.round.drawn
    problems = "\n    ".join(verdict.problems)
    kind = "--freezes" if done.round.stops_at else f"--workers {done.round.workers}"
    repeat = f"{kind} --seed {drawn.seed} --first {drawn.number} --rounds 1 --keep"
    return (
        f"FAILED: scripts/crash --fleet {repeat} repeats it\n    {_round_line(done, verdict)}\n    {problems}"
    )
