"""What of a run's events the journal keeps, for whoever looks at the run later."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from orchestrator.engine.events import (
    DecisionNeeded,
    Event,
    OutageBegan,
    OutageEnded,
    ServiceWarning,
    WarningRaised,
)
from orchestrator.journal.journal import Journal
from orchestrator.journal.timeline import IncidentKind

#: Of one run; what goes wrong with thousands of entries is told by the first hundreds.
MOST_INCIDENTS: Final = 500
#: Why a run leaves entries alone that its batch may not even know yet.
INVALID: Final = "invalid, skipped"
TOO_YOUNG: Final = "files written just now"


class IncidentKeeper:
    """A subscriber that has outages, warnings and decisions kept in the journal, at most MOST_INCIDENTS.

    *flush* is called where nothing else may be written for a long time.
    """

    name = "the history of the run"
    hears = frozenset({OutageBegan, OutageEnded, WarningRaised, ServiceWarning, DecisionNeeded})

    def __init__(self, journal: Journal, batch: str, run_id: str, flush: Callable[[], object]) -> None:
        self._journal = journal
        self._run = batch, run_id
        self._flush = flush
        self._left = MOST_INCIDENTS

    def __call__(self, event: Event) -> None:
        """Have *event* kept with the next write."""
        match event:
            case OutageBegan():
                self._keep(IncidentKind.OUTAGE, event.side, event.reason)
                self._flush()
            case OutageEnded():
                self._journal.end_incident(*self._run, IncidentKind.OUTAGE, event.side)
            case WarningRaised():
                self._keep(IncidentKind.WARNING, event.entry, event.message)
            case ServiceWarning():
                self._keep(IncidentKind.WARNING, "", event.message)
            case DecisionNeeded():
                self._keep(IncidentKind.DECISION, event.entry, event.reason)

    def left_alone(self, why: str, entries: Collection[str]) -> None:
        """Have it kept that the run leaves *entries*, if there are any, as they are."""
        if entries:
            self._keep(IncidentKind.LEFT_ALONE, why, ", ".join(sorted(entries)))

    def _keep(self, kind: IncidentKind, subject: str, message: str) -> None:
        if self._left:
            self._left -= 1
            self._journal.note_incident(*self._run, kind, subject, message)
