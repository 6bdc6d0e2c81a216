"""What a run has done so far, counted from its events."""

from __future__ import annotations

from orchestrator.engine.events import Event, RetryScheduled, SegmentStored


class Tally:
    """A subscriber that counts segments and bytes sent, and segments retried."""

    hears = frozenset({SegmentStored, RetryScheduled})

    def __init__(self) -> None:
        """Start at nothing."""
        self.sent_segments = 0
        self.sent_bytes = 0
        self.retried = 0

    def __call__(self, event: Event) -> None:
        """Count *event*."""
        if isinstance(event, SegmentStored) and not event.is_resumed:
            self.sent_segments += 1
            self.sent_bytes += event.bytes
        elif isinstance(event, RetryScheduled) and event.asset is not None:
            self.retried += 1
