"""How true the bandwidth limit is, how fair between entries, and how it changes while a run goes on."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from benchmark.cases import MIB
from benchmark.measuring import FailedRunError, said, started
from benchmark.metering import Meter, Window
from benchmark.suite import Bench, Client, Finding, say, write_manifest
from benchmark.testbed import Certificate, serving, write_video

_START_SECONDS = 20.0
_POLL_SECONDS = 0.02
_SLACK = 1.4
_HOW = (
    "Payload bytes as the sink receives them, in every window from a second after the first byte; `--jobs` as many as"
    " entries. The limit is in a config file; for a changed one the file is rewritten and SIGUSR1 sent while the"
    " run goes on. Shares: MB of each entry in the first window."
)


@dataclass(frozen=True)
class Scope:
    """How fast, for how long, and with how many entries."""

    bytes_per_second: int
    changed_bytes_per_second: int
    window_seconds: float
    measured_seconds: float
    settle_seconds: float
    entries: Sequence[int]

    @property
    def total_bytes(self) -> int:
        """Enough that nobody runs out of bytes before the end."""
        seconds = 2 * (self.measured_seconds + self.settle_seconds) * _SLACK
        return int(max(self.bytes_per_second, self.changed_bytes_per_second) * seconds)


@dataclass(frozen=True)
class Rate:
    """The windows of one run under one limit."""

    name: str
    limit: int
    windows: Sequence[Window]

    @property
    def megabytes(self) -> list[float]:
        """MB/s of each window."""
        return [window.bytes_per_second / 1e6 for window in self.windows]

    @property
    def deviations(self) -> list[float]:
        """How many percent each window is off."""
        return [(rate * 1e6 / self.limit - 1) * 100 for rate in self.megabytes]

    @property
    def shares(self) -> list[int]:
        """The bytes that each entry got in the first window."""
        return sorted(count for count in self.windows[0].objects.values() if count)

    def figures(self) -> dict[str, Any]:
        """What the row is made from."""
        return {"limit": self.limit, "megabytes_per_second": self.megabytes, "shares": self.shares}

    def row(self) -> list[str]:
        """The table's row."""
        worst = max(self.deviations, key=abs)
        shares = [f"{count / 1e6:.1f}" for count in self.shares]
        ratio = f"{self.shares[-1] / self.shares[0]:.3f}"
        return [
            self.name, f"{self.limit / 1e6:g}", f"{mean(self.megabytes):.3f}", f"{mean(self.deviations):+.2f}",
            f"{worst:+.2f}", str(len(shares)), f"{shares[0]}-{shares[-1]}", ratio,
        ]  # fmt: skip


@dataclass(frozen=True)
class LimitedRun:
    """A run whose limit its config file holds, and the meter at the other end."""

    client: Client
    meter: Meter
    scope: Scope
    process: subprocess.Popen[bytes]

    def change(self, bytes_per_second: int) -> None:
        """Set another limit while it goes on."""
        _write_limit(_config(self.client), bytes_per_second)
        self.process.send_signal(signal.SIGUSR1)

    def wait_for_first_byte(self) -> None:
        """Wait until the store has received something; raises FailedRunError."""
        self._wait(_START_SECONDS, lambda: self.meter.first_at is not None)

    def rate(self, name: str, limit: int) -> Rate:
        """Watch it from now on; raises FailedRunError."""
        began = time.monotonic() + self.scope.settle_seconds
        until = began + self.scope.measured_seconds
        self._wait(2 * self.scope.measured_seconds + 10, lambda: self.meter.samples[-1].at >= until)
        rate = Rate(name, limit, self.meter.windows(began, self.scope.window_seconds))
        say(f"limit: {' | '.join(rate.row())}")
        return rate

    def _wait(self, seconds: float, is_done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + seconds
        while not is_done():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise FailedRunError(f"the run under a limit did not go on: {said(self.client.home)}")
            time.sleep(_POLL_SECONDS)


def measure(bench: Bench) -> Finding:
    """One entry and eight, over HTTP and HTTPS; then a limit that changes."""
    scope = _scope(bench)
    certificate = Certificate.make(bench.folder("limit"))
    rates = [
        rate
        for entries in scope.entries
        for name, chosen in bench.chosen((("HTTP", None), ("HTTPS", certificate)))
        for rate in _rates(bench, scope, name, chosen, entries)
    ]
    return Finding(
        title=f"The bandwidth limit in windows of {scope.window_seconds:g} s",
        target="within 3 % of the limit; entries served alike",
        how=_HOW,
        columns=(
            "run",
            "limit MB/s",
            "mean MB/s",
            "mean off %",
            "worst off %",
            "entries",
            "shares MB",
            "max/min",
        ),
        rows=[rate.row() for rate in rates],
        figures={f"{rate.name}, {len(rate.shares)} entries": rate.figures() for rate in rates},
    )


def _scope(bench: Bench) -> Scope:
    if bench.is_quick:
        return Scope(8 * 10**6, 4 * 10**6, 0.4, 0.6, 0.3, (2,))
    return Scope(20 * 10**6, 8 * 10**6, 30.0, 34.0, 1.0, (1, 8))


def _rates(
    bench: Bench, scope: Scope, name: str, certificate: Certificate | None, entries: int
) -> Iterator[Rate]:
    with _running(bench, scope, certificate, entries) as run:
        run.wait_for_first_byte()
        yield run.rate(name, scope.bytes_per_second)
        run.change(scope.changed_bytes_per_second)
        yield run.rate(f"{name}, changed", scope.changed_bytes_per_second)


@contextmanager
def _running(
    bench: Bench, scope: Scope, certificate: Certificate | None, entries: int
) -> Iterator[LimitedRun]:
    meter = Meter(scope.window_seconds / 100)
    with serving(certificate, has_digest=True, meter=meter) as testbed:
        client = Client(bench.folder("client"), testbed.environment)
        manifest = _write_batch(client.home, scope, entries)
        _write_limit(_config(client), scope.bytes_per_second)
        flags = {"config": _config(client), "jobs": entries, "part_size": 16 * MIB, "api_rate": "unlimited"}
        command = client.command("run", manifest, "--no-media-check", **flags)
        with started(command, client.settings, client.home) as process:
            yield LimitedRun(client, meter, scope, process)


def _write_batch(folder: Path, scope: Scope, entries: int) -> Path:
    write_video(folder / "film.mp4", scope.total_bytes // entries)
    names = [f"film-{number}" for number in range(entries)]
    avatars = [{"id": name, "name": name, "training_video": "film.mp4"} for name in names]
    return write_manifest(folder / "limit.yaml", avatars)


def _config(client: Client) -> Path:
    return client.home / "config.toml"


def _write_limit(config: Path, bytes_per_second: int) -> None:
    """Replace the file at once: the run may read it at any moment."""
    fresh = config.with_suffix(".new")
    fresh.write_text(f'bwlimit = "{bytes_per_second}"\n', encoding="utf-8")
    fresh.replace(config)
