"""The event bus: who is told what."""

from __future__ import annotations

from orchestrator.engine.events import BatchDrained, Event, EventBus, ServiceWarning, StepReached


class Hearing:
    """A subscriber for one kind of event."""

    hears = frozenset({BatchDrained})

    def __init__(self, told: list[tuple[str, Event]]) -> None:
        self._told = told

    def __call__(self, event: Event) -> None:
        """Keep it."""
        self._told.append(("picky", event))


def test_a_subscriber_is_told_what_it_hears_and_others_everything() -> None:
    """In the order in which they subscribed, late ones too."""
    told: list[tuple[str, Event]] = []
    bus = EventBus(lambda event: told.append(("first", event)), Hearing(told))
    drained, warned = BatchDrained(reason="stop"), ServiceWarning(message="slow")

    bus.publish(drained)
    bus.publish(warned)
    bus.subscribe(lambda event: told.append(("late", event)))
    bus.publish(drained)

    assert told == [
        ("first", drained),
        ("picky", drained),
        ("first", warned),
        ("first", drained),
        ("picky", drained),
        ("late", drained),
    ]


def test_nobody_hears_what_no_subscriber_wants() -> None:
    """So that it need not be made."""
    bus = EventBus(Hearing([]))

    assert bus.is_heard(BatchDrained)
    assert not bus.is_heard(StepReached)
    bus.subscribe(lambda _: None)
    assert bus.is_heard(StepReached)
