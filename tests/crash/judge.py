"""What must be true after any number of kills and one run to the end (design section 9)."""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orchestrator.domain.assets import auto_part_count, plan_segments
from orchestrator.domain.evidence import VERIFIED
from orchestrator.engine.events import Point
from orchestrator.simulator.links import ASSETS
from tests.crash.harness import Life, Place, Played
from tests.crash.rounds import KILL_POINTS, PART_BYTES, tells

#: More than any film of a round has.
_MOST_PARTS = 12
#: Why a place was stored again.
UNTOLD = "its answer was lost, spoilt or without a mark"
UNEXPLAINED = "nothing allows it"
_KIND_OF_SUFFIX = {asset.suffix: asset.kind for asset in ASSETS}


@dataclass(frozen=True)
class Verdict:
    """What a round cost, and what is wrong after it."""

    batch_bytes: int
    resent: Counter[str]
    """Bytes stored more than once at one place, by what allows it."""
    allowed_bytes: int
    recreated_bytes: int
    orphans: int
    problems: tuple[str, ...]

    @property
    def resent_bytes(self) -> int:
        """All that was stored more than once at one place."""
        return self.resent.total()


def judge(played: Played) -> Verdict:
    """Look at the service, the files and the journal after the last run."""
    journal = JournalFacts.read(played.folder / "journal.db")
    return verdict(played, journal, [*_end_problems(played), *_unlisted_points(played)])


def verdict(played: Played, journal: JournalFacts, ends: list[str]) -> Verdict:
    """Look at the service and the files, beside what the journal says and what is wrong with the *ends* of runs."""
    avatars = yaml.safe_load((played.folder / "batch.yaml").read_text())["avatars"]
    problems = [*ends, *played.touched, *journal.problems]
    live = {job["job_id"]: job for job in played.jobs if not job["is_deleted"]}
    for avatar in avatars:
        problems += _job_problems(played, avatar, live.get(journal.job_ids.get(avatar["id"], "")))
        problems += _word_problems(played, avatar, journal.delivered.get(avatar["id"]))
    orphans = live.keys() - {*journal.job_ids.values()}
    problems += [problem for job_id in orphans for problem in _orphan_problems(played, live[job_id])]
    resent, allowed, resent_problems = _resent(played, avatars)
    gone = {job["job_id"] for job in played.jobs if job["is_deleted"]}
    recreated = sum(sizes[0] for label, sizes in played.stored.items() if _place(label)[0] in gone)
    if recreated and not played.round.may_send_again:
        resent_problems.append(f"{recreated} bytes were stored in jobs that were deleted later")
    return Verdict(
        batch_bytes=sum((played.folder / path).stat().st_size for a in avatars for _, path in _files(a)),
        resent=resent,
        allowed_bytes=allowed,
        recreated_bytes=recreated,
        orphans=len(orphans),
        problems=(*problems, *resent_problems),
    )


def _unlisted_points(played: Played) -> list[str]:
    reached = {point for life in played.lives for point in life.points}
    return [f"{point} is reached but in no list of kill points" for point in sorted(reached - {*KILL_POINTS})]


def _files(avatar: dict[str, Any]) -> list[tuple[str, str]]:
    return [(kind, path) for kind, path in avatar.items() if kind in _KIND_OF_SUFFIX.values()]


def _end_problems(played: Played) -> list[str]:
    crashes = [line["crash"] for life in played.lives for line in life.lines if "crash" in line]
    early = [life for life in played.lives[: -len(played.ends)] if Point.SUBMIT.before in life.points]
    too_early = ["submitted though it was not wanted"] if early and not played.round.is_submit_wanted else []
    ends = [problem for life in played.ends for problem in _incompletion(life, len(played.round.entries))]
    return [*crashes, *too_early, *ends]


def _incompletion(life: Life, entries: int) -> list[str]:
    report = life.report
    if report is None:
        return ["the last run did not come to its end"]
    if report["exit_code"] != 0:
        return [f"the last run ended with exit code {report['exit_code']}: {report['entries']} {life.errors}"]
    counts = report["entries"]
    if counts["done"] != counts["total"] or counts["total"] != entries:
        return [f"not every entry is done: {counts}"]
    return []


def _job_problems(played: Played, avatar: dict[str, Any], job: dict[str, Any] | None) -> list[str]:
    if job is None:
        return [f"{avatar['id']} has no live job"]
    problems = []
    for kind, path in _files(avatar):
        stored = job["objects"].get(kind)
        is_missing = stored is None and not _is_missing_allowed(played, kind)
        if is_missing or (stored and Path(stored).read_bytes() != (played.folder / path).read_bytes()):
            problems.append(f"{avatar['id']}: {kind} on the service is not the file")
    expected = {kind: 1 for kind, _ in _files(avatar) if kind.endswith("video")}
    if job["confirmations"] != expected:
        problems.append(f"{avatar['id']} was confirmed {job['confirmations']}")
    if job["submissions"] != int(played.round.is_submit_wanted or played.round.is_submitted_later):
        problems.append(f"{avatar['id']} was submitted {job['submissions']} times")
    return problems


def _is_missing_allowed(played: Played, kind: str) -> bool:
    """Where no answer of the store has a mark and nothing is shown, a portal's 200 is as good as the store's.

    Then a file may be missing, and a warning must name it.
    """
    world = played.round.world
    has_marks = world.etag != "absent" or world.request_id == "present"
    if kind.endswith("video") or has_marks or world.download_urls == "joined":
        return False
    return any(kind in warning for warning in played.warnings)


def _word_problems(played: Played, avatar: dict[str, Any], delivered: str | None) -> list[str]:
    """The word for the delivery promises what was compared, and no less than could be."""
    world = played.round.world
    is_shown = world.download_urls == "joined" and world.etag != "opaque"
    is_listed = world.etag == "md5" and world.action_part_list == "works"
    if delivered == VERIFIED:
        has_all = is_shown or is_listed
        return [] if has_all else [f"{avatar['id']} is called verified, which nobody can know here"]
    if is_shown and world.etag == "md5":
        return [f"{avatar['id']} is {delivered}, although everything can be looked at"]
    return [] if delivered and delivered.startswith("unverified (") else [f"{avatar['id']} is {delivered}"]


def _orphan_problems(played: Played, job: dict[str, Any]) -> list[str]:
    """A live job that no entry has: only where tags are shown nowhere, empty, and named in a warning."""
    world, job_id = played.round.world, job["job_id"]
    if world.list_tags == "shown" or world.show_tags == "shown":
        return [f"job {job_id} for {job['name']} is left behind"]
    if job["objects"] or any(job["parts"].values()):
        return [f"job {job_id} for {job['name']} is left behind with files"]
    is_named = any(job_id in warning for warning in played.warnings)
    return [] if is_named else [f"orphan {job_id} for {job['name']} is in no warning"]


@dataclass(frozen=True)
class JournalFacts:
    """What the journal says after the last run, and what is wrong with it."""

    job_ids: dict[str, str]
    delivered: dict[str, str | None]
    problems: list[str]

    @classmethod
    def read(cls, path: Path) -> JournalFacts:
        with sqlite3.connect(path) as journal:
            checked = journal.execute("PRAGMA integrity_check").fetchone()[0]
            entries = journal.execute("SELECT entry_id, job_id, delivered FROM entries").fetchall()
            urls = journal.execute("SELECT count(*) FROM segments WHERE url IS NOT NULL").fetchone()[0]
            unstored = journal.execute("SELECT count(*) FROM segments WHERE stored_at IS NULL").fetchone()[0]
            states = journal.execute(
                "SELECT entry_id, from_state, to_state FROM transitions ORDER BY rowid"
            ).fetchall()
        journal.close()
        damage = [] if checked == "ok" else [f"the journal is damaged: {checked}"]
        return cls.of(entries, urls, unstored, states, damage)

    @classmethod
    def of(
        cls,
        entries: list[tuple[str, str | None, str | None]],
        urls: int,
        unstored: int,
        states: list[tuple[str, str, str]],
        problems: list[str],
    ) -> JournalFacts:
        """Of entries with job and word, URLs and segments left, changes in their order, and *problems* beside."""
        left = []
        if unstored:
            left.append(f"{unstored} segments have no receipt in the journal")
        if urls:
            left.append(f"{urls} upload URLs are still in the journal")
        return cls(
            job_ids={entry_id: job_id for entry_id, job_id, _ in entries if job_id is not None},
            delivered={entry_id: delivered for entry_id, _, delivered in entries},
            problems=[*problems, *left, *_broken_chains(states)],
        )


def _broken_chains(states: list[tuple[str, str, str]]) -> list[str]:
    at: dict[str, str] = {}
    broken = []
    for entry_id, before, after in states:
        if at.setdefault(entry_id, "pending") != before:
            broken.append(f"{entry_id} went from {before} to {after} while it was {at[entry_id]}")
        at[entry_id] = after
    return broken


def _resent(played: Played, avatars: list[dict[str, Any]]) -> tuple[Counter[str], int, list[str]]:
    """Bytes stored more than once at one place by cause, bytes in flight at the kills, and what exceeds them."""
    lengths = _lengths(played, avatars)
    causes: dict[str, Counter[Place]] = {}
    for life in played.lives:
        causes.setdefault(f"in flight at {life.end}", Counter()).update(life.cut_off)
    causes[UNTOLD] = _untold_retries(played)
    causes["may have been taken away by an update"] = _dropped_by_updates(played)
    problems = []
    resent: Counter[str] = Counter()
    for label, sizes in played.stored.items():
        again, place = sizes[1:], _place(label)
        for cause, allowed in causes.items():
            some, again = again[: allowed[place]], again[allowed[place] :]
            resent[cause] += sum(some)
        if again:
            resent[UNEXPLAINED] += sum(again)
            problems.append(f"{label} was stored {len(sizes)} times")
    in_flight = sum(lengths.get(place, 0) for life in played.lives for place in life.cut_off)
    return resent, in_flight, problems


def _untold_retries(played: Played) -> Counter[Place]:
    """Segments that were spoilt, or whose answer was lost where nothing says whether they are stored."""
    world = played.round.world
    return Counter(
        (line["job_id"], line["asset"], line["part_number"])
        for life in played.lives
        for line in life.lines
        if line.get("asset") is not None
        and (
            line.get("retry") == "integrity"
            or (line.get("retry") == "interrupted" and not tells(world, line["asset"]))
        )
    )


def _dropped_by_updates(played: Played) -> Counter[Place]:
    """Single files and parts that an update took away, or may have taken away for all that is known."""
    world = played.round.world
    return Counter(
        {
            (job["job_id"], kind, part_number): job["updates"]
            for job in played.jobs
            for kind in _KIND_OF_SUFFIX.values()
            for part_number in range(1, _MOST_PARTS)
            if world.update_keeps != "everything" or not tells(world, kind)
        }
    )


def _lengths(played: Played, avatars: list[dict[str, Any]]) -> dict[Place, int]:
    by_name = {avatar["name"]: avatar for avatar in avatars}
    lengths = {}
    for job in played.jobs:
        for kind, path in _files(by_name[job["name"]]):
            size = (played.folder / path).stat().st_size
            count = auto_part_count(size, PART_BYTES) if kind.endswith("video") else 1
            for segment in plan_segments(size, count):
                lengths[job["job_id"], kind, segment.part_number] = segment.length
    return lengths


def _place(label: str) -> Place:
    """The simulator's label of a target, p/JOB_SUFFIX#PART@UPLOAD, as the engine names it."""
    key, _, part = label.removeprefix("p/").partition("#")
    job_id, _, suffix = key.partition("_")
    return job_id, _KIND_OF_SUFFIX[suffix], int(part.partition("@")[0] or 1)
