"""Prometheus metrics of a run or a worker: a file for node_exporter's collector, or a port to scrape.

Every metric has the label `batch`, so that the files of several batches can share a folder. docs/metrics.md lists
the metrics.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    start_http_server,
    write_to_textfile,
)

from orchestrator import __version__
from orchestrator.domain.states import EntryState
from orchestrator.engine import events
from orchestrator.engine.events import Event
from orchestrator.observe.streams import reason_of

#: The prefix of every metric's name.
PREFIX: Final = "metastudio"
#: The seconds between two writes of the file.
INTERVAL_SECONDS: Final = 5.0
_LOOPBACK: Final = "127.0.0.1"
_CALL_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_PUT_BUCKETS: Final = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_OUTCOMES: Final = ("done", "failed", "skipped", "pending")


class _Shape(NamedTuple):
    """The definition of a metric; *labels* are those besides `batch`."""

    kind: Any
    help_text: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] | None = None


#: The metrics by name without the prefix.
_METRICS: Final[Mapping[str, _Shape]] = {
    "run_started_timestamp_seconds": _Shape(Gauge, "When the run began"),
    "run_ended_timestamp_seconds": _Shape(Gauge, "When the run ended; 0 while it works"),
    "run_exit_code": _Shape(Gauge, "The exit code of the run, once it ended; -1 while it works"),
    "batch_entries": _Shape(Gauge, "Entries of the batch by outcome", ("outcome",)),
    "entries_active": _Shape(Gauge, "Entries that workers are at"),
    "entries_undecided": _Shape(Gauge, "Entries that wait for a decision of a person"),
    "batch_bytes": _Shape(Gauge, "Bytes that the batch asks for"),
    "batch_stored_bytes": _Shape(Gauge, "Bytes that the store holds, from this run or before"),
    "entry_transitions": _Shape(Counter, "Changes of state", ("state",)),
    "entry_failures": _Shape(Counter, "Entries that failed, by kind of error", ("kind",)),
    "job_state_changes": _Shape(Counter, "Changes of the service's state of jobs", ("group",)),
    "segments_stored": _Shape(Counter, "Segments stored; resumed ones were not sent", ("resumed",)),
    "sent_bytes": _Shape(Counter, "Bytes of segments that this run sent and the store confirmed"),
    "retries": _Shape(Counter, "Tries that failed and are repeated", ("operation", "kind")),
    "api_call_seconds": _Shape(Histogram, "Calls of the service", ("operation", "outcome"), _CALL_BUCKETS),
    "put_seconds": _Shape(Histogram, "Uploads of segments that succeeded", (), _PUT_BUCKETS),
    "outage_active": _Shape(Gauge, "1 while the run waits for the service or the store", ("side",)),
    "outages": _Shape(Counter, "Outages that began", ("side", "kind")),
    "outage_seconds": _Shape(Counter, "Seconds of outages that ended", ("side",)),
    "warnings": _Shape(Counter, "Warnings of the service and of entries"),
}


class RunMetrics:
    """A subscriber that counts the events of a run of *batch*; *clock* returns seconds since the epoch.

    *batch* is None for a worker of a fleet, which may work on several batches: metrics of an entry then have its
    batch as the label, and all others have an empty label. A worker only reports the progress of a batch when the
    batch ends, because other workers share it. `registry` may be read from any thread. `is_begun` is True once the
    run holds the batch's lock.
    """

    name = "the metrics"

    def __init__(self, batch: str | None, run_id: str, clock: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        #: A worker cannot overwrite the metrics of another run, so it has begun from the start.
        self.is_begun = self.is_worker = batch is None
        self._batch = batch or ""
        self._clock = clock
        info = Info(f"{PREFIX}_run", "The run and the program's version", ["batch"], registry=self.registry)
        info.labels(self._batch).info({"run_id": run_id, "version": __version__})
        self._metrics: dict[str, Any] = {}
        #: The child of each metric by the values of its labels; looking it up each time costs more than counting.
        self._children: dict[tuple[str, ...], Any] = {}
        for name, shape in _METRICS.items():
            labels, options = ["batch", *shape.labels], {"buckets": shape.buckets} if shape.buckets else {}
            self._metrics[name] = shape.kind(
                f"{PREFIX}_{name}", shape.help_text, labels, registry=self.registry, **options
            )
            # Create metrics at 0, which shows that nothing has happened; a missing metric shows nothing.
            if not shape.labels and not (self.is_worker and name.startswith("batch_")):
                self._of(name)
        self._of("run_started_timestamp_seconds").set(clock())
        self._of("run_exit_code").set(-1)
        self._handlers: dict[type[Event], Callable[..., None]] = {
            events.RunStarted: self._run_started,
            events.RunFinished: self._run_finished,
            events.BatchFinished: self._count_batch,
            events.EntryStarted: lambda event: self._of("entries_active", batch=event.batch).inc(),
            events.EntryFinished: self._entry_finished,
            events.EntryTransitioned: lambda event: self._of(
                "entry_transitions", event.to_state.value, batch=event.batch
            ).inc(),
            events.EntryFailed: lambda event: self._of("entry_failures", event.kind, batch=event.batch).inc(),
            events.DecisionNeeded: lambda event: self._of("entries_undecided", batch=event.batch).inc(),
            events.JobStateChanged: lambda event: self._of(
                "job_state_changes", event.group.value, batch=event.batch
            ).inc(),
            events.SegmentStored: self._segment_stored,
            events.UrlsExpired: lambda event: self._count_stored(-event.lost_bytes),
            events.RetryScheduled: lambda event: self._of(
                "retries", event.operation, event.kind, batch=event.batch
            ).inc(),
            events.CallAttempted: lambda event: self._of(
                "api_call_seconds", event.operation, event.outcome
            ).observe(event.seconds),
            events.OutageBegan: self._outage_began,
            events.OutageEnded: self._outage_ended,
            events.WarningRaised: lambda event: self._of("warnings", batch=event.batch).inc(),
            events.ServiceWarning: lambda _: self._of("warnings").inc(),
        }
        self.event_types = self._handlers.keys()

    def __call__(self, event: Event) -> None:
        """Count *event*."""
        self._handlers[type(event)](event)

    def end(self, exit_code: int) -> None:
        """Record the end of the run, even if it never started its work."""
        self.is_begun = True
        self._of("run_ended_timestamp_seconds").set(self._clock())
        self._of("run_exit_code").set(exit_code)

    def _of(self, name: str, *labels: str, batch: str | None = None) -> Any:
        """Return the child of the metric *name* with the values *labels*, for *batch* or for the default batch."""
        key = (name, self._batch if batch is None else batch, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._metrics[name].labels(*key[1:])
        return child

    def _run_started(self, event: events.RunStarted) -> None:
        self.is_begun = True
        self._of("batch_bytes").set(event.totals.bytes)
        self._of("batch_stored_bytes").set(event.stored_bytes)
        pending = event.totals.entries - event.done_entries
        for outcome, count in zip(_OUTCOMES, (event.done_entries, 0, 0, pending), strict=True):
            self._of("batch_entries", outcome).set(count)

    def _run_finished(self, event: events.RunFinished) -> None:
        self._count_batch(event)
        self.end(event.exit_code)

    def _count_batch(self, event: events.RunFinished | events.BatchFinished) -> None:
        for outcome in _OUTCOMES:
            self._of("batch_entries", outcome, batch=event.batch).set(event.entries[outcome])

    def _entry_finished(self, event: events.EntryFinished) -> None:
        self._of("entries_active", batch=event.batch).dec()
        outcome = "done" if event.is_done else "failed" if event.state is EntryState.FAILED else None
        if outcome is not None and not self.is_worker:
            self._of("batch_entries", outcome).inc()
            self._of("batch_entries", "pending").dec()

    def _segment_stored(self, event: events.SegmentStored) -> None:
        self._of("segments_stored", "true" if event.is_resumed else "false", batch=event.batch).inc()
        self._count_stored(event.bytes)
        if not event.is_resumed:
            self._of("sent_bytes", batch=event.batch).inc(event.bytes)
            self._of("put_seconds", batch=event.batch).observe(event.put_seconds)

    def _count_stored(self, count: int) -> None:
        if not self.is_worker:
            self._of("batch_stored_bytes").inc(count)

    def _outage_began(self, event: events.OutageBegan) -> None:
        self._of("outage_active", event.side).set(1)
        self._of("outages", event.side, event.kind).inc()

    def _outage_ended(self, event: events.OutageEnded) -> None:
        self._of("outage_active", event.side).set(0)
        self._of("outage_seconds", event.side).inc(event.lasted_seconds)


@contextmanager
def metrics_file(path: Path, metrics: RunMetrics, warn: Callable[[str], None]) -> Iterator[None]:
    """Write *metrics* to *path* every few seconds of the block and at its end, through a temporary file each time.

    After the first failed write, *warn* is called with the reason, and writing stops.
    """
    has_ended = threading.Event()

    def write() -> bool:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_to_textfile(str(path), metrics.registry)
        except (OSError, ValueError) as error:
            warn(f"metrics are not written to {path}: {reason_of(error)}; the command continues without them")
            return False
        return True

    def keep_writing() -> None:
        is_over = False
        while not is_over:
            is_over = has_ended.wait(INTERVAL_SECONDS)
            # Until the run has begun, the file may belong to another run, which holds the batch's lock.
            if metrics.is_begun and not write():
                return

    # Use a thread: while the run waits for the service there are no events, and the file must not look stale.
    thread = threading.Thread(target=keep_writing, name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        has_ended.set()
        thread.join()


@contextmanager
def metrics_port(port: int, metrics: RunMetrics, warn: Callable[[str], None]) -> Iterator[None]:
    """Serve *metrics* on *port* of this machine for the block; on failure *warn* is called with the reason."""
    try:
        server, thread = start_http_server(port, _LOOPBACK, metrics.registry)
    except OSError as error:
        warn(f"metrics are not served on port {port}: {reason_of(error)}; the command continues without them")
        yield
        return
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
