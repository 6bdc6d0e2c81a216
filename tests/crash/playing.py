"""Rounds side by side, each worker with processes of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.crash.harness import Harness
from tests.crash.judge import judge
from tests.crash.report import CrashReport, round_line
from tests.crash.rounds import Round


def play_all(
    folder: Path,
    rounds: Sequence[Round],
    *,
    workers: int,
    is_kept: bool = False,
    on_round: Callable[[str], None] = lambda _: None,
) -> CrashReport:
    """Play and judge *rounds*; files of rounds that went well are dropped unless *is_kept*.

    *on_round* gets one line about each, from any thread.
    """
    report = CrashReport()

    def work(place: int) -> None:
        own = folder / f"worker-{place}"
        own.mkdir(parents=True)
        harness = Harness(own)
        try:
            for drawn in rounds[place::workers]:
                played = harness.play(drawn)
                verdict = judge(played)
                report.add(played, verdict)
                on_round(round_line(played, verdict))
                if not (is_kept or verdict.problems):
                    shutil.rmtree(played.folder)
        finally:
            harness.close()

    with ThreadPoolExecutor(workers) as pool:
        for future in [pool.submit(work, place) for place in range(workers)]:
            future.result()
    return report
