"""A large batch of tiny entries over three workers to its end: what grows with it, and what does not."""

from __future__ import annotations

import csv
import itertools
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmark.fleet.rig import Fleet, Worker, rigged
from benchmark.measuring import Cost, FailedRunError
from benchmark.suite import Bench, Finding, say
from benchmark.testbed import write_video

_WORKERS, _JOBS = 3, 8
_VIDEO_BYTES = 16 * 1024
_SAMPLE_SECONDS = 1.0
_ASK_SECONDS = 3.0
_LIMIT_SECONDS = 3 * 3600.0
_TABLES = ("pgqueuer", "pgqueuer_log", "pgqueuer_statistics", "entries", "segments", "transitions", "creates")
_SLICES = 10


@dataclass(frozen=True)
class Sample:
    """What had been done, and used, by a moment."""

    at: float
    done: int
    resident_bytes: Sequence[int]
    worker_seconds: float
    service_seconds: float
    postgres_seconds: float
    database_bytes: int

    @classmethod
    def take(cls, fleet: Fleet, workers: Sequence[Worker]) -> Sample:
        """Ask the journal and the system."""
        ((size,),) = fleet.ask("SELECT pg_database_size(current_database())")
        return cls(
            at=time.monotonic(),
            done=fleet.done(),
            resident_bytes=[worker.resident_bytes for worker in workers],
            worker_seconds=sum(worker.cpu_seconds for worker in workers),
            service_seconds=fleet.rig.service_cpu_seconds(),
            postgres_seconds=fleet.rig.postgres_cpu_seconds(),
            database_bytes=int(size),
        )


@dataclass
class Asker:
    """Asks `fleet status` every few seconds, as a table and as JSON in turn."""

    fleet: Fleet
    costs: list[Cost] = field(default_factory=list)
    failure: FailedRunError | None = None
    _is_over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Ask as long as the block lasts; raises FailedRunError at its end."""
        thread = threading.Thread(target=self._ask_on)
        thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            thread.join()
        if self.failure is not None:
            raise self.failure

    def _ask_on(self) -> None:
        client = self.fleet.client
        as_json = client.command("fleet", "status")
        as_table = [word for word in as_json if word != "--json"]
        for command in itertools.cycle((as_json, as_table)):
            try:
                self.costs.append(client.run(command))
            except FailedRunError as error:
                self.failure = error
                return
            if self._is_over.wait(_ASK_SECONDS):
                return

    @property
    def seconds(self) -> list[float]:
        """How long each answer took."""
        return [cost.wall_seconds for cost in self.costs]

    def sentence(self) -> str:
        """What was found."""
        cpu = median(cost.cpu_seconds for cost in self.costs)
        return (
            f"`fleet status` was asked {len(self.costs)} times meanwhile, each time by a new process: median"
            f" {median(self.seconds):.2f} s, at most {max(self.seconds):.2f} s, of which {cpu:.2f} s are CPU, most of"
            " it Python's start."
        )


def measure(bench: Bench) -> Finding:
    """Once, however many rounds are asked for."""
    entries = bench.entries or (60 if bench.is_quick else 20_000)
    manifest = _write_batch(bench.folder("scale"), entries)
    with rigged(bench) as rig, rig.fleet() as fleet:
        asker = Asker(fleet)
        enqueued, samples, peaks = _work(fleet, asker, manifest)
        tables = {name: _table(fleet, name) for name in _TABLES}
    slices = [_slice(samples[1:], entries * number // _SLICES) for number in range(_SLICES + 1)]
    return Finding(
        title=f"{entries} tiny entries over {_WORKERS} workers",
        target="flat from beginning to end; `fleet status` in under 1 s",
        how=f"Once. One film of {_VIDEO_BYTES >> 10} KiB each, `--jobs {_JOBS} --api-rate unlimited`. CPU is for each"
        " entry of that tenth; that of PostgreSQL has what this measurement and `fleet status` ask.",
        columns=(
            "entries done",
            "s",
            "entries/s",
            "worker MB, each",
            "CPU ms, workers",
            "CPU ms, PostgreSQL",
            "CPU ms, service",
            "database MB",
        ),
        rows=[_row(*pair) for pair in itertools.pairwise(slices)],
        figures={
            "enqueue": vars(enqueued),
            "samples": [vars(sample) for sample in slices],
            "peak_bytes": peaks,
            "status_seconds": asker.seconds,
            "status_cpu_seconds": [cost.cpu_seconds for cost in asker.costs],
            "tables": {name: {"rows": rows, "bytes": size} for name, (rows, size) in tables.items()},
        },
        notes=(_whole((samples[0], samples[-1]), enqueued, peaks), "", asker.sentence(), "", _left(tables)),
    )


def _write_batch(folder: Path, entries: int) -> Path:
    write_video(folder / "film.mp4", _VIDEO_BYTES)
    path = folder / "large.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "name", "training_video"))
        writer.writerows((f"e{number}", f"Name {number}", "film.mp4") for number in range(entries))
    return path


def _work(fleet: Fleet, asker: Asker, manifest: Path) -> tuple[Cost, list[Sample], list[int]]:
    """Queue a batch and bring it to its end: what queueing cost, samples, what each worker had in memory at most."""
    with ExitStack() as stack:
        flags = {"jobs": _JOBS, "api_rate": "unlimited"}
        workers = [stack.enter_context(fleet.worker(**flags)) for _ in range(_WORKERS)]
        samples = [Sample.take(fleet, workers)]

        def look() -> None:
            samples.append(Sample.take(fleet, workers))

        enqueued = fleet.enqueue(manifest)
        say(f"queued in {enqueued.wall_seconds:.1f} s")
        look()
        with asker.asking():
            fleet.await_end(workers, limit_seconds=_LIMIT_SECONDS, every_seconds=_SAMPLE_SECONDS, look=look)
        look()
        return enqueued, samples, [worker.peak_bytes for worker in workers]


def _slice(samples: Sequence[Sample], done: int) -> Sample:
    """The first sample with so many entries done."""
    return next(sample for sample in samples if sample.done >= done)


def _row(before: Sample, after: Sample) -> list[str]:
    seconds, count = after.at - before.at, max(after.done - before.done, 1)
    used = (
        after.worker_seconds - before.worker_seconds,
        after.postgres_seconds - before.postgres_seconds,
        after.service_seconds - before.service_seconds,
    )
    return [
        str(after.done),
        f"{seconds:.1f}",
        f"{count / seconds:.1f}" if seconds else "",
        " ".join(f"{size / 1e6:.0f}" for size in after.resident_bytes),
        *(f"{cpu / count * 1000:.1f}" for cpu in used),
        f"{after.database_bytes / 1e6:.0f}",
    ]


def _whole(ends: tuple[Sample, Sample], enqueued: Cost, peaks: Sequence[int]) -> str:
    first, last = ends
    seconds, count = last.at - first.at, last.done
    cpu = (last.worker_seconds - first.worker_seconds) / count * 1000
    grown = (last.database_bytes - first.database_bytes) / count
    return (
        f"{count} entries in {seconds:.0f} s, {count / seconds:.1f} per second, {cpu:.1f} ms of the workers' CPU and"
        f" {grown:.0f} bytes of the database for each. A worker had {max(peaks) / 1e6:.0f} MB at most."
        f" `enqueue` took {enqueued.wall_seconds:.1f} s ({enqueued.cpu_seconds:.1f} s CPU) and"
        f" {enqueued.peak_bytes / 1e6:.0f} MB."
    )


def _left(tables: Mapping[str, tuple[int, int]]) -> str:
    held = ", ".join(f"{name} {rows} ({size / 1e6:.1f} MB)" for name, (rows, size) in tables.items())
    return f"Rows at the end, and their space with indexes: {held}."


def _table(fleet: Fleet, name: str) -> tuple[int, int]:
    """How many rows a table has, and how many bytes with its indexes."""
    ((rows,),) = fleet.ask("SELECT count(*) FROM {}", name)
    ((size,),) = fleet.ask(
        "SELECT pg_total_relation_size(oid) FROM pg_class WHERE oid = '{}'::regclass", name
    )
    return int(rows), int(size)
