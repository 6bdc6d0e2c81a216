"""Rules, their three verdicts, and rules as text.

The text is Markdown, which is readable in a terminal and is the source of the page docs/rules.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

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


class Verdict(StrEnum):
    """The expected outcome of the review, stated with no more certainty than its source allows."""

    #: The service publishes the rule: format, picture size, length. An error.
    REFUSED = "refused"
    #: The service's guide for filming has the rule. A warning, with --look-strict an error.
    LIKELY_REFUSED = "likely_refused"
    #: A person should look before it is sent. A warning.
    LOOK_FIRST = "look_first"

    @property
    def words(self) -> str:
        """The verdict as text for users."""
        return self.value.replace("_", " ")


class Extra(StrEnum):
    """An optional dependency of the program that some rules need."""

    PREFLIGHT = "preflight"
    FACES = "preflight-faces"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One check of a manifest, a film or a file.

    `verdicts` are the possible verdicts of its findings; a rule without verdicts only gives errors or warnings.
    `can_be_ignored` is False when every finding is an error: ignoring it would only move the refusal to the service.
    `command` is an ffmpeg command that repairs a film, if there is one; the program itself never changes footage.
    """

    id: str
    title: str
    source: str
    verdicts: tuple[Verdict, ...] = ()
    explanation: str
    fix: str
    command: str | None = None
    extra: Extra | None = None
    can_be_ignored: bool = True

    def verdict_of(self, *, is_error: bool) -> Verdict | None:
        """Return the verdict of a finding without its own: an error is a refusal if the rule has that verdict."""
        if is_error:
            return Verdict.REFUSED if Verdict.REFUSED in self.verdicts else None
        return next((verdict for verdict in self.verdicts if verdict is not Verdict.REFUSED), None)


def rules_page(rules: Iterable[Rule]) -> str:
    """Return all *rules* as one Markdown page."""
    return "\n".join((_INTRODUCTION, *(f"#{rule_text(rule)}" for rule in rules)))


def rule_text(rule: Rule) -> str:
    """Return one rule as Markdown, with its id and title as the heading."""
    paragraphs = [f"# {rule.id}: {rule.title}", rule.explanation, f"**What to do:** {rule.fix}"]
    if rule.command:
        paragraphs.append(f"    {rule.command}")
    facts = [
        f"Source: {rule.source}.",
        f"May say: {', '.join(verdict.words for verdict in rule.verdicts)}." if rule.verdicts else "",
        "" if rule.can_be_ignored else "Cannot be ignored.",
        f"Needs `{install_command(rule.extra)}`." if rule.extra else "",
    ]
    return "\n\n".join((*paragraphs, " ".join(filter(None, facts)))) + "\n"


def install_command(extra: Extra) -> str:
    """Return the command that installs the dependencies of *extra*."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def rule_document(rule: Rule) -> dict[str, Any]:
    """Return one rule in the form that `explain --json` prints."""
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
