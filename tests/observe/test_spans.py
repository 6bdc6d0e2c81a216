"""Spans of a run: a tree of batch, entry, segment and attempt, and nothing where nobody has asked for them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

import orchestrator
from orchestrator.observe.spans import run_spans
from orchestrator.simulator import SimulatorOptions
from tests.cli.conftest import SECRETS, Batch, batch, home, simulator, simulator_options

__all__ = ["batch", "home", "simulator", "simulator_options"]


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What a program around that has set up a provider gets."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    return exporter


def run(batch: Batch, state: Path) -> int:
    """Run the batch once."""

    async def run_once() -> int:
        async with orchestrator.open_batch(batch.manifest, state=state) as opened:
            return (await opened.run()).exit_code

    return asyncio.run(run_once())


def parents_of(spans: InMemorySpanExporter, name: str) -> set[str]:
    """The names of the parents of the spans called *name*."""
    by_id = {span.context.span_id: span for span in spans.get_finished_spans()}
    return {by_id[span.parent.span_id].name for span in named(spans, name) if span.parent is not None}


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    """The finished spans of that name."""
    return [span for span in spans.get_finished_spans() if span.name == name]


@pytest.mark.parametrize("simulator_options", [SimulatorOptions(fault_rates={"error-500": 0.4}, seed=1)])
@pytest.mark.usefixtures("simulator")
def test_a_run_is_a_tree_of_spans(batch: Batch, spans: InMemorySpanExporter, tmp_path: Path) -> None:
    """With the tries that failed among them, and nothing secret."""
    assert run(batch, tmp_path / "journal.db") == 0

    (root,) = named(spans, "batch")
    assert (root.parent, root.attributes["metastudio.exit_code"]) == (None, 0)  # type: ignore[index]
    assert {span.attributes["metastudio.entry"] for span in named(spans, "entry")} == {"anna", "bo"}  # type: ignore[index]
    assert len(named(spans, "segment")) == 8
    failed = [span for span in named(spans, "attempt") if span.status.status_code is StatusCode.ERROR]
    assert failed
    assert len(named(spans, "attempt")) == 8 + len(failed)
    parents = {name: parents_of(spans, name) for name in ("entry", "segment", "attempt", "call")}
    assert parents == {"entry": {"batch"}, "segment": {"entry"}, "attempt": {"segment"}, "call": {"batch"}}
    written = "".join(span.to_json() for span in spans.get_finished_spans())
    assert not any(secret in written for secret in SECRETS)


@pytest.mark.parametrize("simulator_options", [SimulatorOptions(min_part_bytes=300_000)])
@pytest.mark.usefixtures("simulator")
def test_an_entry_that_failed_is_an_error(batch: Batch, spans: InMemorySpanExporter, tmp_path: Path) -> None:
    """By the kind of its error; the other one is none."""
    batch.write(batch.entry("anna", video_multipart_count=2), batch.entry("bo"))

    assert run(batch, tmp_path / "journal.db") == 8

    statuses = {
        span.attributes["metastudio.entry"]: span.status.status_code  # type: ignore[index]
        for span in named(spans, "entry")
    }
    assert statuses == {"anna": StatusCode.ERROR, "bo": StatusCode.UNSET}


def test_without_a_provider_there_are_none() -> None:
    """Nothing is made, and nothing costs anything."""
    assert run_spans() is None
