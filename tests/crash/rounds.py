"""What a crash round is made of, drawn from a seed: the same seed and number give the same round."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Any

from orchestrator.engine.events import Point
from orchestrator.simulator.options import DIMENSIONS, World, parse_world

PART_BYTES = 100 * 1024
LATE_SECONDS = 25 * 3600.0

#: Steps of the lifecycle with a kill point before and after each; the names are the engine's.
STEPS = (
    "journal.claim",
    "journal.creating",
    "create",
    "journal.job",
    "journal.started",
    "put",
    "journal.receipt",
    "journal.uploaded",
    "journal.confirming",
    "journal.joined",
    "journal.confirmed",
    "journal.submitting",
    "journal.submitted",
    "journal.failed",
    "journal.pending",
    "journal.uploading",
    "journal.job_gone",
    "journal.missing",
    "journal.updating",
    "journal.urls",
    "list",
    "list_batch",
    "show",
    "update",
    "delete",
    "get_multipart_uploaded",
    "get_action_video_multipart_uploaded",
    "confirm_action_video_multipart_uploaded",
    "confirm_multipart_uploaded",
    "confirm_authorization_letter",
    "submitverifying",
)
KILL_POINTS = (
    "registered",
    "run.started",
    *(f"{step}.{side}" for step in STEPS for side in ("before", "after")),
    "run.finished",
)


class Story(StrEnum):
    """What else goes on in a round."""

    PLAIN = "plain"
    LOST_CREATE = "the first create's answer is lost"
    FAULTS = "requests fail and answers get lost"
    EXPIRED = "the URLs expire while the machine is down"
    REFUSED = "the store refuses the first PUTs"
    CAPPED = "the service gives too few URLs at first"


#: Steps that only some stories come to.
_STORIES: dict[str, tuple[Story, ...]] = {
    "list": (Story.LOST_CREATE,),
    "update": (Story.LOST_CREATE, Story.EXPIRED),
    "delete": (Story.LOST_CREATE, Story.EXPIRED, Story.CAPPED),
    "journal.job_gone": (Story.LOST_CREATE, Story.EXPIRED, Story.CAPPED),
    "journal.missing": (Story.EXPIRED,),
    "journal.updating": (Story.LOST_CREATE, Story.EXPIRED),
    "journal.urls": (Story.EXPIRED,),
    "journal.failed": (Story.REFUSED, Story.CAPPED),
    "journal.pending": (Story.CAPPED,),
    "journal.uploading": (Story.REFUSED,),
}
_SUBMIT_STEPS = frozenset(
    {"journal.submitting", "journal.submitted", "submitverifying", "confirm_authorization_letter"}
)
_ACTION_STEPS = frozenset(
    {
        "get_action_video_multipart_uploaded",
        "confirm_action_video_multipart_uploaded",
        "journal.joined",
    }
)
#: Steps with which a failed entry is taken up again, so that a run must fail first.
_REVIVAL_STEPS = frozenset({"journal.pending", "journal.uploading"})
#: What of the world a step needs to be come to: orphans are only found by tags that can be seen.
_SEEN_TAGS = {"list-tags": ("shown",)}
_NEEDED_FOR: dict[str, dict[str, tuple[str, ...]]] = {
    "list": _SEEN_TAGS,
    "journal.updating": _SEEN_TAGS,
    "delete": {**_SEEN_TAGS, "update-allowed": ("failed-review", "never")},
    "journal.job_gone": {**_SEEN_TAGS, "update-allowed": ("failed-review", "never")},
    "update": {**_SEEN_TAGS, "update-allowed": ("always",)},
    "journal.urls": {"update-allowed": ("always",)},
    "journal.missing": {"update-allowed": ("always",)},
    "get_action_video_multipart_uploaded": {"action-part-list": ("works", "empty")},
    "confirm_authorization_letter": {"confirm-letter": ("accepted",)},
}
#: So many segments of a batch are stored when its URLs expire: fewer than its smallest film has parts.
_STORED_BEFORE_EXPIRY = 3
_SEGMENT_STEPS = frozenset({"journal.started", "put", "journal.receipt"})
_PUT_FAULTS = (
    "slow-down",
    "reset",
    "error-500",
    "lost-answer",
    "truncated-answer",
    "close-keepalive",
    "conflict-409",
    "too-many-requests",
    "timeout-408",
    "wrong-etag",
    "intercepted",
)
_CALL_FAULTS = {
    "confirm": ("lost-confirm", "false-refusal", "ok-with-error-body", "error-500-api"),
    "confirm-action": ("lost-confirm", "false-refusal", "truncated-json"),
    "submit": ("lost-submit", "false-refusal", "ok-with-error-body", "truncated-json"),
    "list-parts": ("lost-answer-api", "throttle-429", "truncated-json"),
    "show": ("lost-answer-api", "error-500-api", "close-keepalive-api"),
    "update": ("lost-update", "throttle-429"),
    "delete": ("lost-delete", "error-500-api"),
    "list": ("throttle-429-seconds", "reset-api"),
}


@dataclass(frozen=True)
class Kill:
    """Where a run dies: at the n-th occurrence of a point, or after so many seconds."""

    point: str | None = None
    occurrence: int = 1
    after_seconds: float | None = None

    def __str__(self) -> str:
        """For the report of a failed round."""
        return f"{self.point} #{self.occurrence}" if self.point else f"after {self.after_seconds:.3f} s"


#: A run finishes once.
NO_KILL = Kill("run.finished", 2)


@dataclass(frozen=True)
class EntryDraw:
    """One avatar: its id and the sizes of its videos; single files have what their kind has."""

    entry_id: str
    training_bytes: int
    action_bytes: int | None
    single_kinds: tuple[str, ...]

    @property
    def name(self) -> str:
        """The avatar's."""
        return f"Name of {self.entry_id}"


@dataclass(frozen=True)
class Round:
    """One batch, its service, and the deaths of its runs."""

    seed: int
    number: int
    story: Story
    entries: tuple[EntryDraw, ...]
    is_submit_wanted: bool
    options: dict[str, Any]
    kills: tuple[Kill, ...]
    scripts: dict[str, list[str | None]] = field(default_factory=dict)
    is_submitted_later: bool = False
    """A run without submit went to its end, then one with submit follows."""
    has_twins: bool = False
    """Another journal has made jobs for the same entries of the same batch."""

    @property
    def batch_name(self) -> str:
        """The batch's."""
        return f"round-{self.seed}-{self.number}"

    @property
    def world(self) -> World:
        """The service of the round."""
        return parse_world(self.options["world"])

    @property
    def on_existing(self) -> str:
        """What a person said of jobs that exist: they are asked where others' jobs cannot be told from ours."""
        return "create" if self.has_twins or self.world.list_tags == "hidden" else "ask"

    @property
    def is_expired(self) -> bool:
        """True when the URLs expire after the first kill."""
        return self.story is Story.EXPIRED

    @property
    def may_send_again(self) -> bool:
        """True when nothing but a new job, or the same bytes again, can heal what may happen here."""
        kinds = ["training_video", *(["action_video"] if any(e.action_bytes for e in self.entries) else [])]
        is_unknown = self.world.put_again == "refused" and not all(tells(self.world, kind) for kind in kinds)
        is_spoilt = "wrong-etag" in self.scripts.get("put", ())
        return self.story in {Story.EXPIRED, Story.REFUSED, Story.CAPPED} or is_unknown or is_spoilt


def tells(world: World, kind: str) -> bool:
    """True when this service says, of a file of *kind* whose answer was lost, whether it holds its very bytes."""
    if world.etag == "opaque":
        return False
    if kind == "training_video":
        return True
    return world.action_part_list == "works" if kind == "action_video" else world.download_urls == "joined"


def draw_round(seed: int, number: int, *, is_timed: bool = False) -> Round:
    """Round *number* of *seed*; *is_timed* adds a death at a random time."""
    draw = Random(f"{seed}:{number}")
    target = _target(seed, number)
    step = target.rpartition(".")[0] if target.endswith((".before", ".after")) else target
    story = draw.choice(_STORIES.get(step, (Story.PLAIN, Story.FAULTS, Story.FAULTS, Story.LOST_CREATE)))
    entries = _entries(draw, step, story)
    is_submit_wanted = step in _SUBMIT_STEPS or draw.random() < 0.5
    return Round(
        seed=seed,
        number=number,
        story=story,
        entries=entries,
        is_submit_wanted=is_submit_wanted,
        options=_options(draw, step, story),
        kills=_kills(draw, target, step, story, len(entries), is_timed=is_timed),
        scripts=_scripts(draw, step, story),
        has_twins=draw.random() < 0.3,
    )


def _target(seed: int, number: int) -> str:
    """Every point in turn, in an order of the seed's own."""
    cycle, place = divmod(number, len(KILL_POINTS))
    return Random(f"{seed}/{cycle}").sample(KILL_POINTS, len(KILL_POINTS))[place]


def _entries(draw: Random, step: str, story: Story) -> tuple[EntryDraw, ...]:
    count = draw.choice((1, 2, 2, 3, 4))
    return tuple(_entry(draw, number, step, story) for number in range(count))


def _entry(draw: Random, number: int, step: str, story: Story) -> EntryDraw:
    # Capped or expired URLs need a film of several parts to be seen.
    least = 400_000 if story in {Story.CAPPED, Story.EXPIRED} else 200_000
    has_action = step in _ACTION_STEPS or draw.random() < 0.3
    singles = [kind for kind in ("cover", "id_card_image1", "id_card_image2") if draw.random() < 0.3]
    if step == "confirm_authorization_letter" or draw.random() < 0.3:
        singles.append("grant_file")
    return EntryDraw(
        entry_id=f"avatar-{number}",
        training_bytes=draw.randint(least, 700_000),
        action_bytes=draw.randint(200_000, 400_000) if has_action else None,
        single_kinds=tuple(singles),
    )


def _options(draw: Random, step: str, story: Story) -> dict[str, Any]:
    return {
        "world": str(world_for(draw, step)),
        "expired_status": draw.choice((403, 400)),
        "cap_urls": 1 if story is Story.CAPPED else None,
        "seed": draw.randrange(1_000_000),
    }


def world_for(draw: Random, step: str) -> World:
    """Any world in which *step* can be come to."""
    possible = {**DIMENSIONS, **_NEEDED_FOR.get(step, {})}
    values = [f"{name}={draw.choice(possible[name])}" for name in DIMENSIONS]
    return parse_world(",".join(values))


def _kills(
    draw: Random, target: str, step: str, story: Story, entries: int, *, is_timed: bool
) -> tuple[Kill, ...]:
    most = 6 if step in _SEGMENT_STEPS else entries
    later = draw.randint(1, most) if draw.random() < 0.5 else 1
    # What only some stories come to may come once.
    kills = [Kill(target, 1 if step in _STORIES else later)]
    if step in _REVIVAL_STEPS:
        kills.insert(0, NO_KILL)
    if story is Story.EXPIRED:
        kills.insert(0, Kill(Point.WRITE_RECEIPT.after, draw.randint(2, _STORED_BEFORE_EXPIRY)))
    others = draw.choice((0, 0, 1, 1, 2))
    kills += [Kill(draw.choice(KILL_POINTS), draw.randint(1, 3)) for _ in range(others)]
    timed = Kill(after_seconds=draw.uniform(0.0, 0.4))
    return (*kills, timed) if is_timed else tuple(kills)


def _scripts(draw: Random, step: str, story: Story) -> dict[str, list[str | None]]:
    if story is Story.REFUSED:
        return {"put": ["early-403"] * 6}
    scripts: dict[str, list[str | None]] = {}
    if story is Story.LOST_CREATE or draw.random() < 0.2:
        scripts["create"] = ["lost-create"]
    if story is Story.EXPIRED:
        # However fast the store is, some of it must be stored and some not when the machine goes down; one file
        # alone, as single files go first, can be refused this often and still be stored.
        scripts["put"] = [None] * _STORED_BEFORE_EXPIRY + ["slow-down"] * 7
    if story is not Story.FAULTS:
        return scripts
    scripts["put"] = [draw.choice(_PUT_FAULTS) if draw.random() < 0.3 else None for _ in range(20)]
    for operation, faults in _CALL_FAULTS.items():
        if draw.random() < 0.4:
            scripts[operation] = [None] * draw.randint(0, 1) + [draw.choice(faults)]
    return scripts
