"""The units of scripts/systemd: systemd takes them, and they treat each exit code as their page says."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from orchestrator.domain.errors import ExitCode
from orchestrator.settings.values import Settings
from tests.cli.advice import complaint
from tests.docs.conftest import ROOT, Desk
from tests.docs.pasting import install_program

UNITS = ROOT / "scripts/systemd"
#: By the name under which it is started; an instance is of a template.
FILES = {
    "orchestrator.service": "orchestrator.service",
    "orchestrator.timer": "orchestrator.timer",
    "orchestrator-notify.service": "orchestrator-notify.service",
    "orchestrator-work@8.service": "orchestrator-work@.service",
}


def service(file: str = "orchestrator.service") -> configparser.SectionProxy:
    """What a unit says of the process."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNITS / file)
    return unit["Service"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize(
    "spoilt", [False, True], ids=["as they are", "with a word that systemd does not know"]
)
def test_systemd_takes_the_units(tmp_path: Path, *, spoilt: bool) -> None:
    """Every key, every value, and every program they start."""
    install_program(tmp_path / ".local/bin")
    shutil.copy(UNITS / "orchestrator-notify", tmp_path / ".local/bin")
    for name, file in FILES.items():
        text = (UNITS / file).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace("RestartSec=", "RestartSecs=") if spoilt else text)

    verified = subprocess.run(
        ["systemd-analyze", "verify", "--user", "--man=no", *FILES],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    complaints = [
        line for line in verified.stderr.splitlines() if str(tmp_path) in line or "orchestrator" in line
    ]
    assert (complaints != []) is spoilt, verified.stderr
    assert spoilt or verified.returncode == 0


def test_each_exit_code_is_retried_reported_or_ignored() -> None:
    """5 is started again; what only a person can help with is not; another run's work and a stop are no failure."""
    unit = service()
    reported = {int(code) for code in unit["RestartPreventExitStatus"].split()}
    ignored = {int(code) for code in unit["SuccessExitStatus"].split()}

    assert unit["Restart"] == "on-failure"
    assert ignored == {ExitCode.LOCKED, ExitCode.TERMINATED}
    assert set(ExitCode) - reported - ignored - {ExitCode.OK} == {
        ExitCode.TEMPORARY,
        ExitCode.HUNG_UP,
        ExitCode.INTERRUPTED,
    }


def test_a_worker_is_started_again_unless_only_a_person_can_help() -> None:
    """And has the time to return what it has before it is killed."""
    unit = service("orchestrator-work@.service")
    grace = Settings().grace

    assert unit["Restart"] == "always"
    assert {int(code) for code in unit["RestartPreventExitStatus"].split()} == {
        ExitCode.USAGE,
        ExitCode.CONFIGURATION,
    }
    assert float(unit["TimeoutStopSec"]) > 2 * grace
    command = unit["ExecStart"].removeprefix("%h/.local/bin/").replace("%i", "8")
    assert complaint(command) is None


@pytest.mark.parametrize(
    ("how_it_ended", "is_reported"),
    [
        ({"MONITOR_EXIT_STATUS": "8", "MONITOR_SERVICE_RESULT": "exit-code"}, True),
        ({"MONITOR_EXIT_STATUS": "5", "MONITOR_SERVICE_RESULT": "exit-code"}, False),
        ({"MONITOR_EXIT_STATUS": "5", "MONITOR_SERVICE_RESULT": "start-limit-hit"}, True),
        ({}, True),
    ],
    ids=["entries failed", "it is retried", "it was retried too often", "an older systemd"],
)
def test_a_person_gets_a_report_when_one_is_needed(
    desk: Desk, how_it_ended: dict[str, str], *, is_reported: bool
) -> None:
    """What `status` shows goes to the command in NOTIFY."""
    report = desk.home / "report"

    subprocess.run(
        [UNITS / "orchestrator-notify"],
        env={**desk.shell.environment, **how_it_ended, "NOTIFY": f"tee {report}"},
        stdout=subprocess.DEVNULL,
        timeout=50,
        check=True,
    )

    assert report.exists() is is_reported
    assert not is_reported or "no batches yet" in report.read_text(encoding="utf-8")
