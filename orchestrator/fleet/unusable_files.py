"""Handling of files that this host cannot use: the pace of its worker, and the entries that no host can read."""

from __future__ import annotations

from collections.abc import Callable
from shlex import quote
from typing import Final

from orchestrator.domain.errors import FILES_UNREADABLE, ParkedError
from orchestrator.domain.quantities import moment
from orchestrator.engine.context import Run
from orchestrator.engine.events import (
    EntryFinished,
    EntryHandedBack,
    Event,
    EventBus,
    SegmentStored,
    ServiceWarning,
)
from orchestrator.fleet.parking import park
from orchestrator.fleet.queue import OwnedQueries, QueueItem

#: After this many entries in a row without a readable file, the fault is probably the host's, not theirs.
SUSPICIOUS: Final = 3
#: The pause between two entries that such a host tries.
RETRY_SECONDS: Final = 30.0
#: The number of hosts that an error names with their reasons; `fleet status` and `status --entry` list all.
_NAMED_HOSTS: Final = 5


class FileThrottle:
    """A subscriber that limits a worker to single entries at long intervals while its host cannot read files.

    A host whose share is not mounted would otherwise try every entry of the queue. Once it has read a file, it
    continues as before.
    """

    name = "the pace of a host without files"
    event_types = frozenset({SegmentStored, EntryFinished, EntryHandedBack})

    def __init__(self, events: EventBus, monotonic: Callable[[], float]) -> None:
        self._events = events
        self._monotonic = monotonic
        self._in_a_row = 0
        self._next_at = 0.0

    def __call__(self, event: Event) -> None:
        """Count the entries in a row with files that this host could not use; a usable file resets the count."""
        match event:
            case EntryHandedBack():
                self._in_a_row += 1
                self._next_at = self._monotonic() + RETRY_SECONDS
                if self._in_a_row == SUSPICIOUS:
                    message = (
                        f"host {event.host} cannot use the files of {SUSPICIOUS} entries in a row: {event.message}; "
                        f"they are left to other hosts, and it tries one entry every {RETRY_SECONDS:.0f} s"
                    )
                    self._events.publish(ServiceWarning(message=message))
            case SegmentStored(is_resumed=False) | EntryFinished(is_done=True):
                self._in_a_row = 0

    def may_take(self) -> bool:
        """True when an entry may be taken now; for a suspicious host, returning True starts the next pause."""
        if self._in_a_row < SUSPICIOUS:
            return True
        if self._monotonic() < self._next_at:
            return False
        self._next_at = self._monotonic() + RETRY_SECONDS
        return True


async def park_if_unreadable_everywhere(run: Run, queries: OwnedQueries, wanted: QueueItem) -> bool:
    """Lay aside an entry that this host has handed back if no other live host can try it; True when that was done.

    Raises JournalError.
    """
    if await queries.has_untried_hosts(wanted):
        return False
    record = await run.journal.entry(wanted.batch, wanted.entry_id)
    if record is None:
        return True
    handbacks = await run.journal.handbacks(record)
    hosts = " and ".join(sorted(each.host for each in handbacks))
    latest = sorted(handbacks, key=lambda each: -each.at)
    story = [f"{each.host} at {moment(each.at)}: {each.reason}" for each in latest[:_NAMED_HOSTS]]
    if len(latest) > _NAMED_HOSTS:
        story.append(f"and {len(latest) - _NAMED_HOSTS} more hosts")
    return await park(
        run,
        record,
        ParkedError(
            f"no live host can use its files: {'; '.join(story)}",
            code=FILES_UNREADABLE,
            hint=f"mount the share on {hosts}, so that the files are under the same path as at `enqueue`, then "
            f"`orchestrator retry {quote(run.batch.name)} --entry {quote(record.entry_id)}`",
        ),
    )
