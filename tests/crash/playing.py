"""Rounds side by side, each worker with processes of its own."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.crash.harness import Harness
from tests.crash.judge import judge
from tests.crash.report import CrashReport
from tests.crash.rounds import Round


def play_all(folder: Path, rounds: Sequence[Round], *, workers: int, is_kept: bool = False) -> CrashReport:
    """Play and judge *rounds*; files of rounds that went well are dropped unless *is_kept*."""
    report = CrashReport()

    def work(place: int) -> None:
        own = folder / f"worker-{place}"
        own.mkdir(parents=True)
        harness = Harness(own)
        try:
            for drawn in rounds[place::workers]:
                _play(harness, drawn, report, is_kept=is_kept)
        finally:
            harness.close()

    with ThreadPoolExecutor(workers) as pool:
        for future in [pool.submit(work, place) for place in range(workers)]:
            future.result()
    return report


def _play(harness: Harness, drawn: Round, report: CrashReport, *, is_kept: bool) -> None:
    played = harness.play(drawn)
    verdict = judge(played)
    report.add(played, verdict)
    if not (is_kept or verdict.problems):
        shutil.rmtree(played.folder)
