"""CPU for each entry, and whether memory grows with their number."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmark.measuring import Cost
from benchmark.report import spread
from benchmark.suite import Bench, Client, Finding, write_manifest
from benchmark.testbed import Testbed, simulating, write_video
from orchestrator.simulator.footage import write_letter, write_picture

VIDEOS = ("training_video", "action_video")
PICTURES = ("cover", "id_card_image1", "id_card_image2")
KINDS = (*VIDEOS, *PICTURES, "grant_file")


def measure(bench: Bench) -> Finding:
    """Batches of three sizes, of entries of six files and of one."""
    counts = (1, 3) if bench.is_quick else (200, 400, 800)
    costs = {len(kinds): _costs(bench, kinds, counts) for kinds in bench.chosen((KINDS[:1], KINDS))}
    return Finding(
        title="Entries of tiny files",
        target="at most 15 ms of CPU for each entry; memory flat in their number",
        how="The simulator with its store in another process, `--api-rate unlimited --jobs 16 --no-media-check`."
        " CPU per entry is the difference of two batches divided by that of their sizes: without the start.",
        columns=("files of an entry", "entries", "wall s", "CPU s", "CPU ms per entry more", "peak MB"),
        rows=[row for files, by_count in costs.items() for row in _rows(files, by_count)],
        figures={
            f"{files} files": {
                str(count): [vars(cost) for cost in found] for count, found in by_count.items()
            }
            for files, by_count in costs.items()
        },
    )


def _costs(bench: Bench, kinds: Sequence[str], counts: Sequence[int]) -> Mapping[int, Sequence[Cost]]:
    folder = bench.folder("entries")
    avatars = write_avatars(folder, kinds, max(counts))
    manifests = {count: write_manifest(folder / f"batch-{count}.yaml", avatars[:count]) for count in counts}
    costs: dict[int, list[Cost]] = {count: [] for count in counts}
    with simulating() as testbed:
        for _, count in itertools.product(range(bench.rounds), counts):
            costs[count].append(_run(bench, testbed, manifests[count]))
    return costs


def write_avatars(
    folder: Path, kinds: Sequence[str], count: int, video_bytes: int = 16 * 1024
) -> list[dict[str, str]]:
    """The entries of a batch, each with files of its own of these *kinds*."""
    return [_avatar(folder, f"entry-{number:05}", kinds, number, video_bytes) for number in range(count)]


def _avatar(folder: Path, entry_id: str, kinds: Sequence[str], seed: int, video_bytes: int) -> dict[str, str]:
    files = {kind: folder / f"{entry_id}-{kind}" for kind in kinds}
    for kind, path in files.items():
        _write(kind, path, seed, video_bytes)
    return {"id": entry_id, "name": entry_id, **{kind: path.name for kind, path in files.items()}}


def _write(kind: str, path: Path, seed: int, video_bytes: int) -> None:
    if kind in VIDEOS:
        write_video(path, video_bytes)
    elif kind in PICTURES:
        write_picture(path, seed * len(KINDS) + KINDS.index(kind))
    else:
        write_letter(path, seed)


def _run(bench: Bench, testbed: Testbed, manifest: Path) -> Cost:
    client = Client(bench.folder("client"), testbed.environment)
    flags = {"jobs": 16, "api_rate": "unlimited", "batch_name": client.home.name}
    return client.run(client.command("run", manifest, "--no-media-check", **flags))


def _rows(files: int, costs: Mapping[int, Sequence[Cost]]) -> list[list[str]]:
    medians = {count: median(cost.cpu_seconds for cost in found) for count, found in costs.items()}
    slopes = [""]
    slopes += [f"{_slope(medians, *pair):.1f}" for pair in itertools.pairwise(medians)]
    rows = [
        [
            str(files),
            str(count),
            spread([cost.wall_seconds for cost in found], 2),
            spread([cost.cpu_seconds for cost in found], 2),
            slope,
            f"{max(cost.peak_bytes for cost in found) / 1e6:.0f}",
        ]
        for (count, found), slope in zip(costs.items(), slopes, strict=True)
    ]
    overall = _slope(medians, min(medians), max(medians))
    return [*rows, [str(files), "all", "", "", f"**{overall:.1f}**", ""]]


def _slope(medians: Mapping[int, float], fewer: int, more: int) -> float:
    """Milliseconds for each entry more."""
    return (medians[more] - medians[fewer]) / (more - fewer) * 1000
