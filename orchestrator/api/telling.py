"""What reports a batch's events beside the terminal and the log: lines for programs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.api.settings import STDOUT, Settings

if TYPE_CHECKING:
    from orchestrator.engine.event_bus import Subscriber


@dataclass(frozen=True, slots=True)
class Telling:
    """The subscribers, and where the events are written, None where no file takes them."""

    subscribers: tuple[Subscriber, ...] = ()
    events_path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What reports need of their program: texts in `hidden` are in none, `warn` hears why one is not made.

    `stdout` gives a descriptor of the standard output, or raises UsageError where there is none to give.
    """

    hidden: Collection[str]
    warn: Callable[[str], None]
    stdout: Callable[[], int]


@contextmanager
def telling(
    values: Settings, context: Mapping[str, str], clock: Callable[[], float], around: Surroundings
) -> Iterator[Telling]:
    """Report events as the settings say for the block; *context* is in every line."""
    place = values.events
    if place is None:
        yield Telling()
        return
    from orchestrator.observe.event_file import event_file  # noqa: PLC0415 - for those who want events only

    with event_file(
        around.stdout() if place == STDOUT else place,
        context,
        clock=clock,
        hidden=around.hidden,
        warn=around.warn,
    ) as lines:
        if lines is None:
            yield Telling()
        else:
            yield Telling((lines,), None if place == STDOUT else str(place.absolute()))
