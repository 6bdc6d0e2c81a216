"""What must be true after any number of kills and one run to the end (design section 9)."""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orchestrator.domain.segments import auto_part_count, plan_segments
from orchestrator.simulator.assets import ASSETS
from tests.crash.harness import Place, Played
from tests.crash.rounds import KILL_POINTS, PART_BYTES

_KIND_OF_SUFFIX = {asset.suffix: asset.kind for asset in ASSETS}


@dataclass(frozen=True)
class Verdict:
    """What a round cost, and what is wrong after it."""

    batch_bytes: int
    resent_bytes: int
    allowed_bytes: int
    recreated_bytes: int
    problems: tuple[str, ...]


def judge(played: Played) -> Verdict:
    """Look at the service, the files and the journal after the last run."""
    avatars = yaml.safe_load((played.folder / "batch.yaml").read_text())["avatars"]
    live = [job for job in played.jobs if not job["is_deleted"]]
    problems = [*_end_problems(played), *_unlisted_points(played)]
    for avatar in avatars:
        problems += _job_problems(played, avatar, [job for job in live if job["name"] == avatar["name"]])
    problems += [f"job {job['job_id']} is nobody's" for job in live if not _is_of(job, avatars)]
    problems += _journal_problems(played.folder / "journal.db", {job["job_id"] for job in live})
    resent, allowed, resent_problems = _resent(played, avatars)
    gone = {job["job_id"] for job in played.jobs if job["is_deleted"]}
    recreated = sum(sizes[0] for label, sizes in played.stored.items() if _place(label)[0] in gone)
    if recreated and not played.round.may_send_again:
        resent_problems.append(f"{recreated} bytes were stored in jobs that were deleted later")
    return Verdict(
        batch_bytes=sum((played.folder / path).stat().st_size for a in avatars for _, path in _files(a)),
        resent_bytes=resent,
        allowed_bytes=allowed,
        recreated_bytes=recreated,
        problems=(*problems, *resent_problems),
    )


def _unlisted_points(played: Played) -> list[str]:
    reached = {point for life in played.lives for point in life.points}
    return [f"{point} is reached but in no list of kill points" for point in sorted(reached - {*KILL_POINTS})]


def _is_of(job: dict[str, Any], avatars: list[dict[str, Any]]) -> bool:
    return any(job["name"] == avatar["name"] for avatar in avatars)


def _files(avatar: dict[str, Any]) -> list[tuple[str, str]]:
    return [(kind, path) for kind, path in avatar.items() if kind in _KIND_OF_SUFFIX.values()]


def _end_problems(played: Played) -> list[str]:
    crashes = [line["crash"] for life in played.lives for line in life.lines if "crash" in line]
    report = played.last.report
    if crashes or report is None:
        return [*crashes, "the last run did not come to its end"]
    if report["exit_code"] != 0:
        return [f"the last run ended with exit code {report['exit_code']}: {report}"]
    counts = report["entries"]
    if counts["done"] != counts["total"] or counts["total"] != len(played.round.entries):
        return [f"not every entry is done: {counts}"]
    return []


def _job_problems(played: Played, avatar: dict[str, Any], jobs: list[dict[str, Any]]) -> list[str]:
    if len(jobs) != 1:
        return [f"{avatar['id']} has {len(jobs)} live jobs"]
    job, problems = jobs[0], []
    for kind, path in _files(avatar):
        stored = job["objects"].get(kind)
        if stored is None or Path(stored).read_bytes() != (played.folder / path).read_bytes():
            problems.append(f"{avatar['id']}: {kind} on the service is not the file")
    expected = {kind: 1 for kind, _ in _files(avatar) if kind.endswith("video")}
    if job["confirmations"] != expected:
        problems.append(f"{avatar['id']} was confirmed {job['confirmations']}")
    if job["submissions"] != int(played.round.is_submit_wanted):
        problems.append(f"{avatar['id']} was submitted {job['submissions']} times")
    return problems


def _journal_problems(path: Path, job_ids: set[str]) -> list[str]:
    with sqlite3.connect(path) as journal:
        checked = journal.execute("PRAGMA integrity_check").fetchone()[0]
        known = {row[0] for row in journal.execute("SELECT job_id FROM entries")}
        urls = journal.execute("SELECT count(*) FROM segments WHERE url IS NOT NULL").fetchone()[0]
        open_segments = journal.execute("SELECT count(*) FROM segments WHERE stored_at IS NULL").fetchone()[0]
        states = journal.execute(
            "SELECT entry_id, from_state, to_state FROM transitions ORDER BY rowid"
        ).fetchall()
    journal.close()
    problems = [] if checked == "ok" else [f"the journal is damaged: {checked}"]
    if known != job_ids:
        problems.append(f"the journal knows the jobs {known}, the service {job_ids}")
    if open_segments:
        problems.append(f"{open_segments} segments have no receipt in the journal")
    if urls:
        problems.append(f"{urls} upload URLs are still in the journal")
    return problems + _broken_chains(states)


def _broken_chains(states: list[tuple[str, str, str]]) -> list[str]:
    at: dict[str, str] = {}
    broken = []
    for entry_id, before, after in states:
        if at.setdefault(entry_id, "pending") != before:
            broken.append(f"{entry_id} went from {before} to {after} while it was {at[entry_id]}")
        at[entry_id] = after
    return broken


def _resent(played: Played, avatars: list[dict[str, Any]]) -> tuple[int, int, list[str]]:
    """Bytes stored more than once at one place, bytes in flight at the kills, and what exceeds them."""
    lengths = _lengths(played, avatars)
    allowed = Counter(place for life in played.lives for place in life.cut_off)
    allowed.update(_unlisted_retries(played))
    allowed.update(_files_of_updated_jobs(played))
    problems = []
    resent = 0
    for label, sizes in played.stored.items():
        resent += sum(sizes[1:])
        if len(sizes) - 1 > allowed[_place(label)]:
            problems.append(f"{label} was stored {len(sizes)} times")
    in_flight = sum(lengths.get(place, 0) for life in played.lives for place in life.cut_off)
    return resent, in_flight, problems


def _unlisted_retries(played: Played) -> Counter[Place]:
    """Segments whose answer was lost where nobody can tell whether they are stored, or that were spoilt."""
    told = {"integrity"} if played.round.is_listed else {"integrity", "interrupted"}
    return Counter(
        (line["job_id"], line["asset"], line["part_number"])
        for life in played.lives
        for line in life.lines
        if line.get("retry") in told and line["asset"] is not None
    )


def _files_of_updated_jobs(played: Played) -> Counter[Place]:
    """Single files that were stored before an update of their job, which may have taken them away."""
    world = played.round.world
    if (world.update_keeps, world.download_urls, world.etag) == ("everything", "joined", "md5"):
        return Counter()
    stored: set[Place] = set()
    again: Counter[Place] = Counter()
    for line in (line for life in played.lives for line in life.lines):
        if line.get("point") == "put.before" and not line["asset"].endswith("video"):
            stored.add((line["job_id"], line["asset"], line["part_number"]))
        elif line.get("point") == "update.before":
            again.update(place for place in stored if place[0] == line["job_id"])
    return again


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
