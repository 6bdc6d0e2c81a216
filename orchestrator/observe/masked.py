"""Masking of contacts and secrets in events: text from others is masked, our own fields are unchanged."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from orchestrator.domain.untrusted_text import masked, without

#: Fields whose values are ours, or were validated when read: a number in them is not a phone number.
OUR_FIELDS = frozenset(
    {
        *(
            "timestamp",
            "level",
            "event",
            "logger",
            "batch",
            "digest",
            "run_id",
            "entry",
            "job_id",
            "request_id",
        ),
        *("asset", "operation", "point", "state", "from_state", "to_state", "service_state", "group"),
        *("kind", "code", "status", "outcome", "endpoint", "project_id", "remedy"),
    }
)


def masked_event(event: Mapping[str, Any], *, hidden: Collection[str] = ()) -> dict[str, Any]:
    """Return *event* with free texts masked at any depth, and without the texts in *hidden* in any value.

    Dataclasses become mappings, so that each of their fields can be found in the log.
    """
    return {
        name: without(value, hidden)
        if name in OUR_FIELDS and isinstance(value, str)
        else _masked(value, hidden)
        for name, value in event.items()
    }


def _masked(value: Any, hidden: Collection[str]) -> Any:
    match value:
        case str():
            return masked(value, hidden=hidden)
        case bool() | int() | float() | None:
            return value
        case Mapping():
            return masked_event(value, hidden=hidden)
        case list() | tuple() | set() | frozenset():
            return [_masked(item, hidden) for item in value]
        case _ if is_dataclass(value) and not isinstance(value, type):
            return masked_event(asdict(value), hidden=hidden)
        case _:
            return masked(str(value), hidden=hidden)
