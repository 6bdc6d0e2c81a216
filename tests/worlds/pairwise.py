"""Rounds over a set of worlds in which every two values of any two dimensions meet."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from allpairspy import AllPairs

from orchestrator.engine.events import Point
from orchestrator.simulator import DIMENSIONS
from tests.crash.rounds import EntryDraw, Kill, Round, Story

#: What meets the world: whether jobs are submitted, whether the URLs expire after the kill, whether another journal
#: works on the same batch, and where the kill strikes.
SURROUNDINGS: Mapping[str, tuple[str, ...]] = {
    "submit": ("yes", "no"),
    "expired": ("no", "yes"),
    "twins": ("no", "yes"),
    "killed": (
        Point.CREATE.after,
        Point.WRITE_JOB.before,
        Point.PUT.after,
        Point.WRITE_RECEIPT.after,
        Point.CONFIRM.after,
        Point.CONFIRM_ACTION.after,
        Point.WRITE_CONFIRMED.before,
    ),
}
SINGLE_KINDS = (
    "audio",
    "cover",
    "id_card_image1",
    "id_card_image2",
    "grant_file",
    "pre_beauty_image",
    "post_beauty_image",
)
_PUT_FAULTS = (
    "lost-answer",
    "truncated-answer",
    "intercepted",
    "intercepted",
    "intercepted",
    "slow-down",
    "reset",
)
_PUTS = 30
SEED = 18


def pairwise() -> list[dict[str, str]]:
    """Every world of the set, with what meets it."""
    dimensions = {**DIMENSIONS, **SURROUNDINGS}
    rows = AllPairs([[*values] for values in dimensions.values()])
    return [dict(zip(dimensions, row, strict=True)) for row in rows]


def round_in(number: int, row: Mapping[str, str]) -> Round:
    """A batch of two avatars with files of all nine kinds, in that world, on a bad day with one kill."""
    draw = Random(f"{SEED}/{number}")
    return Round(
        seed=SEED,
        number=number,
        story=Story.EXPIRED if row["expired"] == "yes" else Story.FAULTS,
        entries=tuple(
            EntryDraw(
                f"avatar-{place}",
                draw.randint(250_000, 400_000),
                draw.randint(150_000, 250_000),
                SINGLE_KINDS,
            )
            for place in range(2)
        ),
        is_submit_wanted=row["submit"] == "yes",
        is_submitted_later=row["submit"] == "no",
        options={
            "world": ",".join(f"{name}={row[name]}" for name in DIMENSIONS),
            "seed": number,
        },
        kills=(_kill(draw, row),),
        scripts=_scripts(draw),
        has_twins=row["twins"] == "yes",
    )


def _kill(draw: Random, row: Mapping[str, str]) -> Kill:
    is_often_come_to = row["killed"] in {Point.PUT.after, Point.WRITE_RECEIPT.after}
    return Kill(row["killed"], draw.randint(2, 15) if is_often_come_to else draw.randint(1, 2))


def _scripts(draw: Random) -> dict[str, list[str | None]]:
    return {
        "create": draw.sample(["lost-create", None, None], 3),
        "confirm": draw.sample(["lost-confirm", None], 2),
        "confirm-action": draw.sample(["lost-confirm", None], 2),
        "submit": draw.sample(["lost-submit", None], 2),
        "put": [draw.choice(_PUT_FAULTS) if draw.random() < 0.3 else None for _ in range(_PUTS)],
    }
