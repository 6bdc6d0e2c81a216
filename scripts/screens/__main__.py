"""Plays a studio's day on a terminal of each size and writes docs/screens.md. Takes some two minutes; needs tmux.

usage: scripts/write-screens [OUTPUT]
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

import orchestrator
from orchestrator.simulator import SimulatorOptions
from orchestrator.simulator.footage import write_footage, write_letter, write_picture
from screens.service import Service
from screens.terminal import Size, Terminal

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/screens.md"
README = ROOT / "README.md"
UNDER_WAY = "A run under way"
_README_SCREEN = re.compile(r"```text\n.*?\n```", re.DOTALL)
SIZES = (Size(80, 24), Size(120, 40))
_HEAD = """\
# Screens

What the program shows, as text, on terminals of 80x24 and of 120x40. `scripts/write-screens` makes
this page: it types the commands in tmux against the simulator and reads the screen. Colours are lost;
the part of a bar that is to do, grey in a terminal, is a thin line.
"""
#: The folder of the day stands for this one in the page, letter for letter, so that tables keep their shape.
_HOME = "/home/operator"
_PORT = 18443
_OPTIONS = SimulatorOptions(speed=4.0, store_bytes_per_second=3_000_000)
_NAMES = ("anna", "bai-lin", "carla", "dmitri", "esra", "femi")
_FILM_BYTES = 6_000_000


def main() -> None:
    """Write the page to the file that the command line names, or to its place and one screen into the README."""
    days = [dict(_day(size)) for size in SIZES]
    parts = [_HEAD]
    for title in days[0]:
        parts.append(f"\n## {title}\n")
        parts += [f"\n{size}:\n\n```text\n{day[title]}\n```\n" for size, day in zip(SIZES, days, strict=True)]
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text("".join(parts), encoding="utf-8")
    else:
        PAGE.write_text("".join(parts), encoding="utf-8")
        shown = f"```text\n{days[0][UNDER_WAY]}\n```"
        text = README.read_text(encoding="utf-8")
        README.write_text(_README_SCREEN.sub(lambda _: shown, text, count=1), encoding="utf-8")


def _day(size: Size) -> Iterator[tuple[str, str]]:
    """Title and screen of each scene, in the order of the day."""
    home = Path(tempfile.mkdtemp(prefix="s", dir="/tmp"))
    try:
        studio = home / "studio"
        _make_studio(studio)
        with (
            Service(_OPTIONS, home / "service", _PORT) as service,
            Terminal(size, studio, _environment(home, service.simulator.endpoint)) as terminal,
        ):
            for title, screen in _scenes(terminal, service, studio):
                yield title, _renamed(_cut(title, screen, size), str(home))
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _cut(title: str, screen: str, size: Size) -> str:
    return "\n".join(screen.splitlines()[: size.rows]) if "first screen" in title else screen


def _renamed(screen: str, home: str) -> str:
    """The screen with the folder's other name, also where a line ends in the middle of it."""
    folder = re.compile(r"(\n?)".join(map(re.escape, home)))

    def other_name(found: re.Match[str]) -> str:
        breaks = (*found.groups(), "")
        return "".join(letter + line_break for letter, line_break in zip(_HOME, breaks, strict=True))

    return folder.sub(other_name, screen)


def _scenes(terminal: Terminal, service: Service, studio: Path) -> Iterator[tuple[str, str]]:
    yield "validate, with 500 warnings", terminal.run("orchestrator validate casting.csv")
    yield "doctor", terminal.run("orchestrator doctor studio.yaml")
    yield UNDER_WAY, _run_under_way(terminal)
    with (studio / "femi.mp4").open("ab") as film:
        film.write(b"somebody still copies it")
    yield "A run in an outage", _outage(terminal, service)
    yield "The end of a run, with a failure", terminal.finished()
    yield "status", terminal.run("orchestrator status")
    yield "status BATCH", terminal.run("orchestrator status studio")
    os.truncate(studio / "femi.mp4", _FILM_BYTES)
    terminal.run("orchestrator run studio.yaml --submit -q")
    yield "watch", _watch(terminal)
    yield "run --help, its first screen", terminal.run("orchestrator run --help")


def _run_under_way(terminal: Terminal) -> str:
    terminal.type("orchestrator run studio.yaml")
    time.sleep(5)
    return terminal.screen()


def _outage(terminal: Terminal, service: Service) -> str:
    service.go_away()
    terminal.wait_for("waiting")
    time.sleep(5)
    screen = terminal.screen()
    service.come_back()
    return screen


def _watch(terminal: Terminal) -> str:
    terminal.type("orchestrator watch studio --interval 1s")
    screen = terminal.wait_for("review failed   1")
    terminal.press("C-c")
    terminal.finished()
    return screen


def _make_studio(folder: Path) -> None:
    """A batch of six avatars, one of which a review will refuse, and a table of 500 without papers."""
    folder.mkdir()
    avatars = []
    for seed, name in enumerate(_NAMES):
        write_footage(folder / f"{name}.mp4", size=_FILM_BYTES, seed=seed)
        write_picture(folder / f"{name}-front.png", seed)
        write_picture(folder / f"{name}-back.png", seed + 100)
        write_letter(folder / f"{name}.pdf", seed)
        avatars.append(
            {
                "id": name,
                "name": "Esra (review-fail)" if name == "esra" else name.title(),
                "training_video": f"{name}.mp4",
                "id_card_image1": f"{name}-front.png",
                "id_card_image2": f"{name}-back.png",
                "grant_file": f"{name}.pdf",
            }
        )
    manifest = {"defaults": {"contact": "ops@example.com", "video_multipart_count": 6}, "avatars": avatars}
    (folder / "studio.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False), encoding="utf-8")
    rows = "".join(f"c{number:03},C {number},anna.mp4,ops@example.com\n" for number in range(500))
    (folder / "casting.csv").write_text(f"id,name,training_video,contact\n{rows}", encoding="utf-8")


def _environment(home: Path, endpoint: str) -> dict[str, str]:
    programs = home / "bin"
    programs.mkdir()
    program = programs / "orchestrator"
    source = Path(orchestrator.__file__).parents[1]
    program.write_text(
        f'#!/bin/sh\nPYTHONPATH="{source}" exec "{sys.executable}" -m orchestrator "$@"\n', encoding="utf-8"
    )
    program.chmod(0o755)
    return {
        "HOME": str(home),
        "PATH": f"{programs}:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "ORCHESTRATOR_ENDPOINT": endpoint,
        "HUAWEICLOUD_SDK_AK": _OPTIONS.ak,
        "HUAWEICLOUD_SDK_SK": _OPTIONS.sk,
        "HUAWEICLOUD_SDK_PROJECT_ID": _OPTIONS.project_id,
    }


if __name__ == "__main__":
    main()
