"""The files that `init` writes to start from."""

from __future__ import annotations

from importlib import resources
from typing import Literal


def starter_manifest(format: Literal["yaml", "csv"]) -> str:  # noqa: A002 - the word of the command line
    """A manifest with every field explained (YAML), or a table with the usual columns (CSV)."""
    return resources.files(__package__).joinpath(f"starter/manifest.{format}").read_text(encoding="utf-8")
