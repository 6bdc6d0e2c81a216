"""Trace a run of one avatar: how many of our files a whole run, and one PUT of it, pass through.

One avatar with a video of 3 MB in two parts and a cover, one entry and one upload at a time, against the simulator in
another process. Only our own frames are counted, the libraries' are not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR, CO_OPTIMIZED
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "orchestrator"


class Call(NamedTuple):
    """One call of a function, or, at an import, of the body of a module or class."""

    file: str
    function: str
    is_body: bool


@dataclass
class Trip:
    """The calls of our code, in order."""

    calls: list[Call] = field(default_factory=list)

    @property
    def files(self) -> list[str]:
        """The files entered, in order of the first entry."""
        return list(dict.fromkeys(call.file for call in self.calls))

    @property
    def entered(self) -> int:
        """How many files a reader opens: those of which a function is called, not those that are only loaded."""
        return len({call.file for call in self.calls if not call.is_body})

    @property
    def functions(self) -> int:
        """How many functions were called."""
        return len(set(self.calls))

    @property
    def moves(self) -> int:
        """How often the trip went from one file to another."""
        return sum(a.file != b.file for a, b in zip(self.calls, self.calls[1:], strict=False))

    def line(self, name: str) -> str:
        """The trip as a line of the report."""
        return (
            f"{name}: {self.entered} files entered, {len(self.files)} entered or loaded, {len(self.calls)} calls, "
            f"{self.functions} functions, {self.moves} moves from file to file"
        )


class Tracer:
    """Records calls of our functions in the thread of the event loop, and in those it starts."""

    def __init__(self, first: str, last: str) -> None:
        self.run = Trip()
        self.puts: list[Trip] = []
        self._first, self._last = first, last
        self._put: Trip | None = None
        #: Tasks from before the PUT: what another worker does meanwhile is no part of it.
        self._others: set[Any] = set()
        self._prefix = f"{PACKAGE}{os.sep}"

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> None:
        """Note one event of the interpreter."""
        code = frame.f_code
        if not code.co_filename.startswith(self._prefix):
            return
        if event == "return" and code.co_name == self._last and self._put is not None:
            self.puts.append(self._put)
            self._put = None
        if event != "call":
            return
        if _is_resumed(frame):
            return
        # Bodies of modules and classes have their names in a dictionary, functions in fast slots.
        is_body = not code.co_flags & CO_OPTIMIZED
        call = Call(code.co_filename.removeprefix(self._prefix), code.co_name, is_body)
        self.run.calls.append(call)
        if code.co_name == self._first and self._put is None:
            self._put = Trip()
            self._others = asyncio.all_tasks() - {asyncio.current_task()}
        if self._put is not None and _current_task() not in self._others:
            self._put.calls.append(call)


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no event loop runs in this thread
        return None


def _is_resumed(frame: FrameType) -> bool:
    """True where a coroutine or a generator goes on after an await or a yield: that was entered before."""
    code = frame.f_code
    if not code.co_flags & (CO_COROUTINE | CO_GENERATOR | CO_ASYNC_GENERATOR):
        return False
    # The instruction RESUME has in its argument where from: 0 is the beginning.
    return bool(code.co_code[frame.f_lasti + 1] & 3)


def main() -> None:
    """Print the trips, and with `--files` the files of the run and of the longest PUT."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", default="_put", help="the function a PUT starts in")
    parser.add_argument("--last", default="receipt_of", help="the function it ends in")
    parser.add_argument("--files", action="store_true", help="name the files")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, _simulator(Path(name)) as environ:
        tracer = Tracer(asked.first, asked.last)
        code = _run(_write_batch(Path(name)), environ, tracer)
    if code:
        sys.exit(f"the run ended with {code}")
    put = max(tracer.puts, key=lambda trip: len(trip.files))
    print(tracer.run.line("whole run"))
    print(put.line("one PUT"))
    for trip in (tracer.run, put) if asked.files else ():
        print("\n".join(f"  {file}" for file in trip.files), end="\n\n")


def _write_batch(folder: Path) -> Path:
    head = (ROOT / "orchestrator/simulator/sample/footage.mp4").read_bytes()
    (folder / "film.mp4").write_bytes(head + os.urandom(3_000_000 - len(head)))
    (folder / "cover.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20_000))
    manifest = folder / "walk.yaml"
    manifest.write_text(
        "avatars:\n  - {name: Anna, training_video: film.mp4, cover: cover.png, video_multipart_count: 2}\n",
        encoding="utf-8",
    )
    return manifest


@contextmanager
def _simulator(folder: Path) -> Any:
    command = [sys.executable, "-m", "orchestrator", "simulate", "--port", "0", "--json"]
    command += ["--data", str(folder / "simulator")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        told = json.loads(process.stdout.readline() if process.stdout else "")
        yield {
            "ORCHESTRATOR_ENDPOINT": told["endpoint"],
            "HUAWEICLOUD_SDK_AK": told["ak"],
            "HUAWEICLOUD_SDK_SK": told["sk"],
            "HUAWEICLOUD_SDK_PROJECT_ID": told["project_id"],
            "ORCHESTRATOR_STATE": str(folder / "journal.db"),
        }
        process.terminate()


def _run(manifest: Path, environ: dict[str, str], tracer: Tracer) -> int:
    os.environ.update(environ)
    sys.path.insert(0, str(ROOT))
    sys.argv = ["orchestrator", "run", str(manifest), "-j1", "-p1", "--no-media-check", "-q", "--json"]
    threading.setprofile(tracer)
    sys.setprofile(tracer)
    try:
        from orchestrator.cli.main import main as command  # noqa: PLC0415 - its import is part of the trip

        with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 - a device
            sys.stdout, kept = nowhere, sys.stdout
            try:
                command()
            finally:
                sys.stdout = kept
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]  # None takes it away, as the documentation says
    return 0


if __name__ == "__main__":
    main()
