"""Whose a job is: what the tag of a create proves, and what it leaves open (design section 2.1)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from orchestrator.domain.entries import normal

#: How far the service's clock and ours may be apart: the gateway refuses signatures that are further off
#: (metastudio-protocol section 12).
CLOCK_SKEW_SECONDS = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """A create that this journal made, or a takeover, which gives a job a tag of ours as well.

    `made_at` is in epoch seconds and not later than the job itself; `names` are what the avatar was and is called;
    `job_id` is that of a job which another journal made, and which was to get the tag by an update.
    """

    batch: str
    entry_id: str
    tag: str
    made_at: float
    names: Collection[str]
    batch_name: str
    job_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenJob:
    """What list or show says of a job; `created_at` in epoch seconds, None when it does not say."""

    job_id: str
    name: str
    batch_name: str | None
    tags: Collection[str]
    created_at: float | None


def proves_ours(create: Create, job: SeenJob) -> bool:
    """True when the job is the one that *create* made: it carries its exact tag, and nothing contradicts it."""
    return create.tag in job.tags and may_be_ours(create, job)


def may_be_ours(create: Create, job: SeenJob) -> bool:
    """True when name, batch and time of the job fit *create*; that alone proves nothing."""
    is_older = job.created_at is not None and job.created_at < create.made_at - CLOCK_SKEW_SECONDS
    return (
        not is_older
        and normal(job.name) in map(normal, create.names)
        and normal(job.batch_name or "") == normal(create.batch_name)
    )


def instant(text: str | None) -> float | None:
    """The epoch seconds of a time the service gives; None for one that cannot be read or names no zone."""
    try:
        moment = datetime.fromisoformat(text or "")
        return None if moment.tzinfo is None else moment.timestamp()
    except (ValueError, OverflowError):
        return None


def listed_since(made_at: float) -> str | None:
    """The earliest create time to list for a job made at *made_at*, as the service writes times; None for any."""
    try:
        moment = datetime.fromtimestamp(made_at, UTC) - timedelta(seconds=CLOCK_SKEW_SECONDS)
    except (ValueError, OverflowError, OSError):
        return None
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}" if moment.year >= 1970 else None
