"""Writes the pages, or only prints one: `python -m pages [NAME]`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from pages.reference import reference_page

DOCS = Path(__file__).parents[2] / "docs"
PAGES: dict[str, Callable[[], str]] = {"reference.md": reference_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
    sys.exit()
