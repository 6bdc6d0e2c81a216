"""A batch as a night leaves it, against the simulator: failures, retries, an outage, a kill, a resume, reviews."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from orchestrator.simulator.footage import write_footage

_FILM_BYTES = 420_000
_FAULTS = "slow-down=0.03,reset=0.03,stall=0.0005"
_SURNAMES = ("陈静", "Анна", "Zoë", "Bai Lin", "محمد", "O'Brien", "<b>Bo</b>", "Maximiliane von der Langen")
PROGRAM = (sys.executable, "-m", "orchestrator")


def make_batch(folder: Path, avatars: int) -> Path:
    """Films, covers and the manifest of *avatars* entries, some of which a review will refuse."""
    draw = random.Random(1)
    entries = []
    for number in range(avatars):
        film, cover = folder / f"a{number:04}.mp4", folder / f"a{number:04}.jpg"
        write_footage(film, size=_FILM_BYTES + number, seed=number)
        write_cover(cover, draw)
        marker = " review-fail" if number % 37 == 5 else ""
        entries.append(
            {
                "id": f"a{number:04}",
                "name": f"{draw.choice(_SURNAMES)} {number}{marker}",
                "training_video": film.name,
                "cover": cover.name,
                "video_multipart_count": 4,
            }
        )
    manifest = folder / "night.json.yaml"
    manifest.write_text(
        json.dumps({"batch_name": "night", "submit": True, "avatars": entries}, ensure_ascii=False),
        encoding="utf-8",
    )
    return manifest


def write_cover(path: Path, draw: random.Random) -> None:
    """A presenter before a screen, in few colours, with the noise of a sensor."""
    height, width = 360, 640
    picture = np.zeros((height, width, 3), np.float32)
    picture[:] = [draw.randint(20, 90), draw.randint(120, 200), draw.randint(40, 110)]
    rows, columns = np.mgrid[:height, :width]
    middle, lift = draw.randint(260, 380), draw.randint(-15, 15)
    body = ((columns - middle) / 150) ** 2 + ((rows - 400) / 190) ** 2 < 1
    head = ((columns - middle) / 62) ** 2 + ((rows - 150 - lift) / 82) ** 2 < 1
    hair = head & (rows < 110 + lift)
    picture[body] = [draw.randint(20, 200) for _ in range(3)]
    picture[head] = [draw.randint(140, 235), draw.randint(110, 180), draw.randint(80, 150)]
    picture[hair] = [draw.randint(10, 90)] * 3
    noise = np.random.default_rng(draw.randint(0, 2**31)).normal(0, 6, picture.shape)
    frame = av.VideoFrame.from_ndarray((picture + noise).clip(0, 255).astype(np.uint8), format="rgb24")
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuvj420p"
    encoder.time_base = Fraction(1, 25)
    path.write_bytes(
        b"".join(
            bytes(p) for p in (*encoder.encode(frame.reformat(format="yuvj420p")), *encoder.encode(None))
        )
    )


@contextmanager
def simulator(folder: Path, port: int = 0) -> Iterator[Mapping[str, str]]:
    """Serve the simulator as a process; what it prints to connect."""
    options = {"--port": port, "--data": folder / "service", "--speed": "1e9", "--fault": _FAULTS}
    options |= {"--seed": 7, "--store-rate": "25M"}
    words = [str(word) for option in options.items() for word in option]
    process = subprocess.Popen([*PROGRAM, "simulate", "--json", *words], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        yield json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def play_night(folder: Path, manifest: Path) -> tuple[str, Path]:
    """Run the batch with a kill, an outage and a resume; the name of the batch, and its journal."""
    journal, log = folder / "journal.db", (folder / "run.log").open("w")
    with simulator(folder) as service:
        run = start_run(folder, service, manifest, journal, log)
        _wait_until(journal, folder, delivered=0.3)
        run.send_signal(signal.SIGKILL)
        run.wait()
        time.sleep(3)
        run = start_run(folder, service, manifest, journal, log)
        _wait_until(journal, folder, delivered=0.5)
    port = int(service["endpoint"].rpartition(":")[2])
    # Two are cut while the service is out: their entries fail for it.
    for name in ("a0990.mp4", "a0991.mp4"):
        if (film := folder / name).exists():
            film.write_bytes(film.read_bytes()[:-1000])
    time.sleep(9)
    with simulator(folder, port) as service:
        run.wait()
        subprocess.run(
            [*PROGRAM, "watch", "night", "--state", str(journal), "--interval", "1", "--timeout", "60s"],
            env=_environment(service),
            stdout=log,
            stderr=log,
            check=False,
        )
    return "night", journal


def start_run(
    folder: Path, service: Mapping[str, str], manifest: Path, journal: Path, log: object
) -> subprocess.Popen[bytes]:
    options = {"--state": journal, "--events": folder / "events.jsonl", "--progress": "plain", "-j": 12}
    options |= {"--api-rate": "unlimited", "--idle-timeout": 5}
    words = [str(word) for option in options.items() for word in option]
    return subprocess.Popen(
        [*PROGRAM, "run", str(manifest), *words],
        env=_environment(service),
        stdout=log,  # type: ignore[arg-type]  # an open file
        stderr=log,  # type: ignore[arg-type]
    )


def _environment(service: Mapping[str, str]) -> dict[str, str]:
    return {
        **os.environ,
        "ORCHESTRATOR_ENDPOINT": service["endpoint"],
        "HUAWEICLOUD_SDK_AK": service["ak"],
        "HUAWEICLOUD_SDK_SK": service["sk"],
        "HUAWEICLOUD_SDK_PROJECT_ID": service["project_id"],
    }


def _wait_until(journal: Path, folder: Path, *, delivered: float) -> None:
    """Wait until a share of the entries is submitted, for ten minutes at most."""
    for _ in range(600):
        time.sleep(1)
        told = subprocess.run(
            [*PROGRAM, "status", "night", "--state", str(journal), "--json"], capture_output=True, check=False
        )
        if told.returncode:
            continue
        entries = json.loads(told.stdout)["entries"]
        done = sum(entries.get(state, 0) for state in ("submitted", "in_review", "training", "trained"))
        if done >= delivered * entries["total"]:
            return
    raise RuntimeError(f"the run does not come on: see {folder / 'run.log'}")
