"""What reviewers said is kept once for each submission, whatever becomes of the batch."""

from __future__ import annotations

import pytest

from orchestrator.cli.work.status import reviews_document
from orchestrator.journal.history import ReviewRecord
from orchestrator.journal.journal import open_journal
from orchestrator.preflight.rulebook import RULES, rule_of_review
from tests.rig import Rig


@pytest.mark.parametrize(
    ("reason", "code", "rule"),
    [
        ("The background is not green at 2:13", None, "P10"),
        ("背景不是绿幕", None, "P10"),
        ("shadows on the wall", None, "P11"),
        ("the ID card has glare, face unreadable", None, "P06"),
        ("resolution is wrong", "44005901", "P09"),
        (None, "MSS.44005901", "P09"),
        ("too much noise in the recording", None, "P14"),
        ("视频有剪辑", None, "P13"),
        ("please contact the sales team", None, None),
        (None, None, None),
    ],
)
def test_a_reason_is_set_beside_the_rule_that_is_about_it(
    reason: str | None, code: str | None, rule: str | None
) -> None:
    """In both languages; where none is known to be, none."""
    assert rule_of_review(reason, code) == rule
    assert rule is None or rule in RULES


def review(entry_id: str, at: float, reason: str | None = None, **others: object) -> ReviewRecord:
    return ReviewRecord("batch", entry_id, "job", at, reason is None, reason, at=at, **others)  # type: ignore[arg-type]  # as it is given


def test_reasons_are_grouped_and_the_first_review_of_each_entry_counts() -> None:
    """An entry that passed at last did not pass at the first."""
    document = reviews_document(
        [
            review("anna", 1, "no green screen", redo_reasons=("wrong person",)),
            review("bo", 2, "no green screen"),
            review("carla", 3),
            review("anna", 4),
            review("di", 5, "noise"),
        ]
    )

    assert (document["reviewed"], document["first_pass_rate"]) == (4, 0.25)
    assert [(r["reason"], r["count"], r["rule"]) for r in document["reasons"]] == [
        ("no green screen", 2, "P10"),
        ("noise", 1, "P14"),
    ]
    assert document["reasons"][0]["entries"] == ["anna", "bo"]
    assert document["reasons"][0]["redo_reasons"] == ["wrong person"]
    assert reviews_document([])["first_pass_rate"] is None


async def test_a_review_is_kept_once_and_outlives_its_batch(rig: Rig) -> None:
    """The same news twice, after a kill, is one review."""
    rig.make_entries(1)
    await rig.run()
    async with open_journal(str(rig.state), clock=lambda: 100.0) as journal:
        (batch,) = await journal.batches()
        kept = ReviewRecord(batch.batch, "avatar-0", "job", 50.0, False, "no green", "c", ("again",), 100.0)
        await journal.keep_review(kept)
        await journal.keep_review(kept)
        await journal.forget_batch(batch.batch)

        assert await journal.reviews() == [kept]
