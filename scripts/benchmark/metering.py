"""What a sink tells about the bytes it receives."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

Bytes = Mapping[str, int]


@dataclass(frozen=True)
class Sample:
    """What had come in by a moment of the monotonic clock: altogether, for each object, and its first byte."""

    at: float
    received_bytes: int
    objects: Bytes
    first_at: float | None

    @classmethod
    def parse(cls, line: str) -> Sample:
        """Read the sink's line."""
        told = json.loads(line)
        arrivals = told["arrivals"]
        began = [arrival["first_at"] for arrival in arrivals.values() if arrival["first_at"] is not None]
        objects = {path: arrival["received_bytes"] for path, arrival in arrivals.items()}
        return cls(told["at"], told["received_bytes"], objects, min(began, default=None))


@dataclass(frozen=True)
class Window:
    """Two samples and what happened between them."""

    before: Sample
    after: Sample

    @property
    def bytes_per_second(self) -> float:
        """The mean rate."""
        passed = self.after.received_bytes - self.before.received_bytes
        return passed / (self.after.at - self.before.at)

    @property
    def objects(self) -> dict[str, int]:
        """The bytes of each object."""
        return {path: count - self.before.objects.get(path, 0) for path, count in self.after.objects.items()}


@dataclass
class Meter:
    """The samples of a sink that tells them every *interval_seconds*."""

    interval_seconds: float = 1.0
    samples: list[Sample] = field(default_factory=list)

    def listen(self, lines: Iterator[str]) -> None:
        """Take the sink's lines until it ends."""
        for line in lines:
            self.samples.append(Sample.parse(line))

    @property
    def first_at(self) -> float | None:
        """When the first byte of any object came."""
        return self.samples[-1].first_at if self.samples else None

    def megabits_since(self, began: float) -> list[float]:
        """Mbit/s between samples from then on."""
        samples = [sample for sample in self.samples if sample.at >= began]
        return [Window(*pair).bytes_per_second * 8e-6 for pair in itertools.pairwise(samples)]

    def windows(self, began: float, seconds: float) -> list[Window]:
        """Every window of so many seconds from then on."""
        samples = [sample for sample in self.samples if sample.at >= began]
        ends = (
            (before, next((after for after in samples if after.at >= before.at + seconds), None))
            for before in samples
        )
        return [Window(before, after) for before, after in ends if after is not None]
