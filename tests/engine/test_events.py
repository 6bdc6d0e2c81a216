"""The event bus: who is told what."""

from __future__ import annotations

import ast
import errno
import io
import time
from pathlib import Path

import pytest

import orchestrator
from orchestrator.engine.events import (
    BatchDrained,
    Event,
    EventBus,
    ServiceWarning,
    StepReached,
    SubscriberDropped,
)
from orchestrator.observe.plain import PlainProgress
from orchestrator.observe.tracking import RunTracker


class Hearing:
    """A subscriber for one kind of event."""

    event_types = frozenset({BatchDrained})

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

    assert bus.has_subscriber(BatchDrained)
    assert not bus.has_subscriber(StepReached)
    bus.subscribe(lambda _: None)
    assert bus.has_subscriber(StepReached)


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
    assert dropped.message.startswith("a subscriber failed and is left out: ")
    assert rest == [warned, warned]


class FullDisk(io.StringIO):
    """Takes nothing."""

    def write(self, _: str) -> int:
        """Fail as a full file system does."""
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_subscriber_that_fails_is_named_in_words_of_its_own() -> None:
    """People know the progress display; the name of a class in our code says nothing to them."""
    told: list[Event] = []
    display = PlainProgress(RunTracker(time.monotonic), FullDisk(), time.time)

    EventBus(display, told.append).publish(ServiceWarning(message="slow"))

    dropped = told[0]
    assert isinstance(dropped, SubscriberDropped)
    assert dropped.message == "the progress display failed and is left out: No space left on device"


def test_every_subscriber_of_the_program_has_a_name_for_messages() -> None:
    """Whoever writes the next one is reminded."""
    nameless = [
        node.name
        for path in Path(orchestrator.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and _is_subscriber(node) and not _has_name(node)
    ]

    assert nameless == []


def _is_subscriber(node: ast.ClassDef) -> bool:
    is_protocol = any(ast.unparse(base) == "Protocol" for base in node.bases)
    return not is_protocol and any(
        isinstance(each, ast.FunctionDef)
        and each.name == "__call__"
        and [ast.unparse(argument.annotation or argument) for argument in each.args.args[1:]] == ["Event"]
        for each in node.body
    )


def _has_name(node: ast.ClassDef) -> bool:
    return any(isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "name" for each in node.body)


def test_when_every_subscriber_fails_the_work_goes_on() -> None:
    """No one is left to be told."""

    def fail(_: Event) -> None:
        raise OSError(28, "No space left on device")

    bus = EventBus(fail, fail)
    bus.publish(BatchDrained(reason="stop"))

    assert not bus.has_subscriber(BatchDrained)
