"""`status --reviews`: what reviewers said in all batches, and which rule would have seen it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from orchestrator.cli.batches import has_journal
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.loops import run_async
from orchestrator.cli.output import SCHEMA
from orchestrator.cli.settings import EffectiveSettings
from orchestrator.domain.exit_codes import ExitCode
from orchestrator.journal.journal import open_journal
from orchestrator.journal.reviews import ReviewRecord
from orchestrator.preflight.reviews import rule_of_review


def show_reviews(invocation: Invocation) -> ExitCode:
    """Print the reasons of failed reviews, the most frequent first, and how many passed at once."""
    effective = invocation.settings()
    reviews = run_async(_read, effective) if has_journal(effective) else []
    document = reviews_document(reviews)
    output = invocation.output
    if output.is_json:
        output.document({"schema": SCHEMA, **document})
        return ExitCode.OK
    if not reviews:
        output.say("no reviews recorded yet; `orchestrator watch BATCH` fetches them")
        return ExitCode.OK
    rate = document["first_pass_rate"]
    output.say(f"{document['reviewed']} entries reviewed, {rate:.0%} passed at the first review")
    for group in document["reasons"]:
        rule = f" [{group['rule']}]" if group["rule"] else ""
        code = f" ({group['code']})" if group["code"] else ""
        output.say(f"{group['count']:>5}  {group['reason']}{code}{rule}")
        for redo in group["redo_reasons"]:
            output.say(f"       run again because: {redo}")
    return ExitCode.OK


async def _read(effective: EffectiveSettings) -> list[ReviewRecord]:
    async with open_journal(effective.values.state, clock=time.time) as journal:
        return await journal.reviews()


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
                "entries": _entries(failed, reason, code),
                "redo_reasons": _redo_reasons(failed, reason, code),
            }
            for (reason, code), count in counts.most_common()
        ],
    }


def _entries(failed: Sequence[ReviewRecord], reason: str | None, code: str | None) -> list[str]:
    return sorted({one.entry_id for one in failed if (one.reason, one.code) == (reason, code)})


def _redo_reasons(failed: Sequence[ReviewRecord], reason: str | None, code: str | None) -> list[str]:
    alike = (one for one in failed if (one.reason, one.code) == (reason, code))
    return list(dict.fromkeys(redo for one in alike for redo in one.redo_reasons))
