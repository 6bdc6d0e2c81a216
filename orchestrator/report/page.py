"""Rendering of data and pictures as one HTML file, escaped by the template and without external references."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from orchestrator.domain.untrusted_text import disarmed_json
from orchestrator.report.document import ReportData

_VENDOR = ("tabulator.min.css", "echarts.min.js", "tabulator.min.js")
#: Characters that could end a script element, or begin a comment in it.
_LIVE_IN_HTML = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def render_page(data: ReportData, pictures: Mapping[str, str], *, stream: str | None = None) -> str:
    """Return the page for *data*, with *pictures* as base64 of a JPEG by entry.

    It follows the events at the URL *stream*, relative to its own; None for a page that does not change.
    """
    own = {name: _own_file("templates", name) for name in ("report.css", "report.js", "chart.js")}
    vendor = {name: _own_file("vendor", name) for name in _VENDOR}
    return (
        _environment()
        .get_template("report.html")
        .render(
            summary=data.summary,
            attention=data.attention,
            names=data.names,
            data=embedded({**data.as_dict(), "stream": stream}),
            picture_data=embedded(pictures),
            is_live=stream is not None,
            **{name.replace(".", "_"): text for name, text in (own | vendor).items()},
        )
    )


def render_cards(data: ReportData) -> str:
    """Return the page's HTML for the entries that need a person."""
    return _environment().get_template("attention.html").render(attention=data.attention, names=data.names)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader(__package__ or "", "templates"), autoescape=True, undefined=StrictUndefined
    )


def embedded(value: Any) -> Markup:
    """Return *value* as JSON that is safe inside a script element."""
    text = disarmed_json(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    return Markup(text.translate(_LIVE_IN_HTML))  # noqa: S704 - it contains no characters with a meaning in HTML


def _own_file(folder: str, name: str) -> Markup:
    text = (files(__package__ or "") / folder / name).read_text(encoding="utf-8")
    return Markup(text)  # noqa: S704 - a file of the package
