"""What reviewers refused, and why: grouped by what they said, with the rule that is about it."""

from __future__ import annotations

from collections import defaultdict
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
    alike: defaultdict[tuple[str | None, str | None], list[ReviewRecord]] = defaultdict(list)
    for review in failed:
        alike[review.reason, review.code].append(review)
    return {
        "reviewed": len(first),
        "first_pass_rate": sum(first.values()) / len(first) if first else None,
        "reasons": [
            {
                "reason": reason,
                "code": code,
                "count": len(said),
                "rule": rule_of_review(reason, code),
                "entries": sorted({one.entry_id for one in said}),
                "redo_reasons": list(dict.fromkeys(redo for one in said for redo in one.redo_reasons)),
            }
            for (reason, code), said in sorted(alike.items(), key=lambda group: -len(group[1]))
        ],
    }
