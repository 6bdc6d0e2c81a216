"""A run followed in Chromium from another process: the run is killed and goes on, the page's server as well."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from pathlib import Path

from page_check.batch import PROGRAM, make_batch, simulator, start_run
from page_check.browser import Tab

_PORT = 8931
_DELIVERED = "summary.delivered"


async def followed(tab: Tab, folder: Path, avatars: int) -> list[str]:
    """Play it; what the page did not follow, one sentence each."""
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - nothing else runs meanwhile
    manifest, journal = make_batch(folder, avatars), folder / "journal.db"
    missed = []
    with simulator(folder) as service, (folder / "run.log").open("w") as log:
        run = start_run(folder, service, manifest, journal, log)
        while (
            not journal.exists()
            or subprocess.run(  # noqa: ASYNC221 - as above
                [*PROGRAM, "status", "night", "--state", str(journal)], capture_output=True, check=False
            ).returncode
        ):
            time.sleep(0.3)  # noqa: ASYNC251 - as above
        server = _start_server(journal)
        await tab.open(f"http://127.0.0.1:{_PORT}/")
        await _wait(tab, f"{_DELIVERED} > {avatars // 10}", "the page did not follow the run", missed)
        run.send_signal(signal.SIGKILL)
        run.wait()
        await _wait(tab, "summary.run.state === 'killed'", "the page did not see the kill of the run", missed)
        before = await tab.evaluate(_DELIVERED)
        run = start_run(folder, service, manifest, journal, log)
        await _wait(tab, f"{_DELIVERED} > {before}", "the page did not follow the run that continues", missed)
        server.kill()
        server.wait()
        await _wait(
            tab, "connection !== 'live'", "the page did not notice that its server was killed", missed
        )
        server = _start_server(journal)
        await _wait(tab, "connection === 'live'", "the page did not find its server again", missed)
        await _wait(tab, "summary.run.state === 'ended'", "the page did not see the end of the run", missed)
        run.wait()
        server.kill()
        server.wait()
    return missed


def _start_server(journal: Path) -> subprocess.Popen[str]:
    words = ["report", "night", "--live", "--state", str(journal), "--port", str(_PORT), "--no-pictures"]
    server = subprocess.Popen(
        [*PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert server.stdout is not None  # noqa: S101 - it was asked for
    server.stdout.readline()  # its URL, once it listens
    return server


async def _wait(tab: Tab, condition: str, complaint: str, missed: list[str]) -> None:
    """Wait for *condition* on the page, two minutes at most."""
    for _ in range(240):
        if await tab.evaluate(condition):
            return
        await asyncio.sleep(0.5)
    missed.append(complaint)
