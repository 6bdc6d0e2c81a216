"""Writes the pages into docs/."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from pages.fields import fields_page
from pages.messages import messages_page
from pages.reference import reference_page

DOCS = Path(__file__).parents[2] / "docs"
PAGES: dict[str, Callable[[], str]] = {
    "reference.md": reference_page,
    "messages.md": messages_page,
    "fields.md": fields_page,
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
    sys.exit()
