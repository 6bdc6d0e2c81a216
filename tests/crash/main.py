"""`scripts/crash`: many rounds, a report, and an exit status that tells whether all were right."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.crash.playing import play_all
from tests.crash.rounds import draw_round


def main() -> int:
    """Play the rounds asked for and print what they came to."""
    asked = _parser().parse_args()
    folder = Path(tempfile.mkdtemp(prefix="crash-"))
    numbers = range(asked.first, asked.first + (20 if asked.rounds is None else asked.rounds))
    if asked.fleet:
        return _strike_fleets(asked, folder, numbers)
    began = time.monotonic()
    report = play_all(
        folder,
        [draw_round(asked.seed, number, is_timed=not asked.no_timed) for number in numbers],
        workers=asked.jobs,
        is_kept=asked.keep,
        on_round=lambda line: print(line, flush=True),
    )
    report.seconds = time.monotonic() - began
    print(f"seed               {asked.seed}", *report.lines(), sep="\n")
    if asked.keep or report.failures:
        print(f"files are in {folder}")
    return 1 if report.failures or (report.missed_points and len(numbers) >= 200) else 0


def _strike_fleets(asked: argparse.Namespace, folder: Path, numbers: range) -> int:
    # It needs an extra that the other rounds do not.
    from tests.crash import network
    from tests.crash.fleet_playing import play_fleets
    from tests.crash.fleet_rounds import draw_fleet_round, draw_freezes, draw_network_round

    if asked.network and (reason := network.missing()):
        print(f"no hosts of their own: {reason}", file=sys.stderr)
        return 2

    if asked.freezes:
        last = None if asked.rounds is None else numbers.stop
        rounds = draw_freezes(asked.seed)[asked.first : last]
    else:
        draw = draw_network_round if asked.network else draw_fleet_round
        rounds = tuple(draw(asked.seed, number, asked.workers) for number in numbers)
    began = time.monotonic()
    report = play_fleets(
        folder,
        rounds,
        at_once=asked.jobs,
        is_kept=asked.keep,
        on_round=lambda line: print(line, flush=True),
    )
    seconds = time.monotonic() - began
    print(f"seed               {asked.seed}", f"seconds            {seconds:.0f}", *report.lines(), sep="\n")
    if asked.keep or report.failures:
        print(f"files are in {folder}")
    return 1 if report.failures or report.late else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/crash", description=__doc__)
    parser.add_argument("--rounds", type=int, help="how many rounds (20; with --freezes all)")
    parser.add_argument("--seed", type=int, default=1, help="what decides what happens in them (1)")
    parser.add_argument("--first", type=int, default=0, help="the number of the first round (0)")
    parser.add_argument("--jobs", type=int, default=2, help="rounds at once (2)")
    parser.add_argument("--no-timed", action="store_true", help="no kills at random times")
    parser.add_argument("--fleet", action="store_true", help="strike the workers of a fleet instead")
    parser.add_argument("--workers", type=int, default=3, help="how many a fleet has (3)")
    parser.add_argument(
        "--freezes",
        action="store_true",
        help="with --fleet: a worker stops itself beside each thing that is sent, and wakes after the end",
    )
    parser.add_argument(
        "--network",
        action="store_true",
        help="with --fleet: each worker is on a host of its own, whose links are cut; takes root and iproute2",
    )
    parser.add_argument("--keep", action="store_true", help="keep files, journals and trails")
    return parser


if __name__ == "__main__":
    sys.exit(main())
