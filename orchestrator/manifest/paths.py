"""Expansion of the paths in manifests, and explanations for paths without a file (rule M05).

Paths are relative to the manifest and may contain `~` and `$VAR`. They come from other systems, spreadsheets and
browsers, so they may differ from the file's real name: another case, accents in another Unicode form, a doubled or
hidden extension, `%20`, quotes, backslashes, drive letters, addresses. The explanation names a file with nearly the
same name, or the kind of path that was given.
"""

from __future__ import annotations

import html
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

#: The number of folders whose listings are cached, and the maximum number of names kept of each. A manifest with
#: many missing files usually misses them in few folders.
_REMEMBERED: Final = 32
_MOST_NAMES: Final = 100_000

_ADDRESS = re.compile(r"/(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+(?=://)|file(?=:/)):/+(?P<rest>.*)", re.DOTALL)
_DRIVE = re.compile(r"(?P<base>.*?)/[\"'\u201c]?(?P<drive>[A-Za-z]):[\\/]+(?P<rest>.*)", re.DOTALL)
_SHARE = re.compile(r"(?P<base>.*?)/[\"'\u201c]?\\\\[^\\]+\\(?P<rest>.*)", re.DOTALL)
_QUOTES: Final = "\"'`\u201c\u201d\u2018\u2019\u201e\u00ab\u00bb\u300c\u300d"
_QUOTED = re.compile(rf"(?P<base>.*?)/[{_QUOTES}](?P<inner>.+)[{_QUOTES}]", re.DOTALL)
_ENTITY = re.compile(r"&#?\w+;")
_EXTENSION = re.compile(r"\.\w{1,5}$")
_VARIABLE = re.compile(r"\$(?:(\$)|([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})")


class PathError(ValueError):
    """A path cannot be expanded; the message gives the reason."""


def absolute_path(text: str, folder: str, environment: Mapping[str, str]) -> str:
    """Expand *text* and make it absolute, relative to *folder*; `$$` stands for one `$`. Raises PathError."""
    expanded = text
    if text[:1] == "~":
        expanded = os.path.expanduser(text)  # noqa: PTH111 - pathlib raises where this returns the text unchanged
        if expanded.startswith("~"):
            raise PathError("the home directory is not known; for a file whose name starts with ~ write ./~")
    if "$" in expanded:
        expanded = _VARIABLE.sub(lambda match: _variable(match, environment), expanded)
    path = expanded if expanded[:1] == "/" else f"{folder}/{expanded.removeprefix('./')}"
    if not path.isascii():
        try:
            path.encode()
        except UnicodeEncodeError:
            message = "the path has bytes that are not UTF-8; rename the file or its folder"
            raise PathError(message) from None
    return path


def escaped_path(path: str) -> str:
    """Escape an absolute *path* so that `absolute_path` returns it unchanged."""
    return path.replace("$", "$$")


def _variable(match: re.Match[str], environment: Mapping[str, str]) -> str:
    if match[1]:
        return "$"
    name = match[2] or match[3]
    if name not in environment:
        raise PathError(f"the environment variable {name} is not set; for a plain $ write $$")
    return environment[name]


def is_address(path: str) -> bool:
    """Return True for an address such as https://...; it may be signed, so no message repeats it."""
    return _ADDRESS.search(path) is not None


class Folders:
    """A cache of folder listings that finds the file which a wrong path may have meant."""

    def __init__(self) -> None:
        self._names = lru_cache(_REMEMBERED)(names_in)

    def explain(self, path: str) -> str | None:
        """Explain why there is no file at the absolute *path*; None when there is no explanation.

        An address is never repeated, because it may be signed.
        """
        if match := _ADDRESS.search(path):
            scheme = match["scheme"].lower()
            if scheme != "file":
                return f"is an address ({scheme}://), and only files of this computer can be sent; download it first"
            found = self._found(f"/{unquote(match['rest']).removeprefix('localhost').lstrip('/')}")
            return f"is an address (file://); {f'write {found}' if found else 'write the path alone'}"
        if match := _DRIVE.fullmatch(path) or _SHARE.fullmatch(path):
            return self._windows_path(match)
        for candidate, mistake in readings_of(path):
            if found := self._found(candidate):
                return f"{mistake}there is {_shown(found, path)}{unseen_difference(found, candidate)}"
        return None

    def _windows_path(self, match: re.Match[str]) -> str:
        parts = match["rest"].rstrip(_QUOTES).replace("\\", "/")
        drive = match.groupdict().get("drive")
        what = f"is a path of Windows (drive {drive.upper()}:)" if drive else "is a path of a Windows share"
        places = [f"/mnt/{drive.lower()}/{parts}"] if drive else []
        names = parts.split("/")
        places += [f"{match['base']}/{'/'.join(names[index:])}" for index in range(len(names))]
        found = next(filter(None, map(self._found, places)), None)
        hint = f"there is {_shown(found, match[0])}" if found else "write where the file is on this computer"
        return f"{what}; {hint}"

    def _found(self, path: str) -> str | None:
        """Return the file at *path*, or at a similar path: only names that do not exist are replaced."""
        current = ""
        for name in filter(None, path.split("/")):
            step = f"{current}/{name}"
            if not os.path.lexists(step):
                near = self._names(current or "/").get(_folded(name))
                if near is None:
                    return None
                step = f"{current}/{near}"
            current = step
        return current if os.path.isfile(current) else None  # noqa: PTH113 - pathlib raises where this returns False


def readings_of(path: str) -> Iterator[tuple[str, str]]:
    """Yield each possible reading of *path*, with the start of a message for the mistake it implies."""
    if match := _QUOTED.fullmatch(path):
        inner = match["inner"]
        yield (
            (inner if inner.startswith("/") else f"{match['base']}/{inner}"),
            "no such file, and the name is in quotes; ",
        )
    yield path, "no such file; "
    if "\\" in path:
        yield path.replace("\\", "/"), "no such file, and backslashes do not separate folders here; "


def names_in(folder: str) -> Mapping[str, str]:
    """Map the folded form of each name in *folder*, and its likely truncated forms, to the name."""
    names: dict[str, str] = {}
    cut: dict[str, str] = {}
    try:
        listed = sorted(os.listdir(folder or "/"))[:_MOST_NAMES]  # noqa: PTH208 - only the names are needed
    except OSError:
        return names
    for name in listed:
        try:
            name.encode()
        except UnicodeEncodeError:
            continue  # a message could not display it
        folded = _folded(name)
        names.setdefault(folded, name)
        cut.setdefault(_EXTENSION.sub("", folded), name)  # file managers hide extensions
        if " #" in name:
            cut.setdefault(_folded(name.partition(" #")[0]), name)  # YAML treats the rest as a comment
    return {**cut, **names}


def _folded(name: str) -> str:
    """Fold *name*: case, composition, escapes, quotes, unusual blanks and doubled extensions make no difference."""
    if "%" in name:
        name = unquote(name)
    if _ENTITY.search(name):
        name = html.unescape(name)
    kept = "".join(letter for letter in name if unicodedata.category(letter) != "Cf")
    folded = " ".join(unicodedata.normalize("NFKC", kept).casefold().strip(_QUOTES).split())
    while (end := _EXTENSION.search(folded)) and folded[: end.start()].endswith(end[0]):
        folded = folded[: end.start()]
    return unicodedata.normalize("NFC", folded)


def _shown(found: str, path: str) -> str:
    """Return *found* without the leading folders that it shares with *path*."""
    names, wanted = found.split("/"), path.split("/")
    same = 0
    while same < len(names) - 1 and names[same : same + 1] == wanted[same : same + 1]:
        same += 1
    return "/".join(names[same:])


def unseen_difference(found: str, path: str) -> str:
    """Describe an invisible difference between two paths, or a name that YAML cut at a `#`; '' for other cases."""
    if found == path:
        return ""
    if unicodedata.normalize("NFC", found) == unicodedata.normalize("NFC", path):
        return ", whose accents are stored otherwise; copy the name from a listing, or rename the file"
    if _visible(found) == _visible(path):
        return ", and one of the two has an invisible letter or an unusual blank; type the name again"
    if found.startswith(f"{path} #"):
        return ": in YAML # after a blank begins a comment; put the path in quotes"
    return ""


def _visible(path: str) -> str:
    letters = (" " if letter.isspace() else letter for letter in path)
    return " ".join("".join(letter for letter in letters if unicodedata.category(letter) != "Cf").split())
