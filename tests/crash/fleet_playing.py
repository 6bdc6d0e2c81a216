"""Rounds of fleets side by side, and what they came to."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from tests.crash.fleet_harness import FleetHarness, FleetPlayed, Site
from tests.crash.fleet_judge import (
    delayed_sends,
    had_only_harmless,
    idle_takeovers,
    judge_fleet,
    last_sends,
    late_takeovers,
)
from tests.crash.fleet_rounds import HOLD_SECONDS, Blow, FleetRound
from tests.crash.judge import Verdict
from tests.crash.network import DATABASE_PORT, Link, Network, within
from tests.postgres import OwnServer, listening, own_server


@dataclass
class FleetReport:
    """Counts over rounds; `failures` are sentences, each with how to repeat its round."""

    rounds: int = 0
    blows: Counter[Blow] = field(default_factory=Counter)
    entries_held: Counter[Blow] = field(default_factory=Counter)
    takeovers: dict[Blow, list[float]] = field(default_factory=dict)
    unhindered: dict[Blow, list[float]] = field(default_factory=dict)
    """Take-overs that an idle heir was there for."""
    outages: list[float] = field(default_factory=list)
    cuts: list[float] = field(default_factory=list)
    last_sends: list[float] = field(default_factory=list)
    """Seconds from cuts from PostgreSQL to what their hosts sent last."""
    arrived: int = 0
    delayed: int = 0
    worlds: set[str] = field(default_factory=set)
    faults: Counter[str] = field(default_factory=Counter)
    orphans: int = 0
    batch_bytes: int = 0
    resent: Counter[str] = field(default_factory=Counter)
    allowed_bytes: int = 0
    recreated_bytes: int = 0
    recreated_rounds: int = 0
    freezes: int = 0
    """Workers that stopped themselves, and were woken when others had ended all entries."""
    harmless_rounds: int = 0
    harmless_blows: Counter[Blow] = field(default_factory=Counter)
    resent_in_harmless: int = 0
    failures: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    """Take-overs that took too long; a busy machine can make them."""

    def add(self, done: FleetPlayed, verdict: Verdict) -> None:
        """Take one round into account."""
        self.rounds += 1
        self.worlds.add(str(done.round.drawn.world))
        self.faults.update(done.played.faults)
        self.outages += [back - gone for gone, back in done.outages]
        self._add_strikes(done)
        self.cuts += [cut.back_at - cut.gone_at for cut in done.cuts]
        self.last_sends += last_sends(done)
        self.arrived += len(done.arrived)
        self.delayed += len(delayed_sends(done))
        self.freezes += done.frozen is not None
        self.orphans += verdict.orphans
        self.batch_bytes += verdict.batch_bytes
        self.resent.update(verdict.resent)
        self.allowed_bytes += verdict.allowed_bytes
        self.recreated_bytes += verdict.recreated_bytes
        self.recreated_rounds += verdict.recreated_bytes > 0
        if had_only_harmless(done):
            self.harmless_rounds += 1
            self.harmless_blows.update(struck.strike.blow for struck in done.struck)
            self.resent_in_harmless += verdict.resent_bytes + verdict.recreated_bytes
        if verdict.problems:
            self.failures.append(_failure(done, verdict.problems))
        if late := late_takeovers(done):
            self.late.append(_failure(done, late))

    def _add_strikes(self, done: FleetPlayed) -> None:
        for struck in done.struck:
            blow = struck.strike.blow
            self.blows[blow] += 1
            self.entries_held[blow] += len(struck.held)
            self.takeovers.setdefault(blow, []).extend(struck.takeovers)
            self.unhindered.setdefault(blow, []).extend(idle_takeovers(done, struck))

    def lines(self) -> Iterator[str]:
        """The report for people."""
        yield f"rounds             {self.rounds}"
        yield f"worlds             {len(self.worlds)}"
        yield f"faults             {self.faults.total()} of {len(self.faults)} kinds"
        yield f"bytes in batches   {self.batch_bytes:,}"
        yield f"bytes in flight at the strikes {self.allowed_bytes:,}"
        yield f"bytes stored twice {self.resent.total():,}"
        yield from (f"  {count:12,}  {cause}" for cause, count in self.resent.items() if count)
        yield f"bytes of jobs created again {self.recreated_bytes:,}, in {self.recreated_rounds} rounds"
        harmless = ", ".join(f"{count} {blow}" for blow, count in self.harmless_blows.items())
        yield f"rounds in which nothing may be stored twice {self.harmless_rounds} ({harmless})"
        yield f"bytes stored twice in them {self.resent_in_harmless:,}"
        yield f"orphans that nothing proves ours, named in warnings {self.orphans}"
        yield f"workers that stopped themselves and were woken after the end {self.freezes}"
        yield f"server away        {_spread(self.outages)}"
        if self.cuts:
            yield f"links away         {_spread(self.cuts)}"
            yield f"requests that hosts sent {self.arrived}"
            yield f"the last of them after cuts from PostgreSQL {_spread(self.last_sends)}"
            yield f"requests under way while links were away, for entries that others had then {self.delayed}"
        yield f"strikes, with the entries held, and seconds to take-overs (hold {HOLD_SECONDS:g} s):"
        for blow in Blow:
            seconds, unhindered = self.takeovers.get(blow), self.unhindered.get(blow)
            taken = f"; taken over {_spread(seconds)}" if seconds else ""
            by_idle = f"; of them with an idle heir {_spread(unhindered)}" if unhindered else ""
            yield f"  {self.blows[blow]:5}  {blow}: {self.entries_held[blow]} entries{taken}{by_idle}"
        yield f"take-overs with an idle heir {_spread([each for some in self.unhindered.values() for each in some])}"
        yield f"rounds with take-overs that took too long {len(self.late)}"
        yield from self.late
        yield f"rounds failed      {len(self.failures)}"
        yield from self.failures


def _spread(seconds: Sequence[float]) -> str:
    if not seconds:
        return "0"
    least, median, most = min(seconds), statistics.median(seconds), max(seconds)
    return f"{len(seconds)}: min {least:.1f}, median {median:.1f}, max {most:.1f} s"


@contextmanager
def _networked(folder: Path, hosts: int) -> Iterator[tuple[str, Site]]:
    """Hosts of their own and a database in *folder*, with its URL for this process."""
    with Network.of(hosts) as network, ExitStack() as stack:
        with within(network.servers):
            rules = "host all all all trust"
            server = listening(folder, Link.DATABASE.server, port=DATABASE_PORT, rules=rules)
            url = stack.enter_context(server)
        # Files are in no network: through its socket the server is reached from anywhere on this machine.
        yield f"postgresql://postgres@/postgres?host={quote(str(folder))}", Site(network, url)


def play_fleets(
    folder: Path,
    rounds: Sequence[FleetRound],
    postgres: str | None = None,
    *,
    at_once: int,
    is_kept: bool = False,
    on_round: Callable[[str], None] = lambda _: None,
) -> FleetReport:
    """Play and judge *rounds*; files of those that went well are dropped unless *is_kept*.

    *on_round* gets one line about each, from any thread. Rounds in which the server is struck need one of their own,
    which those that are played at once have each; the others may share *postgres*, the URL of a database. Either all
    have hosts of their own or none has.
    """
    report = FleetReport()
    #: The next one for whichever of the threads is free.
    remaining = iter([*rounds])
    # Not in the folder, into which the servers' user may not be let.
    servers = Path(tempfile.gettempdir()) / f"crash-postgres-{uuid.uuid4().hex[:8]}"

    def work(place: int) -> None:
        own = folder / f"fleet-{place}"
        own.mkdir(parents=True)
        with ExitStack() as stack:
            database, site = servers.with_name(f"{servers.name}-{place}"), None
            server: OwnServer | str
            if rounds[0].is_networked:
                server, site = stack.enter_context(_networked(database, rounds[0].workers))
            else:
                server = postgres or stack.enter_context(own_server(database))
            harness = FleetHarness(own, server, site)
            stack.callback(harness.close)
            for fleet in remaining:
                done = harness.play(fleet)
                verdict = judge_fleet(done)
                report.add(done, verdict)
                on_round(_failure(done, verdict.problems) if verdict.problems else _round_line(done))
                if not (is_kept or verdict.problems):
                    shutil.rmtree(done.played.folder)

    with ThreadPoolExecutor(at_once) as pool:
        for future in [pool.submit(work, place) for place in range(at_once)]:
            future.result()
    return report


def _round_line(done: FleetPlayed) -> str:
    """One line: what the round was, in which world, and what met whom."""
    drawn = done.round.drawn
    struck = f"stopped itself at {done.round.stops_at}" if done.frozen else "no strike"
    strikes = "; ".join(
        f"{each.strike}, which had {len(each.held)}"
        + (f", taken over after {', '.join(f'{s:.1f}' for s in each.takeovers)} s" if each.takeovers else "")
        for each in done.struck
    )
    return f"round {drawn.number}: {drawn.story}; world: {drawn.world or 'the defaults'}; {strikes or struck}"


def _failure(done: FleetPlayed, problems: Sequence[str]) -> str:
    drawn = done.round.drawn
    kind = "--freezes" if done.round.stops_at else f"--workers {done.round.workers}"
    if done.round.is_networked:
        kind += " --network"
    repeat = f"{kind} --seed {drawn.seed} --first {drawn.number} --rounds 1 --keep"
    listed = "\n    ".join(problems)
    return f"FAILED: scripts/crash --fleet {repeat} repeats it\n    {_round_line(done)}\n    {listed}"
