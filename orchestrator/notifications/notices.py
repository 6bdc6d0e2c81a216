"""The texts of notices about events, entries and runs, and the messages made of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from orchestrator.domain.quantities import as_clock
from orchestrator.domain.states import EntryState
from orchestrator.domain.untrusted_text import shown
from orchestrator.engine.events import DecisionNeeded, EntryFailed, Event, OutageBegan, OutageEnded
from orchestrator.journal.outbox import Notice, NoticeKind
from orchestrator.journal.records import EntryRecord
from orchestrator.observe.wording import outage_line

#: Entries that one message lists.
NAMED_ENTRIES = 20


#: The titles for one notice, and for several.
_TITLES = {
    NoticeKind.FINISHED: ("run finished", "{count} runs finished"),
    NoticeKind.FAILED: ("an entry failed", "{count} entries failed"),
    NoticeKind.REVIEW_FAILED: ("a review failed", "{count} reviews failed"),
    NoticeKind.DECISION_NEEDED: ("an entry needs a decision", "{count} entries need a decision"),
    NoticeKind.OUTAGE_BEGUN: ("waiting", "waiting"),
    NoticeKind.OUTAGE_OVER: ("continuing", "continuing"),
    NoticeKind.WATCH_FINISHED: ("watch finished", "{count} watches finished"),
}


class Message(NamedTuple):
    """A message to send; *kind* is the kind of its notices."""

    kind: NoticeKind
    title: str
    body: str


def message_of(batch: str, kind: NoticeKind, notices: Sequence[Notice]) -> Message:
    """Return one message for *notices*, which are all of *kind*."""
    one, several = _TITLES[kind]
    title = one if len(notices) == 1 else several.format(count=len(notices))
    # Names and reviewers' texts are untrusted, and some targets show messages on a terminal.
    lines = [shown(notice.text) for notice in islice(notices, NAMED_ENTRIES)]
    if len(notices) > NAMED_ENTRIES:
        lines.append(f"and {len(notices) - NAMED_ENTRIES} more")
    return Message(kind, f"{shown(batch)}: {title}", "\n".join(lines))


def notice_of(event: Event, occasion: str) -> Notice | None:
    """Return the notice for *event*, None without one; *occasion* distinguishes one outage from the next."""
    match event:
        case EntryFailed():
            return _failure(event.entry, event.kind, event.code, event.message)
        case DecisionNeeded():
            subject = f"decision:{event.entry}"
            return Notice(subject, NoticeKind.DECISION_NEEDED, f"{event.entry}: {event.reason}", event.reason)
        case OutageBegan():
            return Notice(f"outage:{event.side}", NoticeKind.OUTAGE_BEGUN, outage_line(event), occasion)
        case OutageEnded():
            text = f"{event.side} answers again after {as_clock(event.lasted_seconds)}"
            return Notice(f"outage_over:{event.side}", NoticeKind.OUTAGE_OVER, text, occasion)
        case _:
            return None


def notice_of_entry(record: EntryRecord) -> Notice | None:
    """Return the notice for a failed entry or review of the journal, None for any other entry or without an error.

    The text for a failed entry is the same as that of its event.
    """
    if record.state is EntryState.FAILED and record.error is not None:
        return _failure(record.entry_id, record.error.kind, record.error.code, record.error.message)
    if record.state is not EntryState.REVIEW_FAILED:
        return None
    reason = record.review_reason or "no reason was given"
    code = f" ({record.review_code})" if record.review_code else ""
    return Notice(
        f"review:{record.entry_id}",
        NoticeKind.REVIEW_FAILED,
        f"{record.entry_id}: {reason}{code}",
        f"{record.submitted_at}: {reason}",
    )


def _failure(entry: str, kind: str, code: str | None, message: str) -> Notice:
    is_decision = kind == "decision_needed"
    return Notice(
        f"{'decision' if is_decision else 'failed'}:{entry}",
        NoticeKind.DECISION_NEEDED if is_decision else NoticeKind.FAILED,
        f"{entry}: {message}{f' ({code})' if code else ''}",
        f"{kind} {code} {message}",
    )


def finish_of(
    run_id: str, exit_code: int, elapsed_seconds: float, entries: Mapping[str, int], cause: str | None = None
) -> Notice:
    """Return the notice for the end of a run; *cause* is the error that stopped it."""
    others = {"failed": entries["failed"], "skipped": entries["skipped"], "left": entries["pending"]}
    counts = "".join(f", {count} {name}" for name, count in others.items() if count)
    why = "" if cause is None else f"; {cause}"
    return Notice(
        f"finished:{run_id}",
        NoticeKind.FINISHED,
        f"{entries['done']} of {entries['total']} entries done{counts}, in {as_clock(elapsed_seconds)}; "
        f"exit code {int(exit_code)}{why} (run {run_id})",
    )
