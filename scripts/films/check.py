"""Looks at the labelled films and says which rules found what; needs the extras preflight and preflight-faces."""

from __future__ import annotations

import json
import os
import resource
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.preflight.films.film import FilmRequirements, judge_film, read_film
from orchestrator.preflight.look.measures import Purpose, is_installed, judge_look
from orchestrator.preflight.look.measuring import measure_film
from orchestrator.preflight.rulebook import RULES, Finding
from orchestrator.preflight.rules.rule import Extra, Verdict

PAGE = Path(__file__).parents[2] / "docs/preflight.md"
#: The films are seconds long, so that making them takes minutes.
NOT_SHOWN = {"P08"}


@dataclass(frozen=True)
class Outcome:
    """What was expected of one film, and what was found."""

    name: str
    expected: frozenset[str]
    findings: tuple[Finding, ...]
    cpu_seconds: float
    film_seconds: float

    @property
    def rules(self) -> frozenset[str]:
        """The rules that found something."""
        return frozenset(finding.rule for finding in self.findings)

    @property
    def is_found(self) -> bool:
        """True when a fault that was made is found."""
        return bool(self.expected & self.rules)

    @property
    def wrong(self) -> frozenset[str]:
        """The rules that found what is not there."""
        return self.rules - self.expected

    @property
    def wrong_refusals(self) -> list[Finding]:
        """The refusals of what no rule refuses."""
        return [f for f in self.findings if f.verdict is Verdict.REFUSED and f.rule in self.wrong]


def cpu_seconds() -> float:
    """What this process has used."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def look_at(path: Path, recipe: dict[str, Any], *, is_deep: bool) -> Outcome:
    """Index, pictures and sound of one film, as `validate --look` sees them."""
    start = cpu_seconds()
    film = read_film(str(path))
    findings = list(judge_film(film, FilmRequirements(is_flexus=recipe["is_flexus"])))
    if film.damage is None:
        purpose = Purpose(is_green_wanted=recipe["is_green_wanted"], is_flexus=recipe["is_flexus"])
        findings += judge_look(measure_film(str(path), is_deep=is_deep), purpose)
    expected = frozenset(recipe["finds"]) | (frozenset(recipe["deep"]) if is_deep else frozenset())
    kept = tuple(finding for finding in findings if finding.rule not in NOT_SHOWN)
    return Outcome(recipe["name"], expected, kept, cpu_seconds() - start, film.seconds or 0)


def page(outcomes: Sequence[Outcome], title: str) -> str:
    """The section *title*: how many are right, and by rule."""
    faulty = [outcome for outcome in outcomes if outcome.expected]
    good = [outcome for outcome in outcomes if not outcome.expected]
    found = sum(outcome.is_found for outcome in faulty)
    flagged = [outcome for outcome in outcomes if outcome.rules]
    rightly = sum(bool(outcome.expected) for outcome in flagged)
    seconds = sum(outcome.film_seconds for outcome in outcomes)
    facts = {
        "faulty films found (recall)": f"{found} of {len(faulty)}, {found / len(faulty):.1%}",
        "films with a finding that are faulty (precision)": (
            f"{rightly} of {len(flagged)}, {rightly / max(1, len(flagged)):.1%}"
        ),
        "good films with a finding": f"{sum(bool(each.rules) for each in good)} of {len(good)}",
        "faulty films with a second, wrong finding": sum(bool(each.wrong) for each in faulty),
        "false refusals": sum(bool(each.wrong_refusals) for each in outcomes),
        f"CPU seconds, for {seconds / 60:.1f} minutes of film": f"{sum(o.cpu_seconds for o in outcomes):.0f}",
    }
    lines = [
        f"## {title}",
        "",
        f"{len(outcomes)} films, {len(faulty)} of them with a fault that this look is for.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in facts.items()),
        "",
        "| rule | films with the fault | found | missed | found elsewhere |",
        "|---|---|---|---|---|",
        *rows_by_rule(outcomes),
    ]
    return "\n".join(lines) + "\n"


def rows_by_rule(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """A row of each rule that was expected, or found something."""
    for rule in RULES:
        having = [outcome for outcome in outcomes if rule in outcome.expected]
        missed = [outcome.name for outcome in having if rule not in outcome.rules]
        elsewhere = [outcome.name for outcome in outcomes if rule in outcome.wrong]
        if having or elsewhere:
            names = [", ".join(f"`{name}`" for name in names) or "none" for names in (missed, elsewhere)]
            yield f"| {rule} | {len(having)} | {len(having) - len(missed)} | {names[0]} | {names[1]} |"


def keep(text: str, title: str) -> None:
    """Put the section *title* with *text* into the page, in place of the one before."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(f"## {title}\n")
    following = rest.partition("\n## ")[2]
    PAGE.write_text(
        before.rstrip() + "\n\n" + text + (f"\n## {following}" if following else ""), encoding="utf-8"
    )


def main() -> None:
    """Look, print, and with --write keep."""
    os.nice(19)
    folder, is_deep = Path(sys.argv[1]), "--deep" in sys.argv
    if not is_installed(Extra.FACES):
        sys.exit("check-films needs the extra preflight-faces: half of a table is none")
    outcomes = []
    for recipe in json.loads((folder / "films.json").read_text()):
        path = folder / f"{recipe['name']}.mp4"
        if path.exists():
            outcome = look_at(path, recipe, is_deep=is_deep)
            outcomes.append(outcome)
            mark = "right" if outcome.rules == outcome.expected else "WRONG"
            said = "; ".join(f"{finding.rule} {finding.message}" for finding in outcome.findings)
            expected = ",".join(sorted(outcome.expected)) or "nothing"
            print(
                f"{mark} {outcome.name} expected {expected}: {said} [{outcome.cpu_seconds:.1f} s]", flush=True
            )
    title = f"{'Deep' if is_deep else 'Quick'} look"
    text = page(outcomes, title)
    print(text, Counter(outcome.rules == outcome.expected for outcome in outcomes))
    if "--write" in sys.argv:
        keep(text, title)


if __name__ == "__main__":
    main()
