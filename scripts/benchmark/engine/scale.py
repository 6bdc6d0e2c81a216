"""A batch of fifty thousand entries: read, planned, and found finished."""

from __future__ import annotations

import csv
import os
import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from benchmark.engine.entries import KINDS, PICTURES, VIDEOS
from benchmark.measuring import Cost
from benchmark.report import spread
from benchmark.suite import Bench, Client, Finding
from benchmark.testbed import write_video
from orchestrator.domain.errors import ExitCode
from orchestrator.simulator.footage import write_letter, write_picture

_VIDEO_BYTES = 300_000
#: Nothing answers there, so that no figure holds a call.
_NOWHERE = {
    "ORCHESTRATOR_ENDPOINT": "http://127.0.0.1:9",
    "HUAWEICLOUD_SDK_AK": "bench",
    "HUAWEICLOUD_SDK_SK": "bench",
    "HUAWEICLOUD_SDK_PROJECT_ID": "bench",
}
_PLANNING = "run, new batch: written to the journal"
_TARGETS = {
    "validate": "15 s, 400 MB",
    "plan, new batch": "",
    _PLANNING: "",
    "plan, finished batch": "10 s",
    "run, finished batch": "10 s",
}


_HOW = (
    "`--no-media-check`; all entries name the same six files. The finished batch was not uploaded: `run` writes its"
    " plan to the journal and ends because no service answers (exit code 5); then each entry of a copy of the journal"
    " is marked as confirmed with SQL."
)


def measure(bench: Bench) -> Finding:
    """Each command of a large batch's life that sends nothing."""
    count = 300 if bench.is_quick else 50_000
    manifest = _write_csv(bench.folder("scale"), count)
    costs: dict[str, list[Cost]] = {name: [] for name in _TARGETS}
    for _ in range(bench.rounds):
        for name, cost in _round(bench, manifest, count).items():
            costs[name].append(cost)
    return Finding(
        title=f"A batch of {count} entries as CSV",
        target="`validate` under 15 s and 400 MB; `plan` and `run` of the finished batch under 10 s",
        how=_HOW,
        columns=("command", "wall s", "CPU s", "peak MB", "target"),
        rows=[_row(name, found) for name, found in costs.items()],
        figures={name: [vars(cost) for cost in found] for name, found in costs.items()},
    )


def _write_csv(folder: Path, count: int) -> Path:
    for number, kind in enumerate(KINDS):
        if kind in VIDEOS:
            write_video(folder / kind, _VIDEO_BYTES + number)
        elif kind in PICTURES:
            write_picture(folder / kind, number)
        else:
            write_letter(folder / kind, number)
    path = folder / "large.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "name", *KINDS))
        writer.writerows((f"e{number}", f"Name {number}", *KINDS) for number in range(count))
    return path


def _round(bench: Bench, manifest: Path, count: int) -> Mapping[str, Cost]:
    new = Client(bench.folder("new"), {**os.environ, **_NOWHERE})
    finished = Client(bench.folder("finished"), new.environment)
    return {
        "validate": new.run(new.command("validate", manifest, "--no-media-check")),
        "plan, new batch": new.run(new.command("plan", manifest, "--no-media-check")),
        _PLANNING: new.run(
            new.command("run", manifest, "--no-media-check", api_attempts=1, max_outage=0),
            expected_code=ExitCode.TEMPORARY,
        ),
        "plan, finished batch": _finish(new.journal, finished, count).run(
            finished.command("plan", manifest, "--no-media-check")
        ),
        "run, finished batch": finished.run(finished.command("run", manifest, "--no-media-check")),
    }


def _finish(journal: Path, client: Client, count: int) -> Client:
    """Give the client a copy in which every entry is confirmed."""
    shutil.copy(journal, client.journal)
    with closing(sqlite3.connect(client.journal)) as database, database:
        marked = database.execute(
            "UPDATE entries SET state = 'confirmed', confirmed_at = 1, job_id = 'j' || entry_id,"
            " create_tag = 't' || entry_id"
        )
        if marked.rowcount != count:
            raise RuntimeError(f"the journal holds {marked.rowcount} of {count} entries")
    return client


def _row(name: str, costs: Sequence[Cost]) -> list[str]:
    return [
        name,
        spread([cost.wall_seconds for cost in costs], 2),
        spread([cost.cpu_seconds for cost in costs], 2),
        f"{max(cost.peak_bytes for cost in costs) / 1e6:.0f}",
        _TARGETS[name],
    ]
