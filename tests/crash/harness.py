"""Plays crash rounds: a server that survives, runs that die, and a last one that must make all good."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer
from typing import Any

import yaml

from orchestrator.engine.events import Point
from orchestrator.simulator.footage import write_audio_zip, write_footage, write_letter, write_picture
from tests.crash.rounds import LATE_SECONDS, PART_BYTES, EntryDraw, Kill, Round, Story

_WRITERS = {"grant_file": write_letter, "audio": write_audio_zip}
ROOT = Path(__file__).parents[2]
#: (job, asset, part number)
Place = tuple[str, str, int]


class Peer:
    """A process that answers lines of JSON with lines of JSON."""

    def __init__(self, module: str, log: Path) -> None:
        """Start `python -m module`; what it complains of goes to *log*."""
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=ROOT,
            )

    def ask(self, **message: Any) -> Any:
        """Send one line and return the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> Any:
        """The next line."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the other process ended; its log says why")
        return json.loads(line)

    def close(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()


@dataclass
class Life:
    """One run, from its start to its death or its end, as its trail tells."""

    kill: Kill | None
    is_killed: bool
    lines: list[dict[str, Any]]
    end: str = "kill -9"
    """What cut it off, where it is cut off."""

    @property
    def report(self) -> dict[str, Any] | None:
        """How it ended, unless it was killed."""
        return next((line["report"] for line in self.lines if "report" in line), None)

    @property
    def errors(self) -> list[str]:
        """Why entries failed."""
        return [line["failure"] for line in self.lines if "failure" in line]

    @property
    def points(self) -> list[str]:
        """What it reached."""
        return [line["point"] for line in self.lines if "point" in line]

    @property
    def cut_off(self) -> list[Place]:
        """The segments that were on their way, or stored without receipt, when the run died or gave their job up."""
        flying: set[Place] = set()
        cut: list[Place] = []
        for line in self.lines:
            point = line.get("point")
            if point == Point.PUT.before:
                flying.add((line["job_id"], line["asset"], line["part_number"]))
            elif point == Point.WRITE_RECEIPT.after:
                flying.discard((line["job_id"], line["asset"], line["part_number"]))
            elif point == Point.UPDATE.before:
                cut += [place for place in flying if place[0] == line["job_id"]]
        return cut + (list(flying) if self.is_killed else [])


@dataclass
class Played:
    """A round that was played, and what there is to judge it by."""

    round: Round
    folder: Path
    lives: list[Life] = field(default_factory=list)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    stored: dict[str, list[int]] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    touched: list[str] = field(default_factory=list)

    @property
    def warnings(self) -> list[str]:
        """What a person was told in any run."""
        return [line["warning"] for life in self.lives for line in life.lines if "warning" in line]

    @property
    def ends(self) -> list[Life]:
        """The runs that were left alone."""
        return self.lives[len(self.round.kills) :]


class Harness:
    """Two processes that last, and the rounds played between them."""

    def __init__(self, folder: Path) -> None:
        """Keep everything in *folder*; it must exist."""
        self._folder = folder
        self._server = Peer("tests.crash.server", folder / "server.log")
        self._driver = Peer("tests.crash.driver", folder / "driver.log")

    def close(self) -> None:
        """End both processes."""
        self._driver.close()
        self._server.close()

    def play(self, drawn: Round) -> Played:
        """Play one round to its end; the folder stays for the judge."""
        folder = self._folder / f"round-{drawn.number}"
        folder.mkdir()
        played = Played(drawn, folder)
        write_batch(folder, drawn)
        service = self._server.ask(
            do="start",
            data=str(folder / "service"),
            options=drawn.options,
            scripts=drawn.scripts,
            batch_name=drawn.batch_name,
            names=[entry.name for entry in drawn.entries],
            has_twins=drawn.has_twins,
        )
        try:
            self._live_and_die(played, service)
            found = self._server.ask(do="inspect")
        finally:
            self._server.ask(do="stop")
        played.jobs, played.stored, played.faults = found["jobs"], found["stored"], found["faults"]
        played.touched = found["touched"]
        return played

    def _live_and_die(self, played: Played, service: dict[str, Any]) -> None:
        drawn = played.round
        passed_seconds = 0.0
        ends = [None, None] if drawn.is_submitted_later else [None]
        for place, kill in enumerate([*drawn.kills, *ends]):
            if drawn.is_expired and place == 1:
                passed_seconds = self._server.ask(do="advance", seconds=LATE_SECONDS)
            if place == 1:
                self._server.ask(do="meanwhile")
            if drawn.story in {Story.CAPPED, Story.REFUSED} and kill is None:
                self._server.ask(do="restart", options={**drawn.options, "cap_urls": None})
            order = {
                "manifest": str(played.folder / "batch.yaml"),
                "state": str(played.folder / "journal.db"),
                "trail": str(played.folder / f"trail-{place}"),
                "service": service,
                "part_bytes": PART_BYTES,
                "is_submit_wanted": drawn.is_submit_wanted or place > len(drawn.kills),
                "on_existing": drawn.on_existing,
                "passed_seconds": passed_seconds,
                "seed": f"{drawn.seed}:{drawn.number}:{place}",
                "kill": {"point": kill.point, "occurrence": kill.occurrence} if kill else None,
            }
            played.lives.append(self._live(order, kill))

    def _live(self, order: dict[str, Any], kill: Kill | None) -> Life:
        process_id = self._driver.ask(**order)["process_id"]
        with _killed_after(process_id, kill.after_seconds if kill else None):
            end = self._driver.answer()
        return Life(kill, end["is_killed"], trail_lines(Path(order["trail"])))


@contextlib.contextmanager
def _killed_after(process_id: int, seconds: float | None) -> Iterator[None]:
    if seconds is None:
        yield
        return
    timer = Timer(seconds, _kill, (process_id,))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _kill(process_id: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process_id, signal.SIGKILL)


def trail_lines(trail: Path) -> list[dict[str, Any]]:
    """What a trail tells, in its order."""
    if not trail.exists():
        return []
    return [json.loads(line) for line in trail.read_text().splitlines()]


def write_batch(folder: Path, drawn: Round) -> None:
    """Write the files of the round and their manifest."""
    avatars = [_write_entry(folder, drawn, entry) for entry in drawn.entries]
    manifest = {"batch_name": drawn.batch_name, "avatars": avatars}
    (folder / "batch.yaml").write_text(yaml.safe_dump(manifest), encoding="utf-8")


def _write_entry(folder: Path, drawn: Round, entry: EntryDraw) -> dict[str, Any]:
    seed = drawn.seed * 1000 + drawn.number * 10 + int(entry.entry_id[-1])
    avatar = {
        "id": entry.entry_id,
        "name": entry.name,
        "training_video": f"{entry.entry_id}.mp4",
    }
    write_footage(folder / avatar["training_video"], size=entry.training_bytes, seed=seed)
    if entry.action_bytes is not None:
        avatar["action_video"] = f"{entry.entry_id}-action.mp4"
        write_footage(folder / avatar["action_video"], size=entry.action_bytes, seed=seed + 5)
    for kind in entry.single_kinds:
        avatar[kind] = f"{entry.entry_id}-{kind}"
        _WRITERS.get(kind, write_picture)(folder / avatar[kind], seed + len(kind))
    if "audio" in entry.single_kinds:
        avatar["audio_source_type"] = "AUDIO"
    return avatar
