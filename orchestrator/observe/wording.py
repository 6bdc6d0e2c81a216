"""Texts of the progress displays: numbers, times, retries and outages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from orchestrator.domain.quantities import as_clock
from orchestrator.engine.events import FilmsChecked, OutageBegan, OutageEvent, RetryScheduled

#: In English for every locale, like all output.
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_OUT = {"unreachable": "unreachable", "throttled": "overloaded"}


def short_moment(seconds: float) -> str:
    """Format seconds since the epoch as `28 Nov 19:49` in the local time zone, or for another year `28 Nov 2025`."""
    then, now = datetime.fromtimestamp(seconds).astimezone(), datetime.now().astimezone()
    clock = f"{then:%H:%M}" if then.year == now.year else str(then.year)
    return f"{then.day:>2} {_MONTHS[then.month - 1]} {clock}"


def comparing(files: int) -> str:
    """Return the message for the time while *files* local files are read to compare them."""
    return f"comparing {files} file{'' if files == 1 else 's'} with what was sent"


def checking(event: FilmsChecked) -> str:
    """Return the message for the time while the films of a manifest are checked."""
    return f"checking {event.done}{'' if event.total is None else f' of {event.total}'} films"


def retries(causes: Mapping[str, int]) -> str:
    """Return `12 retries (8 interrupted, 4 throttled)`, the most frequent first; "" for none."""
    total = sum(causes.values())
    if not total:
        return ""
    ordered = sorted(causes.items(), key=lambda cause: -cause[1])
    listed = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in ordered)
    return f"{total} retr{'y' if total == 1 else 'ies'} ({listed})"


def retry_line(event: RetryScheduled, seconds: float) -> str:
    """Return the reason for a retry, and the *seconds* until it."""
    return f"try {event.attempt + 1} in {seconds:.0f} s: {event.message}"


def outage_news(event: OutageEvent) -> str:
    """Return the message that the run waits, with the reason, or that it continues."""
    return f"waiting: {outage_line(event)}" if isinstance(event, OutageBegan) else outage_end_line(event)


def outage_line(event: OutageBegan, *, passed_seconds: float = 0.0) -> str:
    """Return why and how long the run waits, *passed_seconds* after the event."""
    next_try = max(event.next_try_seconds - passed_seconds, 0.0)
    return (
        f"{event.side} {_OUT.get(event.kind, 'failing')} ({event.reason}) for "
        f"{as_clock(event.lasted_seconds + passed_seconds)}; next try in {next_try:.0f} s; "
        f"giving up at {as_clock(event.patience_seconds)}"
    )


def outage_end_line(event: OutageEvent) -> str:
    """Return the message that the run continues."""
    return f"{event.side} answers again after {as_clock(event.lasted_seconds)}"


def stop_reason(reason: str) -> str:
    """Return a short reason why a run takes no new work; the last message of the run has the full sentence."""
    head, _, _ = reason.partition(": ")
    return head if " " in head else reason
