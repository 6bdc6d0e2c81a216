"""What many crash rounds came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.crash.harness import Played
from tests.crash.judge import Verdict
from tests.crash.rounds import KILL_POINTS


@dataclass
class CrashReport:
    """Counts over rounds; `failures` are sentences, each with how to repeat its round."""

    rounds: int = 0
    seconds: float = 0.0
    kills_by_point: Counter[str] = field(default_factory=Counter)
    kills_by_time: int = 0
    stories: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    worlds: set[str] = field(default_factory=set)
    orphans: int = 0
    batch_bytes: int = 0
    resent_bytes: int = 0
    allowed_bytes: int = 0
    recreated_bytes: int = 0
    failures: list[str] = field(default_factory=list)

    def add(self, played: Played, verdict: Verdict) -> None:
        """Take one round into account."""
        self.rounds += 1
        self.stories[played.round.story] += 1
        self.faults.update(played.faults)
        self.worlds.add(str(played.round.world))
        self.orphans += verdict.orphans
        for life in played.lives:
            if life.is_killed and life.kill is not None:
                self._count_kill(life.kill.point)
        self.batch_bytes += verdict.batch_bytes
        self.resent_bytes += verdict.resent_bytes
        self.allowed_bytes += verdict.allowed_bytes
        self.recreated_bytes += verdict.recreated_bytes
        if verdict.problems:
            self.failures.append(_failure(played, verdict))

    def _count_kill(self, point: str | None) -> None:
        if point is None:
            self.kills_by_time += 1
        else:
            self.kills_by_point[point] += 1

    @property
    def missed_points(self) -> list[str]:
        """The points no run died at."""
        return [point for point in KILL_POINTS if not self.kills_by_point[point]]

    def lines(self) -> Iterator[str]:
        """The report for people."""
        kills = self.kills_by_point.total() + self.kills_by_time
        yield f"rounds             {self.rounds}"
        yield f"kills              {kills}, {self.kills_by_time} of them at random times"
        yield f"worlds             {len(self.worlds)}"
        yield f"seconds            {self.seconds:.0f}"
        yield f"bytes in batches   {self.batch_bytes:,}"
        yield f"bytes sent twice   {self.resent_bytes:,} of {self.allowed_bytes:,} that were in flight at the kills"
        yield f"bytes of jobs created again {self.recreated_bytes:,}"
        yield f"orphans that nothing proves ours, named in warnings {self.orphans}"
        yield f"rounds failed      {len(self.failures)}"
        yield from _table("what else went on", self.stories)
        yield from _table("faults", self.faults)
        yield from _table(
            "kills by point", Counter({point: self.kills_by_point[point] for point in KILL_POINTS})
        )
        yield f"points never hit: {', '.join(self.missed_points) or 'none'}"
        yield from self.failures


def round_line(played: Played, verdict: Verdict) -> str:
    """One line: what the round was, in which world, and how it ended."""
    drawn = played.round
    kills = ", ".join(map(str, drawn.kills))
    outcome = f"{len(verdict.problems)} problems" if verdict.problems else "right"
    return f"round {drawn.number}: {outcome}; {drawn.story}; world: {drawn.world or 'the defaults'}; kills: {kills}"


def _table(title: str, counts: Counter[str]) -> Iterator[str]:
    yield f"{title}:"
    yield from (f"  {count:5}  {name}" for name, count in counts.items())


def _failure(played: Played, verdict: Verdict) -> str:
    drawn = played.round
    kills = ", ".join(map(str, drawn.kills))
    problems = "\n    ".join(verdict.problems)
    return (
        f"FAILED: scripts/crash --seed {drawn.seed} --first {drawn.number} --rounds 1 --keep repeats it\n"
        f"    story: {drawn.story}; world: {drawn.world or 'the defaults'}; kills: {kills}\n    {problems}"
    )
