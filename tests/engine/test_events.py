"""The event bus: who is told what."""

from __future__ import annotations

import pytest

from orchestrator.engine.event_bus import EventBus
from orchestrator.engine.events import BatchDrained, Event, ServiceWarning, StepReached, SubscriberDropped


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


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), UnicodeError("half an emoji")])
def test_a_subscriber_that_fails_is_left_out_and_the_others_hear_of_it_once(error: Exception) -> None:
    """Telling of the work is never worth more than the work."""
    told: list[Event] = []

    def fail(_: Event) -> None:
        raise error

    bus = EventBus(fail, told.append)
    warned = ServiceWarning(message="slow")
    bus.publish(warned)
    bus.publish(warned)

    dropped, *rest = told
    assert isinstance(dropped, SubscriberDropped)
    assert "failed and is left out" in dropped.message
    assert rest == [warned, warned]


def test_when_every_subscriber_fails_the_work_goes_on() -> None:
    """No one is left to be told."""

    def fail(_: Event) -> None:
        raise OSError(28, "No space left on device")

    bus = EventBus(fail, fail)
    bus.publish(BatchDrained(reason="stop"))

    assert not bus.is_heard(BatchDrained)
