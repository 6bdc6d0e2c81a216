"""Paths as manifests give them: relative to the manifest, with `~` and `$VAR`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

_VARIABLE = re.compile(r"\$(?:(\$)|([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})")


class PathError(ValueError):
    """A path cannot be expanded; the text says why."""


def absolute_path(text: str, folder: str, environment: Mapping[str, str]) -> str:
    """Expand *text* and make it absolute from *folder*; `$$` stands for one `$`. Raises PathError."""
    expanded = text
    if text.startswith("~"):
        expanded = _with_home(text)
    if "$" in expanded:
        expanded = _VARIABLE.sub(lambda match: _variable(match, environment), expanded)
    path = expanded if expanded.startswith("/") else f"{folder}/{expanded.removeprefix('./')}"
    return path if path.isascii() else _utf8(path)


def escaped_path(path: str) -> str:
    """Write an absolute *path* so that `absolute_path` gives it back."""
    return path.replace("$", "$$")


def _with_home(text: str) -> str:
    expanded = os.path.expanduser(text)  # noqa: PTH111 - pathlib raises where this leaves the text alone
    if expanded.startswith("~"):
        raise PathError("the home directory is not known; for a file whose name starts with ~ write ./~")
    return expanded


def _variable(match: re.Match[str], environment: Mapping[str, str]) -> str:
    if match[1]:
        return "$"
    name = match[2] or match[3]
    if name not in environment:
        raise PathError(f"the environment variable {name} is not set; for a plain $ write $$")
    return environment[name]


def _utf8(path: str) -> str:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise PathError("the path has bytes that are not UTF-8; rename the file or its folder") from None
    return path
