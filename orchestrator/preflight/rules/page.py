"""The rules as text: Markdown, which reads well in a terminal and makes the page docs/rules.md."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from orchestrator.preflight.rules.rule import Extra, Rule

DISTRIBUTION = "metastudio-orchestrator"
_INTRODUCTION = """\
# Rules

What is checked before anything is sent, by id. `orchestrator explain P10` prints one of them,
`orchestrator explain --all` this page. A rule says no more than is known: **refused** where the service publishes
the rule (an error), **likely refused** where its guide for filming does, **look first** where a person should look.
The last two are warnings.

`ignore: [P15]` in a manifest, for the batch or for an avatar (in a table: the column `ignore`), hides the
warnings of a rule.
"""


def rules_page(rules: Iterable[Rule]) -> str:
    """All *rules* as one Markdown page."""
    return "\n".join((_INTRODUCTION, *(f"#{rule_text(rule)}" for rule in rules)))


def rule_text(rule: Rule) -> str:
    """One rule as Markdown, with its id and title as the heading."""
    paragraphs = [f"# {rule.id}: {rule.title}", rule.explanation, f"**What to do:** {rule.fix}"]
    if rule.command:
        paragraphs.append(f"    {rule.command}")
    paragraphs.append(" ".join(_facts(rule)))
    return "\n\n".join(paragraphs) + "\n"


def _facts(rule: Rule) -> Iterable[str]:
    yield f"Source: {rule.source}."
    if rule.verdicts:
        yield f"May say: {', '.join(verdict.words for verdict in rule.verdicts)}."
    if not rule.can_be_ignored:
        yield "Cannot be ignored."
    if rule.extra:
        yield f"Needs `{install_command(rule.extra)}`."


def install_command(extra: Extra) -> str:
    """The command that installs what the rules of *extra* need."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def rule_document(rule: Rule) -> dict[str, Any]:
    """One rule as `explain --json` prints it."""
    return {
        "rule": rule.id,
        "title": rule.title,
        "source": rule.source,
        "verdicts": list(rule.verdicts),
        "explanation": rule.explanation,
        "fix": rule.fix,
        "command": rule.command,
        "extra": rule.extra,
        "can_be_ignored": rule.can_be_ignored,
    }
