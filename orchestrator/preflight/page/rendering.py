"""Rendering of films and findings as HTML, which the template escapes and which makes no external requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from orchestrator.preflight.look.measures import clock
from orchestrator.preflight.look.measuring import Thumbnail
from orchestrator.preflight.rulebook import RULES, Finding
from orchestrator.preflight.rules.rule import Verdict

#: Verdicts from the worst; films without a verdict come last.
_ORDER = (Verdict.REFUSED, Verdict.LIKELY_REFUSED, Verdict.LOOK_FIRST)
_WAVE_HEIGHT = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmRow:
    """One film on the page."""

    entry: str
    kind: str
    name: str
    seconds: float
    findings: Sequence[Finding]
    strip: Sequence[Thumbnail]
    curve: Sequence[float]

    @property
    def verdict(self) -> Verdict | None:
        """The worst verdict of the findings."""
        verdicts = {Verdict.REFUSED if finding.is_error else finding.verdict for finding in self.findings}
        return next((verdict for verdict in _ORDER if verdict in verdicts), None)

    @property
    def rank(self) -> tuple[int, int, str]:
        """The sort key: the worst verdict first, then the most findings, then the entry's id."""
        verdict = self.verdict
        return (_ORDER.index(verdict) if verdict else len(_ORDER), -len(self.findings), self.entry)

    @property
    def wave(self) -> str:
        """The sound as the points of a polygon, one unit wide for each height."""
        middle = _WAVE_HEIGHT / 2
        upper = [f"{x},{middle - middle * height:.1f}" for x, height in enumerate(self.curve)]
        lower = [f"{x},{middle + middle * height:.1f}" for x, height in enumerate(self.curve)]
        return " ".join([*upper, *reversed(lower)])


def render_page(title: str, rows: Sequence[FilmRow], made_at: str) -> str:
    """Return the page for *rows*, with the worst first."""
    environment = Environment(
        loader=PackageLoader(__package__ or "", "templates"), autoescape=True, undefined=StrictUndefined
    )
    ordered = sorted(rows, key=lambda row: row.rank)
    counts = [(verdict, sum(row.verdict is verdict for row in rows)) for verdict in (*_ORDER, None)]
    return environment.get_template("preflight.html").render(
        title=title, rows=ordered, counts=counts, made_at=made_at, rules=RULES, clock=clock
    )
