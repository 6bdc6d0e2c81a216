"""What reviews came to, as the journal keeps it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReviewRecord:
    """One review of one submission of an entry, kept also when its batch is forgotten; `at` is set by the journal."""

    batch: str
    entry_id: str
    job_id: str | None
    submitted_at: float
    is_passed: bool
    reason: str | None = None
    code: str | None = None
    redo_reasons: tuple[str, ...] = ()
    at: float = 0.0
