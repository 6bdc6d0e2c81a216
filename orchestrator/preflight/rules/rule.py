"""What a rule is, the three words it may say, and rules as text.

The text is Markdown, which reads well in a terminal and makes the page docs/rules.md.
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
    """How much is known of what the review will say; never more than that."""

    #: The service publishes the rule: format, picture size, length. An error.
    REFUSED = "refused"
    #: The service's guide for filming says so. A warning, with --look-strict an error.
    LIKELY_REFUSED = "likely_refused"
    #: A person should look before it is sent. A warning.
    LOOK_FIRST = "look_first"

    @property
    def words(self) -> str:
        """The verdict as people read it."""
        return self.value.replace("_", " ")


class Extra(StrEnum):
    """What has to be installed beside the program before a rule can be checked."""

    PREFLIGHT = "preflight"
    FACES = "preflight-faces"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One check of a manifest, a film or a file.

    `verdicts` are those it may give; a rule without one finds plain errors or doubts. `can_be_ignored` is False
    where every finding is an error: to ignore it would only move the refusal to the service. `command` is the
    ffmpeg line that repairs a film, where one does; the program itself never changes footage.
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
        """The verdict of a finding that does not say its own: an error is a refusal where the rule may refuse."""
        if is_error:
            return Verdict.REFUSED if Verdict.REFUSED in self.verdicts else None
        return next((verdict for verdict in self.verdicts if verdict is not Verdict.REFUSED), None)


def rules_page(rules: Iterable[Rule]) -> str:
    """All *rules* as one Markdown page."""
    return "\n".join((_INTRODUCTION, *(f"#{rule_text(rule)}" for rule in rules)))


def rule_text(rule: Rule) -> str:
    """One rule as Markdown, with its id and title as the heading."""
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
