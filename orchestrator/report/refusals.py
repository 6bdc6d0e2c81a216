"""What reviewers refused, and why: grouped by what they said, with the rule that is about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from orchestrator.journal.history import ReviewRecord
from orchestrator.preflight.reviews import rule_of_review


def reviews_document(reviews: Sequence[ReviewRecord]) -> dict[str, Any]:
    """The reviews, oldest first, grouped by what was said."""
    first: dict[tuple[str, str], bool] = {}
    for review in reviews:
        first.setdefault((review.batch, review.entry_id), review.is_passed)
    failed = [review for review in reviews if not review.is_passed]
    counts = Counter((review.reason, review.code) for review in failed)
    return {
        "reviewed": len(first),
        "first_pass_rate": sum(first.values()) / len(first) if first else None,
        "reasons": [
            {
                "reason": reason,
                "code": code,
                "count": count,
                "rule": rule_of_review(reason, code),
                "entries": sorted(
                    {one.entry_id for one in failed if (one.reason, one.code) == (reason, code)}
                ),
                "redo_reasons": _redo_reasons(failed, reason, code),
            }
            for (reason, code), count in counts.most_common()
        ],
    }


def _redo_reasons(failed: Sequence[ReviewRecord], reason: str | None, code: str | None) -> list[str]:
    alike = (one for one in failed if (one.reason, one.code) == (reason, code))
    return list(dict.fromkeys(redo for one in alike for redo in one.redo_reasons))
