"""What a small entry costs a worker on PostgreSQL, beside `run` with a journal in a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmark.engine.entries import KINDS, write_avatars
from benchmark.fleet.rig import Rig, rigged
from benchmark.measuring import Cost
from benchmark.report import spread
from benchmark.suite import Bench, Client, Finding, say, write_manifest

_FLAGS = {"jobs": 16, "api_rate": "unlimited"}
_RUN, _WORK, _ENQUEUE = "run, SQLite", "work, PostgreSQL", "enqueue, PostgreSQL"
Costs = Mapping[str, Mapping[int, Sequence[Cost]]]


def measure(bench: Bench) -> Finding:
    """Entries of one file and of six, in two numbers, with either in turn."""
    counts = (1, 3) if bench.is_quick else (200, 800)
    with rigged(bench) as rig:
        costs = {len(kinds): _costs(rig, kinds, counts) for kinds in bench.chosen((KINDS[:1], KINDS))}
    fewer, more = counts
    return Finding(
        title="A small entry with either journal",
        target="a worker's CPU for each entry at most 1.5 times that of `run`",
        how="Tiny files, `--api-rate unlimited --jobs 16 --no-media-check`, one worker. CPU per entry is the"
        " difference of two batches divided by that of their sizes: without the start. `run` reads and plans the"
        " batch as well; for a worker `enqueue` does.",
        columns=(
            "files of an entry",
            "command",
            f"CPU s, {fewer} entries",
            f"CPU s, {more} entries",
            "CPU ms per entry more",
            "of run",
            f"wall s, {more} entries",
            "peak MB",
        ),
        rows=[row for files, found in costs.items() for row in _rows(files, found)],
        figures={
            f"{files} files": {
                command: {str(count): [vars(cost) for cost in costs] for count, costs in by_count.items()}
                for command, by_count in found.items()
            }
            for files, found in costs.items()
        },
    )


def _costs(rig: Rig, kinds: Sequence[str], counts: Sequence[int]) -> Costs:
    folder = rig.bench.folder("cost")
    avatars = write_avatars(folder, kinds, max(counts))
    manifests = {count: write_manifest(folder / f"batch-{count}.yaml", avatars[:count]) for count in counts}
    costs: dict[str, dict[int, list[Cost]]] = {
        command: {count: [] for count in counts} for command in (_RUN, _ENQUEUE, _WORK)
    }
    for _ in range(rig.bench.rounds):
        for count, manifest in manifests.items():
            costs[_RUN][count].append(_run(rig, manifest))
            enqueued, worked = _work(rig, manifest)
            costs[_ENQUEUE][count].append(enqueued)
            costs[_WORK][count].append(worked)
    return costs


def _run(rig: Rig, manifest: Path) -> Cost:
    client = Client(rig.bench.folder("client"), rig.environment)
    flags = {**_FLAGS, "batch_name": client.home.name}
    return client.run(client.command("run", manifest, "--no-media-check", **flags))


def _work(rig: Rig, manifest: Path) -> tuple[Cost, Cost]:
    with rig.fleet() as fleet:
        return fleet.enqueue(manifest), fleet.work(**_FLAGS)


def _rows(files: int, costs: Costs) -> list[list[str]]:
    fewer, more = costs[_RUN]
    slopes = {command: _slope(found, fewer, more) for command, found in costs.items()}
    say(f"{files} files: " + ", ".join(f"{command} {slope:.2f} ms" for command, slope in slopes.items()))
    rows = [
        [
            str(files),
            f"`{command.partition(',')[0]}`{command[command.index(',') :]}",
            spread([cost.cpu_seconds for cost in found[fewer]], 2),
            spread([cost.cpu_seconds for cost in found[more]], 2),
            f"**{slopes[command]:.1f}**",
            f"{slopes[command] / slopes[_RUN]:.2f}",
            spread([cost.wall_seconds for cost in found[more]], 2),
            f"{max(cost.peak_bytes for count in found for cost in found[count]) / 1e6:.0f}",
        ]
        for command, found in costs.items()
    ]
    both = slopes[_WORK] + slopes[_ENQUEUE]
    total = [str(files), "both on PostgreSQL", "", "", f"{both:.1f}", f"{both / slopes[_RUN]:.2f}", "", ""]
    return [*rows, total]


def _slope(costs: Mapping[int, Sequence[Cost]], fewer: int, more: int) -> float:
    """Milliseconds for each entry more."""
    medians = {count: median(cost.cpu_seconds for cost in found) for count, found in costs.items()}
    return (medians[more] - medians[fewer]) / (more - fewer) * 1000
