"""The page about films: worst first, everything escaped, nothing fetched."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from orchestrator.preflight.look.measuring import STRIP_PICTURES, strip_of
from orchestrator.preflight.page.rendering import FilmRow, render_page
from orchestrator.preflight.rulebook import Finding, likely_refused, look_first, refused
from orchestrator.simulator.footage import sample_footage


def row(entry: str, *findings: Finding, **others: Any) -> FilmRow:
    facts = {"kind": "training video", "name": f"{entry}.mp4", "seconds": 200.0, "strip": (), "curve": (0, 1)}
    return FilmRow(**{"entry": entry, "findings": findings, **facts, **others})


def test_the_worst_film_comes_first() -> None:
    """Within one verdict by name."""
    rows = [
        row("fine"),
        row("b", look_first("P12", "is dark")),
        row("worst", refused("P09", "is 640x480")),
        row("a", look_first("P12", "is dark")),
        row("bad", likely_refused("P10", "has no green")),
    ]

    page = render_page("studio", rows, "today")

    assert re.findall(r"<h2>(\w+) ", page) == ["worst", "bad", "a", "b", "fine"]


class References(HTMLParser):
    """Every attribute that makes a browser fetch something, and every script."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what the tag refers to."""
        self.fetched += [value or "" for name, value in attrs if name in {"src", "href", "srcset", "data"}]
        self.scripts += tag == "script"


def test_names_and_messages_of_others_are_text_and_nothing_is_fetched() -> None:
    """A page with hostile names opens from a file without a request."""
    evil = '"><script src=https://example.com/x.js></script><img src=x onerror=alert(1)>'
    found = References()

    found.feed(render_page(evil, [row(evil, look_first("P12", evil), name=evil, kind=evil)], evil))

    assert found.scripts == 1
    assert all(reference.startswith("data:") for reference in found.fetched)


def test_a_strip_has_up_to_eight_pictures_of_the_film(tmp_path: Path) -> None:
    """Small JPEGs in the order of the film; of what is no film none."""
    path = tmp_path / "film.mp4"
    path.write_bytes(sample_footage())

    strip = strip_of(str(path))

    assert 5 <= len(strip) <= STRIP_PICTURES  # as many as can be reached: the sample has five keyframes
    assert [picture.seconds for picture in strip] == sorted(picture.seconds for picture in strip)
    assert all(base64.b64decode(picture.jpeg).startswith(b"\xff\xd8\xff") for picture in strip)
    assert max(strip[0].width, strip[0].height) == 176
    path.write_bytes(b"no film")
    assert strip_of(str(path)) == []
