"""What must be true of a fleet after its workers were struck and others went to the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from tests.crash.fleet_harness import Arrival, Cut, FleetPlayed, Struck, name_of
from tests.crash.fleet_rounds import HARMLESS, HOLD_SECONDS
from tests.crash.judge import JournalFacts, Verdict, verdict
from tests.crash.network import Link

#: Workers look for work once in a second, and a machine may be busy.
TAKEOVER_SECONDS = HOLD_SECONDS + 2.0
#: What a busy machine takes to deliver what is under way.
_SEND_SECONDS = 0.5


def judge_fleet(done: FleetPlayed) -> Verdict:
    """As after the last run of one machine, and what only several hosts can do wrong; how fast is not asked."""
    journal = JournalFacts.of(
        [(entry_id, job_id, delivered) for entry_id, job_id, delivered, _ in done.entries],
        *done.segments,
        [(entry_id, before, after) for entry_id, before, after, _ in done.transitions],
        [*_old_writes(done)],
    )
    problems = [*_end_problems(done), *_freeze_problems(done), *late_sends(done), *sends_for_others(done)]
    found = verdict(done.played, journal, problems)
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
    # Without a link to it for any host, the server is as good as away.
    away = {(cut.gone_at, cut.back_at) for cut in done.cuts if cut.is_of_all and Link.DATABASE in cut.links}
    if not done.round.has_room or len(touched) == done.round.workers:
        return []
    others = [each.at for each in done.struck if each is not struck]
    return [
        seconds
        for seconds in struck.takeovers
        if not any(struck.at <= at <= struck.at + seconds for at in others)
        and all(
            struck.at + seconds < gone or back + HOLD_SECONDS < struck.at
            for gone, back in (*done.outages, *away)
        )
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


def last_sends(done: FleetPlayed) -> list[float]:
    """How long after each cut from PostgreSQL its host sent the last thing, where service and store were there."""
    sent = [[arrival.at - cut.gone_at for arrival in _sent_in(done, cut)] for cut in _fenced(done)]
    return [max(each) for each in sent if each]


def late_sends(done: FleetPlayed) -> list[str]:
    """A host that is cut off from PostgreSQL stops by itself before others may take over."""
    return [
        f"{arrival.what} was sent {arrival.at - cut.gone_at:.1f} s after worker {cut.worker} was cut from PostgreSQL"
        for cut in _fenced(done)
        for arrival in _sent_in(done, cut)
        if arrival.at > cut.gone_at + HOLD_SECONDS
    ]


def _fenced(done: FleetPlayed) -> list[Cut]:
    return [cut for cut in done.cuts if cut.links == (Link.DATABASE,)]


def _sent_in(done: FleetPlayed, cut: Cut) -> list[Arrival]:
    return [
        each
        for each in done.arrived
        if each.worker == cut.worker
        and cut.gone_at < each.at < cut.back_at
        and not _is_delayed(done, each, cut.gone_at)
    ]


def _is_delayed(done: FleetPlayed, arrival: Arrival, moment: float) -> bool:
    """Whether it was begun by *moment*, and under way while its host's link to the service was away.

    What TCP was given meanwhile, it sends again when the link is back: after at most as long again as it has tried.
    """
    return arrival.begun_at <= moment and any(
        cut.worker == arrival.worker
        and Link.SERVICE in cut.links
        and arrival.begun_at < cut.back_at < arrival.at <= 2 * cut.back_at - cut.gone_at + _SEND_SECONDS
        for cut in done.cuts
    )


def delayed_sends(done: FleetPlayed) -> list[Arrival]:
    """What arrived for an entry after another worker had claimed it, and was under way since before."""
    return [
        arrival for arrival, claimed_at in _sent_for_others(done) if _is_delayed(done, arrival, claimed_at)
    ]


def sends_for_others(done: FleetPlayed) -> list[str]:
    """Nothing is sent for an entry that another worker has; what was under way before counts for itself."""
    delayed = delayed_sends(done)
    return [
        f"worker {arrival.worker} sent {arrival.what} for {arrival.about} "
        f"{arrival.at - claimed_at:.2f} s after another had claimed it"
        for arrival, claimed_at in _sent_for_others(done)
        if arrival not in delayed
    ]


def _sent_for_others(done: FleetPlayed) -> Iterator[tuple[Arrival, float]]:
    """What arrived from a host for an entry that another's worker had, and since when that had it."""
    of_names = {entry.name: entry.entry_id for entry in done.round.drawn.entries}
    entries = of_names | {job["job_id"]: of_names[job["name"]] for job in done.played.jobs}
    ours = {job_id for _, job_id, _, _ in done.entries}
    for arrival in done.arrived:
        entry_id = entries.get(arrival.about)
        claims = [each for each in done.claims if each[0] == entry_id and each[2] < arrival.at]
        # Who learns that its create came too late deletes that job, which nobody else knows.
        is_clearing = arrival.what.startswith("DELETE ") and arrival.about not in ours
        if claims and not is_clearing:
            _, holder, at = claims[-1]
            if name_of(done.pids[arrival.worker]).strip("%") not in holder:
                yield arrival, at


def had_only_harmless(done: FleetPlayed) -> bool:
    """True when no worker was killed or frozen, and the store answered every PUT as it should.

    Where its answers carry no mark, a single file is sent a second time in any run: a portal may have answered.
    """
    world = done.round.drawn.world
    has_marks = world.etag != "absent" or world.request_id == "present"
    is_harmless = all(struck.strike.blow in HARMLESS for struck in done.struck)
    return bool(done.struck) and is_harmless and has_marks and "put" not in done.round.drawn.scripts
