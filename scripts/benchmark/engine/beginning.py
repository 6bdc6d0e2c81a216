"""How long it takes until something happens: the first byte at the store, and the help."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmark.measuring import FailedRunError
from benchmark.metering import Meter
from benchmark.report import spread
from benchmark.suite import Bench, Client, Finding, write_manifest
from benchmark.testbed import Certificate, orchestrator, serving
from orchestrator.simulator.footage import sample_footage, write_footage

_SAMPLE_SECONDS = 0.05
_PATIENCE_SECONDS = 5.0


def measure(bench: Bench) -> Finding:
    """Seconds from the start of the process."""
    folder = bench.folder("beginning")
    write_footage(folder / "film.mp4", size=len(sample_footage()) + (1 << 20), seed=1)
    manifest = write_manifest(
        folder / "one.yaml", [{"id": "film", "name": "film", "training_video": "film.mp4"}]
    )
    certificate = Certificate.make(folder)
    cases: Sequence[tuple[str, Callable[[], float]]] = (
        ("run --help", lambda: _help(bench, "run", "--help")),
        ("--help", lambda: _help(bench, "--help")),
        (
            "first byte, HTTP, --no-media-check",
            lambda: _first_byte(bench, None, manifest, "--no-media-check"),
        ),
        ("first byte, HTTPS", lambda: _first_byte(bench, certificate, manifest)),
        ("first byte, HTTP", lambda: _first_byte(bench, None, manifest)),
    )
    rounds = bench.rounds if bench.is_quick else max(bench.rounds, 5)
    seconds = {name: [measured() for _ in range(rounds)] for name, measured in bench.chosen(cases)}
    return Finding(
        title="Until something happens",
        target="the first byte within 1 s, the help within 0.3 s",
        how="Seconds of wall time from the start of the process, imports and the job's creation included, until the"
        " sink receives the first byte of the film; every flag as it is by default.",
        columns=("what", "s"),
        rows=[[name, spread(found, 2)] for name, found in seconds.items()],
        figures=seconds,
    )


def _first_byte(bench: Bench, certificate: Certificate | None, manifest: Path, *flags: str) -> float:
    meter = Meter(_SAMPLE_SECONDS)
    with serving(certificate, has_digest=True, meter=meter) as testbed:
        client = Client(bench.folder("client"), testbed.environment)
        cost = client.run(client.command("run", manifest, *flags))
        return _told(meter) - cost.began_at


def _told(meter: Meter) -> float:
    """When the first byte came; the sink tells so a little later."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while meter.first_at is None:
        if time.monotonic() > deadline:
            raise FailedRunError("the store never saw a byte")
        time.sleep(_SAMPLE_SECONDS)
    return meter.first_at


def _help(bench: Bench, *words: str) -> float:
    return Client(bench.folder("client"), os.environ).run(orchestrator(*words)).wall_seconds
