"""Statistics for tests to assert on; they contain no secrets."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Gauge:
    """The current and the maximum number of operations in flight."""

    current: int = 0
    maximum: int = 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Count one more for the block."""
        self.current += 1
        self.maximum = max(self.maximum, self.current)
        try:
            yield
        finally:
            self.current -= 1


@dataclass
class Stats:
    """The counts since this process started."""

    requests: Counter[str] = field(default_factory=Counter)
    """By operation, as faults.OPERATIONS names them."""
    refusals: Counter[str] = field(default_factory=Counter)
    """By operation and error code, such as "put SignatureDoesNotMatch"."""
    puts: Counter[str] = field(default_factory=Counter)
    """PUT requests by target: the object's key, for a part with "#NUMBER@UPLOADID"."""
    stored: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Bytes of each body that was stored, by target: more than one means that it was sent twice."""
    put_bytes_received: int = 0
    put_bytes_stored: int = 0
    api_in_flight: Gauge = field(default_factory=Gauge)
    puts_in_flight: Gauge = field(default_factory=Gauge)

    @property
    def store_requests(self) -> int:
        """The number of requests that reached the object store."""
        return self.requests["put"] + self.requests["get"] + self.requests["head"]

    def to_document(self) -> dict[str, Any]:
        """Return the document of GET /_simulator/stats, except for the faults."""
        return {
            "requests": dict(self.requests),
            "refusals": dict(self.refusals),
            "puts": dict(self.puts),
            "put_bytes_received": self.put_bytes_received,
            "put_bytes_stored": self.put_bytes_stored,
            "store_requests": self.store_requests,
            "api_in_flight_maximum": self.api_in_flight.maximum,
            "puts_in_flight_maximum": self.puts_in_flight.maximum,
        }
