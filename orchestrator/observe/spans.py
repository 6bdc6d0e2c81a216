"""OpenTelemetry spans of a run: batch, entry, segment, attempt, and the calls of the service.

Only OpenTelemetry's API is used, and only if the embedding program has configured a provider. That program decides
how and where spans are exported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from opentelemetry import trace
from opentelemetry.trace import Span, StatusCode

from orchestrator import __version__
from orchestrator.domain.assets import AssetKind
from orchestrator.engine.events import (
    CallAttempted,
    EntryFailed,
    EntryFinished,
    EntryStarted,
    Event,
    Point,
    RetryScheduled,
    RunFinished,
    RunStarted,
    SegmentStored,
    StepReached,
)

_PUT_BEGINS: Final = Point.PUT.before

#: The key of a segment: its batch, entry, asset and part number.
Part = tuple[str, str, AssetKind | None, int | None]


def run_spans() -> RunSpans | None:
    """Return a subscriber that creates spans; None if the embedding program has configured no provider."""
    provider = trace.get_tracer_provider()
    is_set_up = not isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider)
    return RunSpans(provider) if is_set_up else None


class RunSpans:
    """A subscriber that creates spans from the events of a run, or of a worker, whose entries have no batch span."""

    name = "the tracing"

    def __init__(self, provider: trace.TracerProvider) -> None:
        self._tracer = provider.get_tracer("orchestrator", __version__)
        self._batch: Span | None = None
        self._entries: dict[tuple[str, str], Span] = {}
        self._segments: dict[Part, Span] = {}
        self._attempts: dict[Part, Span] = {}
        self._handlers: dict[type[Event], Callable[..., None]] = {
            RunStarted: self._run_started,
            RunFinished: self._run_finished,
            EntryStarted: self._entry_started,
            EntryFailed: self._entry_failed,
            EntryFinished: self._entry_finished,
            StepReached: self._step_reached,
            SegmentStored: self._segment_stored,
            RetryScheduled: self._retry_scheduled,
            CallAttempted: self._call_attempted,
        }
        self.event_types = self._handlers.keys()

    def __call__(self, event: Event) -> None:
        """Begin or end the spans that *event* affects."""
        self._handlers[type(event)](event)

    def _begun(self, name: str, parent: Span | None, **attributes: str | int | None) -> Span:
        known = {f"metastudio.{key}": value for key, value in attributes.items() if value is not None}
        # Without an explicit parent, the current span of the embedding program is the parent.
        context = None if parent is None else trace.set_span_in_context(parent)
        return self._tracer.start_span(name, context, attributes=known)

    def _run_started(self, event: RunStarted) -> None:
        self._batch = self._begun(
            "batch", None, batch=event.batch, run_id=event.run_id, entries=event.totals.entries
        )

    def _run_finished(self, event: RunFinished) -> None:
        if self._batch is not None:
            self._batch.set_attribute("metastudio.exit_code", event.exit_code)
            if event.exit_code:
                self._batch.set_status(StatusCode.ERROR)
            self._batch.end()

    def _entry_started(self, event: EntryStarted) -> None:
        self._entries[event.batch, event.entry] = self._begun(
            "entry",
            self._batch,
            batch=event.batch,
            entry=event.entry,
            bytes=event.bytes_total,
            bytes_left=event.bytes_left,
        )

    def _entry_failed(self, event: EntryFailed) -> None:
        span = self._entries.get((event.batch, event.entry))
        if span is not None:
            # The kind, not the message: text from others is masked by logs and events files, but not here.
            span.set_status(StatusCode.ERROR, event.kind)

    def _entry_finished(self, event: EntryFinished) -> None:
        for spans in (self._attempts, self._segments):
            for part in [part for part in spans if part[:2] == (event.batch, event.entry)]:
                spans.pop(part).end()
        span = self._entries.pop((event.batch, event.entry), None)
        if span is not None:
            span.set_attribute("metastudio.state", event.state.value)
            span.end()

    def _step_reached(self, event: StepReached) -> None:
        if event.point != _PUT_BEGINS:
            return
        part = (event.batch, event.entry, event.asset, event.part_number)
        facts = {
            "batch": event.batch,
            "entry": event.entry,
            "asset": event.asset,
            "part_number": event.part_number,
        }
        if part not in self._segments:
            self._segments[part] = self._begun("segment", self._entries.get(part[:2]), **facts)
        self._attempts[part] = self._begun("attempt", self._segments[part], **facts)

    def _segment_stored(self, event: SegmentStored) -> None:
        part = (event.batch, event.entry, event.asset, event.part_number)
        attempt, segment = self._attempts.pop(part, None), self._segments.pop(part, None)
        if attempt is not None:
            attempt.set_attribute("metastudio.attempt", event.attempt)
            attempt.end()
        if segment is not None:
            segment.set_attribute("metastudio.bytes", event.bytes)
            segment.end()

    def _retry_scheduled(self, event: RetryScheduled) -> None:
        attempt = self._attempts.pop((event.batch, event.entry, event.asset, event.part_number), None)
        if attempt is not None:
            attempt.set_attribute("metastudio.attempt", event.attempt)
            attempt.set_status(StatusCode.ERROR, event.kind)
            attempt.end()

    def _call_attempted(self, event: CallAttempted) -> None:
        span = self._begun("call", self._batch, operation=event.operation, attempt=event.attempt)
        span.set_attribute("metastudio.seconds", event.seconds)
        if event.outcome != "ok":
            span.set_status(StatusCode.ERROR, event.outcome)
        span.end()
