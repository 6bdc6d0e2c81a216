"""CPU for each part, beyond that for its bytes."""

from __future__ import annotations

import itertools
from pathlib import Path
from statistics import median

from benchmark.measuring import Cost
from benchmark.report import spread
from benchmark.suite import Bench, Client, Finding, write_manifest
from benchmark.testbed import Testbed, read_once, serving, write_video

_PART_BYTES = 256 * 1024


def measure(bench: Bench) -> Finding:
    """One file in many parts and in few, with digests and without."""
    few, many = (2, 12) if bench.is_quick else (10, 1000)
    folder = bench.folder("parts")
    write_video(folder / "film.mp4", many * _PART_BYTES)
    read_once([folder / "film.mp4"])
    manifests = {count: _manifest(folder, count) for count in (few, many)}
    costs = {
        has_digest: _costs(bench, manifests, has_digest=has_digest)
        for has_digest in bench.chosen((False, True))
    }
    return Finding(
        title=f"One file in {many} parts and in {few}",
        target="at most 2 ms of CPU for each part beyond the bytes",
        how=f"{many * _PART_BYTES >> 20} MiB over HTTP to a sink in another process, `--parallel 16`.",
        columns=("digest", f"CPU s in {few}", f"CPU s in {many}", "CPU ms per part more", "peak MB"),
        rows=[_row(has_digest, found) for has_digest, found in costs.items()],
        figures={
            "digest" if has_digest else "no digest": {
                str(count): [vars(cost) for cost in found[count]] for count in found
            }
            for has_digest, found in costs.items()
        },
    )


def _manifest(folder: Path, parts: int) -> Path:
    avatar = {"id": "film", "name": "film", "training_video": "film.mp4", "video_multipart_count": parts}
    return write_manifest(folder / f"parts-{parts}.yaml", [avatar])


def _costs(bench: Bench, manifests: dict[int, Path], *, has_digest: bool) -> dict[int, list[Cost]]:
    costs: dict[int, list[Cost]] = {count: [] for count in manifests}
    with serving(None, has_digest=has_digest) as testbed:
        for _, (count, manifest) in itertools.product(range(bench.rounds), manifests.items()):
            costs[count].append(_run(bench, testbed, manifest, "etag" if has_digest else "off"))
    return costs


def _run(bench: Bench, testbed: Testbed, manifest: Path, verify: str) -> Cost:
    client = Client(bench.folder("client"), testbed.environment)
    flags = {"verify": verify, "api_rate": "unlimited", "batch_name": client.home.name}
    return client.run(client.command("run", manifest, "--no-media-check", **flags))


def _row(has_digest: bool, costs: dict[int, list[Cost]]) -> list[str]:
    few, many = costs
    cpu = {count: [cost.cpu_seconds for cost in found] for count, found in costs.items()}
    per_part = (median(cpu[many]) - median(cpu[few])) / (many - few) * 1000
    peak_bytes = max(cost.peak_bytes for found in costs.values() for cost in found)
    return [
        "MD5" if has_digest else "none",
        spread(cpu[few], 2),
        spread(cpu[many], 2),
        f"**{per_part:.2f}**",
        f"{peak_bytes / 1e6:.0f}",
    ]
