"""What a round of a fleet is made of, drawn from a seed: a batch, its service, and what strikes which worker when, or
where one stops itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random

from orchestrator.engine.events import Point
from orchestrator.simulator.options import DIMENSIONS, parse_world
from tests.crash.network import Link
from tests.crash.rounds import PART_BYTES, EntryDraw, Round, Story, world_for

#: Shorter than users may set: a round waits for it after each worker that is lost.
HOLD_SECONDS = 2.0


#: All at which something is sent; a point that is added to the engine is one of them.
SENT = tuple(point for point in Point if not point.startswith("journal."))
_LOST = {
    Point.CREATE: ("create", "lost-create"),
    Point.CONFIRM: ("confirm", "lost-confirm"),
    Point.CONFIRM_ACTION: ("confirm-action", "lost-confirm"),
    Point.SUBMIT: ("submit", "lost-submit"),
}


class Blow(StrEnum):
    """What happens to a worker, or to the server that all of them need."""

    KILL = "kill -9"
    FREEZE = "SIGSTOP beyond the hold, then SIGCONT"
    STOP = "SIGTERM"
    CUT = "connections to PostgreSQL cut"
    RESTART = "PostgreSQL stopped and started"
    CRASH = "PostgreSQL crashed and started"
    DATABASE_LINK = "link to PostgreSQL cut"
    SERVICE_LINK = "link to the service cut"
    BOTH_LINKS = "both links cut"
    DATABASE_LINKS = "links to PostgreSQL of all hosts cut"
    SERVICE_LINKS = "links to the service of all hosts cut"


#: Blows of the server, which meet all workers.
OF_THE_SERVER = frozenset({Blow.RESTART, Blow.CRASH})
#: What each blow of the network cuts; there must be one of hosts.
CUTS = {
    Blow.DATABASE_LINK: (Link.DATABASE,),
    Blow.SERVICE_LINK: (Link.SERVICE,),
    Blow.BOTH_LINKS: (Link.DATABASE, Link.SERVICE),
    Blow.DATABASE_LINKS: (Link.DATABASE,),
    Blow.SERVICE_LINKS: (Link.SERVICE,),
}
OF_ALL_HOSTS = frozenset({Blow.DATABASE_LINKS, Blow.SERVICE_LINKS})
#: After these others take over what the worker has.
TAKING = frozenset({Blow.KILL, Blow.FREEZE, Blow.DATABASE_LINK, Blow.BOTH_LINKS})
#: After these nothing at all may be sent twice: no receipt is lost, and no answer of the store.
HARMLESS = frozenset({*Blow} - TAKING - {Blow.SERVICE_LINK, Blow.SERVICE_LINKS})
#: What an entry comes to beside its segments, and what a segment comes to, as trails count it.
_STEPS_OF_ENTRY, _STEPS_OF_SEGMENT = 40, 5


@dataclass(frozen=True)
class Strike:
    """A blow, once the workers have reached so many steps together; server or link are away for so long then."""

    after_steps: int
    blow: Blow
    worker: int | None = None
    """Its number; None for the one that has most entries by then, for the server, or for all."""
    away_seconds: float = 0.0

    def __str__(self) -> str:
        """For the line of the round."""
        if self.blow in OF_THE_SERVER:
            return f"{self.blow} after {self.away_seconds:.1f} s at step {self.after_steps}"
        for_long = f" for {self.away_seconds:.1f} s" if self.blow in CUTS else ""
        if self.blow in OF_ALL_HOSTS:
            return f"{self.blow}{for_long} at step {self.after_steps}"
        whom = "the busiest worker" if self.worker is None else f"worker {self.worker}"
        return f"{self.blow}{for_long} for {whom} at step {self.after_steps}"


@dataclass(frozen=True)
class FleetRound:
    """A batch and its service, as in rounds of one machine, and what its workers suffer."""

    drawn: Round
    workers: int
    jobs: int
    """Entries at once in a worker."""
    strikes: tuple[Strike, ...]
    api_rate: str
    stops_at: str | None = None
    """The moment at which the first worker stops itself, as by SIGSTOP; then nothing else strikes it."""
    is_networked: bool = False
    """Whether each worker is on a host of its own, whose links are cut."""

    @property
    def has_room(self) -> bool:
        """True when a single worker has places for the whole batch, so that a take-over waits for none."""
        return self.jobs >= len(self.drawn.entries)


def draw_fleet_round(seed: int, number: int, workers: int) -> FleetRound:
    """Round *number* of *seed* for so many *workers*."""
    draw = Random(f"fleet:{seed}:{number}")
    fleet = _fleet(draw, seed, number, workers)
    return replace(fleet, strikes=_strikes(draw, workers, _steps_of(fleet)), api_rate=_api_rate(draw))


def draw_network_round(seed: int, number: int, workers: int) -> FleetRound:
    """Round *number* of *seed* for *workers* on hosts of their own: each kind of cut comes in turn, with others.

    No link is away for less than the hold.
    """
    draw = Random(f"network:{seed}:{number}")
    fleet = _fleet(draw, seed, number, workers)
    blows = [[*CUTS][number % len(CUTS)], *draw.choices([*CUTS], k=draw.randint(0, 2))]
    strikes = [
        Strike(
            draw.randint(1, round(0.8 * _steps_of(fleet))),
            blow,
            draw.randrange(workers) if blow not in OF_ALL_HOSTS and draw.random() < 0.3 else None,
            away_seconds=draw.uniform(HOLD_SECONDS + 0.5, 4 * HOLD_SECONDS),
        )
        for blow in blows
    ]
    in_turn = tuple(sorted(strikes, key=lambda strike: strike.after_steps))
    return replace(fleet, strikes=in_turn, api_rate=_api_rate(draw), is_networked=True)


def _fleet(draw: Random, seed: int, number: int, workers: int) -> FleetRound:
    """A round in which nothing is struck yet."""
    story = draw.choice((Story.PLAIN, Story.LOST_CREATE, Story.FAULTS))
    world = parse_world(",".join(f"{name}={draw.choice(values)}" for name, values in DIMENSIONS.items()))
    entries = tuple(_entry(draw, place) for place in range(draw.randint(3, 6)))
    drawn = Round(
        seed=seed,
        number=number,
        story=story,
        entries=entries,
        is_submit_wanted=draw.random() < 0.7,
        options={
            "world": str(world),
            "expired_status": 403,
            "cap_urls": None,
            "seed": draw.randrange(1_000_000),
        },
        kills=(),
        scripts=_scripts(draw, story),
    )
    return FleetRound(drawn, workers, jobs=draw.choice((2, len(entries))), strikes=(), api_rate="unlimited")


def _api_rate(draw: Random) -> str:
    return draw.choice(("unlimited", "40:40"))


def _steps_of(fleet: FleetRound) -> int:
    return sum(map(_steps, fleet.drawn.entries))


def _steps(entry: EntryDraw) -> int:
    films = [entry.training_bytes, entry.action_bytes or 0]
    segments = sum(-(-film // PART_BYTES) for film in films) + len(entry.single_kinds)
    return _STEPS_OF_ENTRY + _STEPS_OF_SEGMENT * segments


def draw_freezes(seed: int) -> tuple[FleetRound, ...]:
    """A round for the moment before, and for that after, each point at which something is sent.

    Its first worker has one entry, with all kinds of files, and comes to the moment in any world drawn for it.
    """
    moments = [(point, moment) for point in SENT for moment in (point.before, point.after)]
    return tuple(_freeze(seed, number, *each) for number, each in enumerate(moments))


def _freeze(seed: int, number: int, point: Point, moment: str) -> FleetRound:
    draw = Random(f"freeze:{seed}:{moment}")
    drawn = Round(
        seed=seed,
        number=number,
        story=Story.LOST_CREATE,
        entries=(
            EntryDraw("avatar-0", 300_000, 200_000, ("cover", "id_card_image1", "grant_file")),
            EntryDraw("avatar-1", 200_000, None, ()),
            EntryDraw("avatar-2", 200_000, None, ("cover",)),
        ),
        is_submit_wanted=True,
        options={
            "world": str(world_for(draw, point)),
            "expired_status": 403,
            "cap_urls": None,
            "seed": draw.randrange(1_000_000),
        },
        kills=(),
        # All the questions are asked that heal lost answers; the step itself is to succeed.
        scripts={operation: [fault] for step, (operation, fault) in _LOST.items() if step is not point},
    )
    return FleetRound(drawn, workers=2, jobs=4, strikes=(), api_rate="unlimited", stops_at=moment)


def _entry(draw: Random, place: int) -> EntryDraw:
    return EntryDraw(
        entry_id=f"avatar-{place}",
        training_bytes=draw.randint(300_000, 700_000),
        action_bytes=draw.randint(200_000, 400_000) if draw.random() < 0.3 else None,
        single_kinds=tuple(kind for kind in ("cover", "id_card_image1", "grant_file") if draw.random() < 0.3),
    )


def _scripts(draw: Random, story: Story) -> dict[str, list[str | None]]:
    if story is Story.PLAIN:
        return {}
    scripts: dict[str, list[str | None]] = {"create": [None] * draw.randint(0, 2) + ["lost-create"]}
    if story is Story.FAULTS:
        faults = ("slow-down", "reset", "error-500", "lost-answer", "close-keepalive")
        scripts["put"] = [draw.choice(faults) if draw.random() < 0.2 else None for _ in range(20)]
        scripts["confirm"] = [draw.choice((None, "lost-confirm", "error-500-api"))]
        scripts["submit"] = [draw.choice((None, "lost-submit"))]
    return scripts


def _strikes(draw: Random, workers: int, steps: int) -> tuple[Strike, ...]:
    # Some rounds have harmless ones only, after which not a byte may be sent twice.
    blows = [blow for blow in Blow if blow not in CUTS]
    if draw.random() < 0.25:
        blows = sorted(HARMLESS.intersection(blows))
    # The server's are two of a kind, and each meets all workers.
    weights = [1.0 if blow in OF_THE_SERVER else 2.0 for blow in blows]
    chosen = draw.choices(blows, weights, k=draw.randint(1, 4))
    moments = [draw.randint(1, round(0.9 * steps)) for _ in chosen]
    # Some strike at the same moment, as where a worker dies while the server is away.
    moments = [draw.choice(moments) if draw.random() < 0.3 else moment for moment in moments]
    strikes = [_strike(draw, blow, workers, moment) for blow, moment in zip(chosen, moments, strict=True)]
    return tuple(sorted(strikes, key=lambda strike: strike.after_steps))


def _strike(draw: Random, blow: Blow, workers: int, after_steps: int) -> Strike:
    if blow in OF_THE_SERVER:
        # As long as a restart takes, or longer than the hold.
        away_seconds = draw.choice((0.0, draw.uniform(0.0, 1.5 * HOLD_SECONDS)))
        return Strike(after_steps, blow, away_seconds=away_seconds)
    return Strike(after_steps, blow, draw.randrange(workers) if draw.random() < 0.3 else None)
