"""What must be true of a fleet after its workers were struck and others went to the end."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from tests.crash.fleet_harness import FleetPlayed, Struck
from tests.crash.fleet_rounds import HARMLESS, HOLD_SECONDS
from tests.crash.judge import JournalFacts, Verdict, verdict

#: Workers look for work once in a second, and a machine may be busy.
TAKEOVER_SECONDS = HOLD_SECONDS + 2.0


def judge_fleet(done: FleetPlayed) -> Verdict:
    """As after the last run of one machine, and what only several hosts can do wrong; how fast is not asked."""
    journal = JournalFacts.of(
        [(entry_id, job_id, delivered) for entry_id, job_id, delivered, _ in done.entries],
        *done.segments,
        [(entry_id, before, after) for entry_id, before, after, _ in done.transitions],
        [*_old_writes(done)],
    )
    found = verdict(done.played, journal, [*_end_problems(done), *_freeze_problems(done)])
    resent_bytes = found.resent_bytes + found.recreated_bytes
    if resent_bytes and had_only_harmless(done):
        problem = f"{resent_bytes} bytes were sent twice, though nothing was killed or frozen"
        return replace(found, problems=(*found.problems, problem))
    return found


def _end_problems(done: FleetPlayed) -> list[str]:
    wanted = "submitted" if done.round.drawn.is_submit_wanted else "confirmed"
    failures = [error for life in done.played.lives for error in life.errors]
    return [
        *(f"{name} exited with {code}" for name, code in done.exit_codes.items() if code != 0),
        *(
            f"{entry_id} is {state}, not {wanted}: {failures}"
            for entry_id, _, _, state in done.entries
            if state != wanted
        ),
    ]


def _old_writes(done: FleetPlayed) -> list[str]:
    """Writes about an entry after another worker's claim, as the server saw them and as they stand in the journal."""
    seen = [
        f"{writer} wrote to {what} of {entry_id}, which another had claimed"
        for entry_id, what, writer in done.old_writes
    ]
    backwards = [
        f"{before[0]} was changed under epoch {after[3]} after {before[3]}"
        for before, after in pairwise(done.transitions)
        if before[0] == after[0] and after[3] < before[3]
    ]
    return seen + backwards


def idle_takeovers(done: FleetPlayed, struck: Struck) -> list[float]:
    """Seconds to the take-overs after a strike that an idle heir was there for.

    Idle is a worker that nothing strikes in the round and that has places for all its entries. Between the strike and
    the take-over nothing else was struck: another worker may take an entry and die of it. And the server was there,
    for a hold before as well: after an outage nothing is taken over for so long.
    """
    touched = {each.pid for each in done.struck if each.pid is not None}
    if not done.round.has_room or len(touched) == done.round.workers:
        return []
    others = [each.at for each in done.struck if each is not struck]
    return [
        seconds
        for seconds in struck.takeovers
        if not any(struck.at <= at <= struck.at + seconds for at in others)
        and all(struck.at + seconds < gone or back + HOLD_SECONDS < struck.at for gone, back in done.outages)
    ]


def late_takeovers(done: FleetPlayed) -> list[str]:
    """Those by an idle heir that took too long."""
    return [
        f"taken over {seconds:.1f} s after {struck.strike}"
        for struck in done.struck
        for seconds in idle_takeovers(done, struck)
        if seconds > TAKEOVER_SECONDS
    ]


def _freeze_problems(done: FleetPlayed) -> list[str]:
    """A worker that stopped itself has sent and written nothing since, though it went on where it was."""
    if done.round.stops_at is None:
        return []
    if done.frozen is None:
        return [f"no worker came to {done.round.stops_at}: draw_freezes lacks what leads to it"]
    return done.frozen.problems


def had_only_harmless(done: FleetPlayed) -> bool:
    """True when no worker was killed or frozen, and the store answered every PUT as it should.

    Where its answers carry no mark, a single file is sent a second time in any run: a portal may have answered.
    """
    world = done.round.drawn.world
    has_marks = world.etag != "absent" or world.request_id == "present"
    is_harmless = all(struck.strike.blow in HARMLESS for struck in done.struck)
    return bool(done.struck) and is_harmless and has_marks and "put" not in done.round.drawn.scripts
