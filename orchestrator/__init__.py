"""Bulk uploader for Huawei Cloud MetaStudio avatar training; docs/api.md shows its use from a program."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.api.public_names import *  # noqa: F403 - the names are listed there

__version__ = "0.1.0"
_NAMES = "orchestrator.api.public_names"


def __getattr__(name: str) -> Any:
    """Load the public names when one is first asked for: most commands need none, and start faster without them."""
    names = import_module(_NAMES) if not name.startswith("_") else None
    if names is None or name not in names.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(names, name)


def __dir__() -> list[str]:
    return sorted({"__version__", *import_module(_NAMES).__all__})
