"""A page whose commands are pasted into a shell, in their order and as they stand.

The commands are those of the blocks that are fenced as `sh`. One that is to end with another exit code than 0 says so
in a comment at its end: `orchestrator run studio.yaml   # exit 9`. Other blocks show what is printed, or belong to a
program that a test cannot have.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orchestrator

#: A heading, or a fenced block with its language.
_PART = re.compile(r"^#+ +([^\n]*)$|^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_EXIT = re.compile(r"#.*\bexit (\d+)")
_HERE_DOCUMENT = re.compile(r"<<'?(\w+)'?")
#: Where a shell leaves what the next one starts with.
_EPILOGUE = '\n__code=$?; export -p > "$__state/environment"; pwd > "$__state/folder"; exit $__code'


@dataclass(frozen=True)
class Printed:
    """What the commands of a section printed, both streams together, and how the last of them ended."""

    text: str
    exit_code: int


@dataclass
class Shell:
    """A shell in *folder* with only *environment*; both are what the last command left."""

    folder: Path
    environment: Mapping[str, str]
    state: Path

    def run(self, command: str) -> Printed:
        """Run one command, with the exit code that it has."""
        self.state.mkdir(exist_ok=True)
        before = self.state / "environment"
        script = f". '{before}'\n{command}{_EPILOGUE}" if before.exists() else command + _EPILOGUE
        ended = subprocess.run(
            ["/bin/bash", "-c", script],
            cwd=self.folder,
            env={**self.environment, "__state": str(self.state)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=50,
            check=False,
        )
        self.folder = Path((self.state / "folder").read_text(encoding="utf-8").strip())
        return Printed(ended.stdout, ended.returncode)


@dataclass
class Page:
    """The commands of a Markdown file by heading; a test pastes all of them, or `finish` fails."""

    path: Path
    shell: Shell
    #: Commands at the top that another test pastes.
    skipped: int = 0
    left: list[tuple[str, list[str]]] = field(init=False)

    def __post_init__(self) -> None:
        self.left = list(sections(self.path.read_text(encoding="utf-8")))
        for _ in range(self.skipped):
            self.left[0][1].pop(0)
            if not self.left[0][1]:
                self.left.pop(0)

    def paste(self, heading: str) -> Printed:
        """Paste the commands of the next section, which is to have this *heading*; each must end as it says."""
        assert self.left, f"{self.path.name} has no more commands; expected {heading!r}"
        found, lines = self.left.pop(0)
        assert found == heading, (
            f"{self.path.name}: the next commands are those of {found!r}, not {heading!r}"
        )
        printed = Printed("", 0)
        for command in lines:
            printed = Printed(*self._typed(command, printed.text))
        return printed

    def finish(self) -> None:
        """Fail where commands are left that no test pasted."""
        assert self.left == [], f"{self.path.name}: never pasted"

    def _typed(self, command: str, before: str) -> tuple[str, int]:
        expected = _EXIT.search(command)
        ended = self.shell.run(command)
        assert ended.exit_code == (int(expected[1]) if expected else 0), (
            f"{self.path.name}: {command}\nended with {ended.exit_code}:\n{ended.text}"
        )
        return before + ended.text, ended.exit_code


def sections(markdown: str) -> Iterator[tuple[str, list[str]]]:
    """Each heading that has commands, with them, in order."""
    heading, found = "", []
    for title, fence, block in _PART.findall(markdown):
        if title:
            if found:
                yield heading, found
            heading, found = title, []
        elif fence == "sh":
            found.extend(commands(block))
    if found:
        yield heading, found


def commands(block: str) -> Iterator[str]:
    """The commands of a block: a line each, or several where one is continued or has a here-document."""
    lines = iter(block.splitlines())
    for line in lines:
        command = line
        while command.endswith("\\"):
            command += "\n" + next(lines)
        if here := _HERE_DOCUMENT.search(line):
            while not command.endswith("\n" + here[1]):
                command += "\n" + next(lines)
        if command.strip() and not command.lstrip().startswith("#"):
            yield command


def install_program(folder: Path) -> None:
    """Put an `orchestrator` into *folder*, as an installation does."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "orchestrator"
    source = Path(orchestrator.__file__).parents[1]
    program.write_text(
        f'#!/bin/sh\nPYTHONPATH="{source}" exec "{sys.executable}" -m orchestrator "$@"\n', encoding="utf-8"
    )
    program.chmod(0o755)
