"""What the program and its documents advise: every command, flag and file named in a text, with its place.

Texts are string literals of `orchestrator/`, the starter manifests, help, and the code in the documents. In an
f-string each value stands as `{}`.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import typer

import orchestrator
from orchestrator.cli.main import application

ROOT = Path(__file__).parents[2]
SOURCE = Path(orchestrator.__file__).parent
#: Without what the program printed, which is checked where it is written.
DOCUMENTS = (ROOT / "README.md", *sorted(set((ROOT / "docs").glob("*.md")) - {ROOT / "docs/screens.md"}))
STARTERS = sorted((SOURCE / "manifest" / "starter").iterdir())
_FLAG = re.compile(r"(?<![\w/.-])(?:--[a-z][a-z-]*[a-z]|-[a-zA-Z])(?![\w-])")
_QUOTED = re.compile(r"`([^`\n]+)`")
_BARE = re.compile(r"(?:^|(?<=: )|(?<=\n))\s*(orchestrator [a-z{][^\n;]*)")
_OTHER_PROGRAM = re.compile(
    r"`(?:ffmpeg|scripts/|chmod|kill|pip|df|ulimit)[^`]*`|^ *ffmpeg .*$", re.MULTILINE
)
#: An option as it is declared, and as code looks for it.
_DECLARATION = re.compile(r"--?[a-zA-Z-]+(?:/--?[a-zA-Z-]+)?")
_PROGRAM = "orchestrator"
#: The value that stands for a name, a path or a number nobody knows before the program runs.
_ANY = "1"


@dataclass(frozen=True)
class Advice:
    """One text, where it is, and what it names."""

    place: str  #: the file, relative to the project
    line: int
    text: str

    @property
    def commands(self) -> list[str]:
        """The commands it gives in full, in order."""
        return [*_quoted_commands(self.text), *_bare_commands(self.text)]

    @property
    def flags(self) -> list[str]:
        """The flags it names outside of whole commands."""
        rest = _OTHER_PROGRAM.sub("", self.text)
        for command in sorted(self.commands, key=len, reverse=True):
            rest = rest.replace(command, "")
        return sorted(set(_FLAG.findall(rest)))

    @property
    def mentions(self) -> tuple[str, ...]:
        """What it names; the same whatever words are around."""
        return (*self.commands, *self.flags)

    def __str__(self) -> str:
        """Tell the place as compilers do."""
        return f"{self.place}:{self.line}: {self.text!r}"


@cache
def texts_of_the_program() -> tuple[Advice, ...]:
    """Every literal that names a command or a flag, without docstrings and the declarations of options."""
    found: list[Advice] = []
    for path in sorted(SOURCE.rglob("*.py")):
        place = place_of(path)
        found += [Advice(place, line, text) for line, text in literals(path, is_help=False)]
    return tuple(advice for advice in found if advice.mentions)


@cache
def texts_of_help() -> tuple[Advice, ...]:
    """The docstrings of commands, which are their help, and the help of options."""
    found: list[Advice] = []
    for path in sorted((SOURCE / "cli").rglob("*.py")):
        place = place_of(path)
        found += [Advice(place, line, text) for line, text in literals(path, is_help=True)]
    return tuple(advice for advice in found if advice.mentions)


@cache
def texts_of_documents() -> tuple[Advice, ...]:
    """The lines of code in the documents and the starters."""
    found: list[Advice] = []
    for path in (*DOCUMENTS, *STARTERS):
        place = place_of(path)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            found.append(Advice(place, number, line))
    return tuple(advice for advice in found if advice.mentions)


def place_of(path: Path) -> str:
    """The path as a reader of the checkout knows it."""
    return path.relative_to(SOURCE.parent if path.is_relative_to(SOURCE) else ROOT).as_posix()


def _quoted_commands(text: str) -> Iterator[str]:
    for quoted in _QUOTED.findall(text):
        first, *rest = quoted.split(" ", 1)
        if first == _PROGRAM and rest:
            yield quoted


def _bare_commands(text: str) -> Iterator[str]:
    for found in _BARE.findall(_QUOTED.sub("", text)):
        yield re.split(r"\s{2,}|\s#", found)[0].rstrip(" .,")


def literals(path: Path, *, is_help: bool) -> Iterator[tuple[int, str]]:
    """The texts of a module with their lines: only docstrings where *is_help*, else all but them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {id(node) for node in _docstrings(tree)}
    for node, text in _strings(tree):
        if id(node) == id(tree.body[0].value if isinstance(tree.body[0], ast.Expr) else None):
            continue
        is_docstring = id(node) in docstrings
        if is_docstring is is_help and not _DECLARATION.fullmatch(text):
            yield node.lineno, text


def _docstrings(tree: ast.Module) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and not isinstance(node, ast.Module):
                yield first.value


def _strings(node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """The literals below *node*; one joined from parts is one text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node, node.value
    elif isinstance(node, ast.JoinedStr):
        parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        yield node, "".join(map(str, parts))
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                yield from _strings(part.value)
    else:
        for child in ast.iter_child_nodes(node):
            yield from _strings(child)


@cache
def _root() -> Any:
    return application()


@cache
def known_flags() -> frozenset[str]:
    """The flags of all commands."""
    found: set[str] = set()
    commands = [_root()]
    while commands:
        command = commands.pop()
        if hasattr(command, "list_commands"):
            context = command.make_context(_PROGRAM, [], resilient_parsing=True)
            commands += [command.get_command(context, name) for name in command.list_commands(context)]
        found |= {
            flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)
        }
    return frozenset(found) | {"--help", "-h"}


def complaint(command: str) -> str | None:
    """Why the program does not take *command*, as a person would paste it; None when it does."""
    words = shlex.split(_pasted(command))[1:]
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    if words[:1] == [_ANY] or words == []:
        return None  # the text names no certain command
    context = _root().make_context(_PROGRAM, [], resilient_parsing=True)
    found: Any = _root()
    while hasattr(found, "get_command"):
        name = words.pop(0) if words else ""
        if name.startswith("-"):
            return None if {name, *words} <= known_flags() else f"unknown flag in: {command}"
        inner = found.get_command(context, name)
        if inner is None:
            return f"no such command: {command}"
        found = inner
    if {"--help", "-h"} & set(words):
        return None
    try:
        found.make_context(found.name, words)
    except typer.TyperException as error:
        return f"{command}: {error.format_message()}"
    return None


def _pasted(command: str) -> str:
    """The command with a value in each place that a person fills in; what a shell does with the output is cut."""
    command = re.split(r"\s(?:>|\||&&)\s", command)[0]
    return (
        command.replace(" COMMAND", f" {_ANY}")
        .replace("{}", _ANY)
        .replace("...", _ANY)
        .replace("[", "")
        .replace("]", "")
    )
