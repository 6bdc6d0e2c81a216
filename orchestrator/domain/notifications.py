"""What people are notified of, in words."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from itertools import islice
from typing import NamedTuple

from orchestrator.domain.untrusted_text import shown

#: Entries that one message names.
NAMED_ENTRIES = 20


class NoticeKind(StrEnum):
    """What a notice is about; those of one kind that are owed at a time are one message."""

    FINISHED = "finished"
    FAILED = "failed"
    REVIEW_FAILED = "review_failed"
    DECISION_NEEDED = "decision_needed"
    OUTAGE_BEGUN = "outage_begun"
    OUTAGE_OVER = "outage_over"
    WATCH_FINISHED = "watch_finished"


class Notice(NamedTuple):
    """Something to be said: *subject* is what it is about, *reason* what makes it another one, *text* a line."""

    subject: str
    kind: NoticeKind
    text: str
    reason: str = ""


#: For one entry, and for several.
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
    """What is sent; *kind* is that of its notices."""

    kind: NoticeKind
    title: str
    body: str


def message_of(batch: str, kind: NoticeKind, notices: Sequence[Notice]) -> Message:
    """One message for *notices*, which are all of *kind*."""
    one, several = _TITLES[kind]
    title = one if len(notices) == 1 else several.format(count=len(notices))
    # Names and reviewers' words come from others, and some addresses end in a terminal.
    lines = [shown(notice.text) for notice in islice(notices, NAMED_ENTRIES)]
    if len(notices) > NAMED_ENTRIES:
        lines.append(f"and {len(notices) - NAMED_ENTRIES} more")
    return Message(kind, f"{shown(batch)}: {title}", "\n".join(lines))
