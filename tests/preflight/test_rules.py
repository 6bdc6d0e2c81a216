"""The registry of rules: complete, explained, published, and what `ignore` does with it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import orchestrator
from orchestrator.preflight.rulebook import RULES
from orchestrator.preflight.rules.rule import Rule, Verdict, rules_page

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_rule_says_what_why_from_where_and_what_to_do(rule: Rule) -> None:
    """In sentences; the title is a heading."""
    assert re.fullmatch(r"[MP]\d\d", rule.id)
    assert rule.explanation.endswith(".")
    assert rule.fix.endswith(".")
    assert rule.source
    assert not rule.title.endswith(".")
    assert rule.command is None or rule.command.startswith("ffmpeg ")


def test_only_format_size_and_length_are_refusals() -> None:
    """The service publishes no other rule for footage."""
    refusing = {rule.id for rule in RULES.values() if Verdict.REFUSED in rule.verdicts}

    assert refusing == {"P01", "P08", "P09"}


def test_the_page_in_the_documents_is_current() -> None:
    """`orchestrator explain --all > docs/rules.md` writes it."""
    assert (ROOT / "docs/rules.md").read_text(encoding="utf-8") == rules_page(RULES.values())


def test_every_rule_id_in_the_code_is_registered() -> None:
    """A problem cannot name a rule that `explain` does not know."""
    named = {
        found
        for path in Path(orchestrator.__file__).parent.rglob("*.py")
        for found in re.findall(r'"([MP]\d\d)"', path.read_text(encoding="utf-8"))
    }

    assert named == RULES.keys()
