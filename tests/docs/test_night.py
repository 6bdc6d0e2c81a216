"""The table of what can happen at night: each row is brought about, and the run says and ends with what it says."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable

import pytest

from orchestrator.simulator.footage import write_footage
from tests.docs.conftest import DOCS, Desk, a_run_under_way, in_journal
from tests.docs.pasting import Printed

pytestmark = pytest.mark.long

RUN = "orchestrator run studio.yaml"
_ROW = re.compile(r"^\| ([^|]+) \| (\d+) \| `([^`]+)` \| [^|]+ \|$", re.MULTILINE)


def rows() -> dict[str, tuple[int, str]]:
    """Exit code and words by what happened."""
    text = (DOCS / "at-night.md").read_text(encoding="utf-8")
    return {cause: (int(code), words) for cause, code, words in _ROW.findall(text)}


def wrong_key(desk: Desk) -> Printed:
    return desk.shell.run(f"HUAWEICLOUD_SDK_SK=wrong {RUN}")


def expired_token(desk: Desk) -> Printed:
    return desk.shell.run(f"unset HUAWEICLOUD_SDK_AK HUAWEICLOUD_SDK_SK; ORCHESTRATOR_AUTH_TOKEN=old {RUN}")


def full_disk(desk: Desk) -> Printed:
    return desk.shell.run(f"ulimit -f 100; {RUN}")


def full_disk_of_the_log(desk: Desk) -> Printed:
    return desk.shell.run(f"{RUN} --log-file /dev/full")


def missing_file(desk: Desk) -> Printed:
    (desk.batch.folder / "anna.mp4").unlink()
    return desk.shell.run(RUN)


def file_deleted_during_the_run(desk: Desk) -> Printed:
    """The store hangs until the file is away; the next attempt wants to read it."""
    desk.simulator.faults.rates["stall"] = 1.0
    process = subprocess.Popen(
        ["/bin/bash", "-c", f"exec {RUN} --idle-timeout 1"],
        cwd=desk.shell.folder,
        env=desk.shell.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        while not desk.simulator.stats.requests["put"]:
            time.sleep(0.02)
        (desk.batch.folder / "anna.mp4").unlink()
        desk.simulator.faults.rates.clear()
        printed, _ = process.communicate(timeout=50)
    return Printed(printed, process.returncode)


def film_replaced(desk: Desk) -> Printed:
    desk.type(RUN)
    write_footage(desk.batch.folder / "anna.mp4", size=450_000, seed=7)
    return desk.shell.run(RUN)


def refused_update(desk: Desk) -> Printed:
    film_replaced(desk)
    return desk.shell.run(f"{RUN} --on-change update")


def failed_review(desk: Desk) -> Printed:
    desk.batch.write(desk.batch.entry("anna") | {"name": "review-fail"}, desk.batch.entry("bo"))
    desk.type(f"{RUN} --submit")
    return desk.shell.run(f"{RUN} --submit")


def expired_urls(desk: Desk) -> Printed:
    with a_run_under_way(desk):
        pass
    in_journal(desk.journal, "UPDATE segments SET url = expired(url)")
    return desk.shell.run(RUN)


def no_network(desk: Desk) -> Printed:
    return desk.shell.run(f"ORCHESTRATOR_ENDPOINT=http://127.0.0.1:9 {RUN} --max-outage 1")


def service_fails(desk: Desk) -> Printed:
    desk.simulator.faults.rates["error-500-api"] = 1.0
    return desk.shell.run(f"{RUN} --max-outage 1")


def task_limit(desk: Desk) -> Printed:
    desk.simulator.faults.rates["task-limit"] = 1.0
    return desk.shell.run(f"{RUN} --max-outage 1")


def refused_for_good(desk: Desk) -> Printed:
    desk.batch.write(*(desk.batch.entry(name) for name in ("anna", "bo", "carla")))
    desk.simulator.faults.rates["early-403"] = 1.0
    return desk.shell.run(f"{RUN} -j 1")


def overlap(desk: Desk) -> Printed:
    with a_run_under_way(desk):
        return desk.shell.run(RUN)


def killed(desk: Desk) -> Printed:
    with a_run_under_way(desk):
        pass
    return desk.shell.run(RUN)


def lost_journal(desk: Desk) -> Printed:
    desk.type(RUN)
    desk.journal.unlink()
    return desk.shell.run(RUN)


def damaged_journal(desk: Desk) -> Printed:
    desk.type(RUN)
    desk.journal.write_bytes(b"not a journal any more" * 1000)
    return desk.shell.run(RUN)


def stopped(desk: Desk) -> Printed:
    desk.simulator.faults.rates["never-answer"] = 1.0
    return desk.shell.run(f"timeout --preserve-status 2 {RUN} --grace 0")


CAUSES: dict[str, Callable[[Desk], Printed]] = {
    "a wrong key": wrong_key,
    "an expired token": expired_token,
    "a full disk under the journal": full_disk,
    "a full disk under the log": full_disk_of_the_log,
    "a file is missing": missing_file,
    "a file is deleted during the run": file_deleted_during_the_run,
    "a film is another than the one sent": film_replaced,
    "the service refuses an update": refused_update,
    "a review failed": failed_review,
    "upload URLs expired": expired_urls,
    "no network": no_network,
    "the service fails for longer than `--max-outage`": service_fails,
    "the account's task limit is reached": task_limit,
    "the account is refused, entry after entry": refused_for_good,
    "the last night's run still works": overlap,
    "the run was killed, and is started again": killed,
    "the journal is lost": lost_journal,
    "the journal is damaged": damaged_journal,
    "the machine shuts down": stopped,
}


def test_every_row_of_the_table_is_brought_about() -> None:
    """And every cause has a row."""
    assert list(rows()) == list(CAUSES)


@pytest.mark.parametrize("cause", CAUSES)
def test_a_night_ends_as_the_table_says(desk: Desk, cause: str) -> None:
    """The exit code, and the words that a person finds in the mail of the morning."""
    exit_code, words = rows()[cause]

    printed = CAUSES[cause](desk)

    assert printed.exit_code == exit_code, printed.text
    assert words in printed.text
