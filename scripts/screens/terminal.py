"""A terminal of a certain size, by tmux: a command is typed, and what is on the screen is read."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

_PROMPT = "$ "
_POLL_SECONDS = 0.05
#: The sequences that set colours, and the colour of the part of a bar that is to do (rich's `bar.back`).
_ESCAPE = re.compile(r"\x1b\[([\d;]*)m")
_GREY = "38;5;237"
#: How long a screen may take to show what is waited for; a run of the script is beside other work.
_PATIENCE_SECONDS = 90.0
#: Lines that have left the screen at the top and can be scrolled back to.
_SCROLLBACK_LINES = 2000


@dataclass(frozen=True)
class Size:
    """Columns and rows."""

    columns: int
    rows: int

    def __str__(self) -> str:
        """As people write it."""
        return f"{self.columns}x{self.rows}"


def without_colours(text: str) -> str:
    """*text* without escape sequences; the grey part of a bar becomes a thin line."""
    parts = _ESCAPE.split(text)
    plain = [parts[0]]
    for codes, shown in zip(parts[1::2], parts[2::2], strict=True):
        plain.append(shown.replace("━", "─") if _GREY in codes else shown)
    return "\n".join(line.rstrip() for line in "".join(plain).splitlines())


class Terminal:
    """A shell in *folder* on a screen of *size*; ends with the block."""

    def __init__(self, size: Size, folder: Path, environment: Mapping[str, str]) -> None:
        self._socket = folder.parent / f"tmux-{size}"
        self._size = size
        self._folder = folder
        self._environment = {**environment, "PS1": _PROMPT, "TERM": "xterm-256color"}
        self._tmux = shutil.which("tmux") or ""
        self._command = ""

    def __enter__(self) -> Self:
        """Open it; RuntimeError where tmux is not installed."""
        if not self._tmux:
            raise RuntimeError("tmux is needed to make the screens: apt-get install tmux")
        assignments = [f"{name}={value}" for name, value in self._environment.items()]
        self._call(
            *("-f", "/dev/null", "new-session", "-d", "-c", str(self._folder)),
            *("-x", str(self._size.columns), "-y", str(self._size.rows)),
            *("env", "-i", *assignments, "/bin/bash", "--norc", "--noprofile", "-i"),
        )
        self._call("set-option", "-g", "history-limit", str(_SCROLLBACK_LINES))
        self._call("set-option", "-g", "status", "off")
        self.wait_for(_PROMPT.strip())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it with all that runs in it."""
        self._call("kill-server")

    def type(self, command: str) -> None:
        """Type *command*, which fits a line, and press Enter."""
        self._command = command
        self._call("send-keys", "-l", command)
        # Until the shell has echoed it, the prompt on the screen is that of the command before.
        self._wait(lambda text: text.endswith(_PROMPT + command), f"{command!r} to be echoed")
        self._call("send-keys", "Enter")

    def press(self, key: str) -> None:
        """Press a key by tmux's name for it, such as C-c."""
        self._call("send-keys", key)

    def run(self, command: str) -> str:
        """Type a command that ends by itself, and return what `finished` does."""
        self.type(command)
        return self.finished()

    def finished(self) -> str:
        """Wait until the command is over; the command and all that it left, also what has left the screen."""
        self._wait(lambda text: text.endswith(f"\n{_PROMPT.strip()}"), "the command to end")
        return self._last_command(self._text("-S", "-").removesuffix(_PROMPT.strip()).rstrip())

    def screen(self) -> str:
        """What is on the screen now, from the command that was typed last."""
        return self._last_command(without_colours(self._text("-e")))

    def wait_for(self, words: str) -> str:
        """Wait until *words* are on the screen, and return it."""
        self._wait(lambda text: words in self._last_command(text), f"{words!r} to be shown")
        return self.screen()

    def _wait(self, is_there: Callable[[str], bool], what: str) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not is_there(text := self._text()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {_PATIENCE_SECONDS:.0f} s for {what}; the screen shows:\n{text}")
            time.sleep(_POLL_SECONDS)

    def _text(self, *options: str) -> str:
        """What is on the screen, without the blank lines at its end."""
        return self._call("capture-pane", "-p", *options).rstrip()

    def _last_command(self, text: str) -> str:
        """*text* from the last command on; all of it where that has left the screen at the top."""
        return text[max(text.rfind(_PROMPT + self._command), 0) :]

    def _call(self, *arguments: str) -> str:
        ended = subprocess.run(
            [self._tmux, "-S", str(self._socket), *arguments], capture_output=True, text=True, check=True
        )
        return ended.stdout
