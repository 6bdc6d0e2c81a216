"""The bus: who hears which event.

Subscribers are called in order, on the event loop, and must not block. One that fails is dropped: a report
of the work is never worth more than the work (design section 2.1).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from orchestrator.engine.events import CallAttempted, Event, SubscriberDropped
from orchestrator.metastudio.pacing import ApiAttempt

#: The standard library's, since most runs log nothing and need not load more.
log = logging.getLogger(__name__)

Subscriber = Callable[[Event], None]


class EventBus:
    """Hands each event to every subscriber, but to one that has `hears` only the kinds in it.

    A subscriber's `name` is what messages call it, such as "the progress display".
    """

    def __init__(self, *subscribers: Subscriber) -> None:
        self._subscribers = list(subscribers)
        self._listeners: dict[type[Event], tuple[Subscriber, ...]] = {}

    def subscribe(self, subscriber: Subscriber) -> None:
        """Add *subscriber* at the end."""
        self._subscribers.append(subscriber)
        self._listeners.clear()

    def is_heard(self, kind: type[Event]) -> bool:
        """True when a subscriber wants events of *kind*; lets callers skip building high-volume events."""
        listeners = self._listeners.get(kind)
        return bool(self._listeners_of(kind) if listeners is None else listeners)

    def publish(self, event: Event) -> None:
        """Call every subscriber that wants *event* with it; one that raises is dropped, as the others hear."""
        listeners = self._listeners.get(type(event))
        for subscriber in self._listeners_of(type(event)) if listeners is None else listeners:
            try:
                subscriber(event)
            except Exception as error:
                # Whatever is wrong with it, the work is worth more.
                if subscriber not in self._subscribers:
                    continue
                self._subscribers.remove(subscriber)
                self._listeners.clear()
                name = getattr(subscriber, "name", "a subscriber")
                if not isinstance(error, OSError):
                    log.exception("subscriber.crashed", extra={"told": {"subscriber": name}})
                reason = (error.strerror if isinstance(error, OSError) else None) or "an unexpected error"
                self.publish(SubscriberDropped(message=f"{name} failed and is left out: {reason}"))

    def _listeners_of(self, kind: type[Event]) -> tuple[Subscriber, ...]:
        """Look for them; the answer is kept, since an entry asks dozens of times."""
        wanting = (each for each in self._subscribers if kind in getattr(each, "hears", (kind,)))
        listeners = self._listeners[kind] = tuple(wanting)
        return listeners


def telling_attempts(events: EventBus) -> Callable[[ApiAttempt], None]:
    """Publish every try of a call of the service on *events*, where one listens."""

    def tell(attempt: ApiAttempt) -> None:
        if events.is_heard(CallAttempted):
            events.publish(
                CallAttempted(
                    operation=attempt.operation,
                    attempt=attempt.attempt,
                    outcome=attempt.outcome,
                    status=attempt.status,
                    code=attempt.code,
                    request_id=attempt.request_id,
                    seconds=attempt.seconds,
                )
            )

    return tell
