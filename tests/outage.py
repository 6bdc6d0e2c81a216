"""A real outage: the simulator's process is stopped in the middle of a run and started again.

The run's own progress is shown; the script ends with 0 when the run waited it out, and when with a `--max-outage`
shorter than the outage it ended with 5.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from orchestrator.domain.quantities import parse_duration
from orchestrator.simulator.footage import write_footage

ORCHESTRATOR = [sys.executable, "-m", "orchestrator"]
STORE_RATE = "4M"


def main() -> int:
    """Play it and say what came of it."""
    asked = _arguments()
    with tempfile.TemporaryDirectory(prefix="outage-") as name:
        folder = Path(name)
        _write_batch(folder, asked.entries)
        simulator, told = _listen(folder, port=0)
        run = _run(folder, told, asked.max_outage)
        try:
            time.sleep(asked.after)
            port = told["endpoint"].rpartition(":")[2]
            _stop(simulator)
            print(f"-- the simulator is down for {asked.seconds:g} s", flush=True)
            time.sleep(asked.seconds)
            simulator, _ = _listen(folder, port=int(port))
            print("-- the simulator listens again", flush=True)
            exit_code = run.wait()
        finally:
            run.kill()
            _stop(simulator)
    expected = 5 if asked.seconds > parse_duration(asked.max_outage) else 0
    print(f"-- exit code {exit_code}, expected {expected}")
    return 0 if exit_code == expected else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/outage", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0, help="how long it lasts (300)")
    parser.add_argument("--after", type=float, default=3.0, help="seconds of work before it (3)")
    parser.add_argument("--entries", type=int, default=8, help="avatars in the batch (8)")
    parser.add_argument("--max-outage", default="15m", help="what the run is told (15m)")
    return parser.parse_args()


def _write_batch(folder: Path, entries: int) -> None:
    avatars = []
    for number in range(entries):
        write_footage(folder / f"{number}.mp4", size=6_000_000, seed=number)
        avatars.append({"name": f"Avatar {number}", "training_video": f"{number}.mp4"})
    (folder / "outage.yaml").write_text(json.dumps({"batch_name": "outage", "avatars": avatars}))


def _listen(folder: Path, *, port: int) -> tuple[subprocess.Popen[str], dict[str, str]]:
    command = [*ORCHESTRATOR, "simulate", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--data", str(folder / "service"), "--store-rate", STORE_RATE, "--json"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


def _run(folder: Path, told: dict[str, str], max_outage: str) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "ORCHESTRATOR_ENDPOINT": told["endpoint"],
        "HUAWEICLOUD_SDK_AK": told["ak"],
        "HUAWEICLOUD_SDK_SK": told["sk"],
        "HUAWEICLOUD_SDK_PROJECT_ID": told["project_id"],
        "ORCHESTRATOR_STATE": str(folder / "journal.db"),
    }
    command = [*ORCHESTRATOR, "run", str(folder / "outage.yaml"), "--no-media-check", "-j", "2"]
    return subprocess.Popen([*command, "--progress", "plain", "--max-outage", max_outage], env=environment)


def _stop(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


if __name__ == "__main__":
    sys.exit(main())
