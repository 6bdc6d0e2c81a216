"""Metrics of a run: a file that is always whole, a port of this machine, and rules and a dashboard that know them."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.domain.assets import AssetKind
from orchestrator.domain.states import EntryState
from orchestrator.engine import events
from orchestrator.engine.events import Totals
from orchestrator.observe import metrics as module
from orchestrator.observe.metrics import RunMetrics, metrics_file, metrics_port

DOCS = Path(__file__).parents[2] / "docs"
BATCH = {"batch": "studio"}
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool (Debian's package prometheus) is not installed"
)


@pytest.fixture
def metrics() -> RunMetrics:
    """Those of a run that has just begun."""
    return RunMetrics("studio", "run-1", lambda: 1000.0)


def begin(metrics: RunMetrics) -> None:
    """A batch of five, of which two are done."""
    metrics(
        events.RunStarted(
            batch="studio",
            run_id="run-1",
            totals=Totals(entries=5, segments=50, bytes=5_000),
            done_entries=2,
            stored_segments=20,
            stored_bytes=2_000,
        )
    )


def value(metrics: RunMetrics, name: str, **labels: str) -> float | None:
    """One value, None where there is none."""
    return metrics.registry.get_sample_value(name, BATCH | labels)


def test_entries_are_counted_by_outcome(metrics: RunMetrics) -> None:
    """From the start of the run, entry by entry, and as the run counts them at its end."""
    begin(metrics)
    for entry, state in (("anna", EntryState.CONFIRMED), ("bo", EntryState.FAILED)):
        metrics(
            events.EntryStarted(
                batch="studio", entry=entry, state=EntryState.PENDING, bytes_total=1, bytes_left=1
            )
        )
        metrics(
            events.EntryFinished(
                batch="studio", entry=entry, state=state, is_done=state is EntryState.CONFIRMED
            )
        )

    def outcomes() -> list[float | None]:
        names = ("done", "failed", "skipped", "pending")
        return [value(metrics, "metastudio_batch_entries", outcome=name) for name in names]

    assert outcomes() == [3, 1, 0, 1]
    assert value(metrics, "metastudio_entries_active") == 0
    counts = {"total": 5, "done": 3, "failed": 1, "skipped": 1, "pending": 0}
    metrics(
        events.RunFinished(batch="studio", run_id="run-1", exit_code=8, elapsed_seconds=1, entries=counts)
    )
    assert outcomes() == [3, 1, 1, 0]
    assert value(metrics, "metastudio_run_exit_code") == 8
    assert value(metrics, "metastudio_run_ended_timestamp_seconds") == 1000


def test_sent_and_resumed_bytes_are_told_apart(metrics: RunMetrics) -> None:
    """Both are stored, one was sent by this run."""
    begin(metrics)
    for is_resumed in (True, False):
        metrics(
            events.SegmentStored(
                batch="studio",
                entry="anna",
                asset=AssetKind.TRAINING_VIDEO,
                part_number=1,
                bytes=500,
                attempt=1,
                is_resumed=is_resumed,
                is_verified=True,
                seconds=2.0,
                put_seconds=1.5,
            )
        )

    assert value(metrics, "metastudio_batch_stored_bytes") == 3_000
    assert value(metrics, "metastudio_sent_bytes_total") == 500
    assert value(metrics, "metastudio_segments_stored_total", resumed="true") == 1
    assert value(metrics, "metastudio_put_seconds_sum") == 1.5


def test_an_outage_is_active_until_it_ends(metrics: RunMetrics) -> None:
    """One for each side."""
    metrics(
        events.OutageBegan(
            side="service",
            lasted_seconds=0,
            kind="unreachable",
            reason="refused",
            code=None,
            request_id=None,
            next_try_seconds=1,
            patience_seconds=900,
        )
    )
    assert value(metrics, "metastudio_outage_active", side="service") == 1

    metrics(events.OutageEnded(side="service", lasted_seconds=42))

    assert value(metrics, "metastudio_outage_active", side="service") == 0
    assert value(metrics, "metastudio_outage_seconds_total", side="service") == 42


def test_every_event_that_is_heard_is_counted(metrics: RunMetrics) -> None:
    """A metric in the document, and each of the document's in the registry."""
    named = set(re.findall(r"`(metastudio_\w+)`", (DOCS / "metrics.md").read_text(encoding="utf-8")))
    families = {family.name for family in metrics.registry.collect()}
    made = {name.removesuffix("_total").removesuffix("_info") for name in named}

    assert made == {name.removesuffix("_info") for name in families}


def test_the_file_is_written_while_the_run_works_and_is_always_whole(
    metrics: RunMetrics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads it meanwhile finds each time all metrics, and nothing beside it."""
    monkeypatch.setattr(module, "INTERVAL_SECONDS", 0.001)
    path = tmp_path / "folder" / "studio.prom"
    complaints: list[str] = []
    sizes = set()

    with metrics_file(path, metrics, complaints.append):
        begin(metrics)
        deadline = time.monotonic() + 5
        while not path.exists() and time.monotonic() < deadline:
            pass
        for _ in range(200):
            metrics(events.ServiceWarning(message="..."))
            text = path.read_text(encoding="utf-8")
            sizes.add(len(list(text_string_to_metric_families(text))))
            assert text.endswith("\n")

    assert len(sizes) == 1
    assert "metastudio_warnings_total{" + 'batch="studio"} 200.0' in path.read_text(encoding="utf-8")
    assert [found.name for found in path.parent.iterdir()] == ["studio.prom"]
    assert complaints == []


def test_a_run_that_does_not_get_its_batch_leaves_the_file_alone(metrics: RunMetrics, tmp_path: Path) -> None:
    """It is that of the run which has it."""
    path = tmp_path / "studio.prom"
    path.write_text("another run's\n", encoding="utf-8")

    with metrics_file(path, metrics, pytest.fail):
        pass

    assert path.read_text(encoding="utf-8") == "another run's\n"


def test_a_file_that_cannot_be_written_is_one_warning(
    metrics: RunMetrics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the run is."""
    monkeypatch.setattr(module, "INTERVAL_SECONDS", 0.001)
    (tmp_path / "file").touch()
    complaints: list[str] = []

    with metrics_file(tmp_path / "file" / "studio.prom", metrics, complaints.append):
        begin(metrics)
        deadline = time.monotonic() + 5
        while not complaints and time.monotonic() < deadline:
            pass

    assert len(complaints) == 1
    assert "metrics are not written to" in complaints[0]


def test_the_port_is_one_of_this_machine(metrics: RunMetrics) -> None:
    """And is free again afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        complaints: list[str] = []
        with metrics_port(port, metrics, complaints.append):
            pass
    assert complaints == [
        f"metrics are not served on port {port}: Address already in use; the command continues without them"
    ]

    with (
        metrics_port(port, metrics, pytest.fail),
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer,
    ):
        assert b"metastudio_run_exit_code" in answer.read()
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_the_dashboard_asks_for_metrics_that_there_are(metrics: RunMetrics) -> None:
    """In every panel."""
    document = json.loads((DOCS / "metrics/dashboard.json").read_text(encoding="utf-8"))
    asked = {
        name
        for panel in document["panels"]
        for target in panel["targets"]
        for name in re.findall(r"metastudio_\w+", target["expr"])
    }
    families = {family.name: family.type for family in metrics.registry.collect()}
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "info": ("_info",)}
    there = {f"{name}{suffix}" for name, kind in families.items() for suffix in suffixes.get(kind, ("",))}

    assert asked
    assert asked <= there


@needs_promtool
def test_promtool_accepts_metrics_rules_and_their_nights(metrics: RunMetrics) -> None:
    """Names, units and types by convention; every rule that is tested fires when it should."""
    assert PROMTOOL is not None
    begin(metrics)
    checks = (
        (["check", "metrics"], generate_latest(metrics.registry)),
        (["check", "rules", "alerts.yml"], b""),
        (["test", "rules", "alerts.test.yml"], b""),
    )
    for arguments, given in checks:
        ended = subprocess.run(
            [PROMTOOL, *arguments], input=given, cwd=DOCS / "metrics", capture_output=True, check=False
        )
        assert (ended.returncode, ended.stderr) == (0, b""), (arguments, ended.stdout, ended.stderr)
