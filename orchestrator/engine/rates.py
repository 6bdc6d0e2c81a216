"""How fast one segment goes, as measured in this run."""

from __future__ import annotations


class RateEstimate:
    """A moving average of bytes per second of single PUTs."""

    def __init__(self, weight: float = 0.3) -> None:
        """Let each new measurement count *weight* against all before it."""
        self._weight = weight
        self._bytes_per_second: float | None = None

    def add(self, sent_bytes: int, seconds: float) -> None:
        """Take one finished PUT into account."""
        measured = sent_bytes / max(seconds, 1e-6)
        before = self._bytes_per_second
        self._bytes_per_second = measured if before is None else before + self._weight * (measured - before)

    def forget(self) -> None:
        """Start anew, because what was measured no longer holds."""
        self._bytes_per_second = None

    def seconds_for(self, send_bytes: int) -> float:
        """How long a PUT of *send_bytes* will take; 0.0 while nothing was measured."""
        return send_bytes / self._bytes_per_second if self._bytes_per_second else 0.0
