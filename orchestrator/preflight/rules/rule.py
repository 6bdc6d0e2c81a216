"""What a rule is, and the three words a rule may say."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
