"""`run` as an operator has it: what it prints, and its exit code, for each kind of day."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cli.work.listings import SHOWN_ENTRIES
from orchestrator.simulator import Simulator, SimulatorOptions
from tests.cli.conftest import SECRETS, Batch, Cli

#: Loopback port 1 refuses at once.
DEAD_ENDPOINT = "http://127.0.0.1:1"


def test_a_good_day_ends_with_a_table_a_summary_and_zero(
    cli: Cli, batch: Batch, simulator: Simulator
) -> None:
    """Every entry with its state and job."""
    result = cli("run", batch.manifest)

    assert result.exit_code == 0
    (job,) = [job for job in simulator.jobs if job.name == "anna"]
    assert f"anna   confirmed  401.8 kB  {job.job_id}" in result.stdout
    assert "studio: 2 of 2 entries done" in result.stdout
    assert "sent 803.6 kB in 8 segments" in result.stdout


def test_a_second_run_says_that_there_is_nothing_to_do(cli: Cli, batch: Batch, simulator: Simulator) -> None:
    """And asks nobody."""
    cli("run", batch.manifest)
    before = simulator.stats.to_document()

    result = cli("run", batch.manifest)

    assert (result.exit_code, result.stdout) == (0, "studio: nothing to do, all 2 entries are done\n")
    assert simulator.stats.to_document() == before


@pytest.mark.parametrize(
    ("flags", "environ"),
    [
        (("--verify", "off", "--verify-object"), {}),
        (("--verify-object",), {"ORCHESTRATOR_VERIFY": "off"}),
        ((), {"ORCHESTRATOR_VERIFY": "off", "ORCHESTRATOR_VERIFY_OBJECT": "true"}),
    ],
)
def test_objects_cannot_be_verified_without_digests(
    cli: Cli,
    batch: Batch,
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    *,
    flags: tuple[str, ...],
    environ: dict[str, str],
) -> None:
    """A usage error wherever the two come from, before anything is sent."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    result = cli("run", batch.manifest, *flags)

    assert result.exit_code == 2
    assert "--verify-object" in result.stderr
    assert "hint: remove one of them" in result.stderr
    assert simulator.all_jobs == []


@pytest.mark.usefixtures("simulator")
def test_the_document_is_the_one_of_the_contract(cli: Cli, batch: Batch) -> None:
    """Design section 4, and nothing else on stdout."""
    document = cli("run", batch.manifest, "--json").document

    assert document.pop("run_id")
    assert document.pop("elapsed_seconds") > 0
    sent = document["bytes"]["sent"]
    jobs = [result.pop("job_id") for result in document["results"]]
    assert all(len(job_id) == 32 for job_id in jobs)
    assert sent > 800_000
    assert document == {
        "schema": 1,
        "batch": "studio",
        "exit_code": 0,
        "entries": {"total": 2, "done": 2, "failed": 0, "skipped": 0, "pending": 0},
        "segments": {"total": 8, "stored": 8, "sent": 8, "resumed": 0, "retried": 0},
        "bytes": {"total": sent, "sent": sent, "resumed": 0},
        "warnings": [],
        "results": [
            {"entry": "anna", "state": "confirmed", "error": None},
            {"entry": "bo", "state": "confirmed", "error": None},
        ],
    }


def test_a_missing_file_is_refused_before_anything_is_sent(
    cli: Cli, batch: Batch, simulator: Simulator
) -> None:
    """Exit 3, with the place in the manifest."""
    (batch.folder / "bo.mp4").unlink()

    result = cli("run", batch.manifest)

    assert result.exit_code == 3
    assert f"{batch.manifest}:15:19: error: bo: training_video: " in result.stderr
    assert "error: " in result.stderr.splitlines()[-2]
    assert simulator.stats.to_document() == Simulator().stats.to_document()


def test_a_wrong_manifest_goes_before_missing_credentials(cli: Cli, batch: Batch) -> None:
    """What is mended at the desk comes first; then exit 4."""
    good = batch.manifest.read_text()
    batch.manifest.write_text(good + "surprise: 1\n")

    with_both = cli("run", batch.manifest, "--json")
    batch.manifest.write_text(good)
    without_credentials = cli("run", batch.manifest, "--region", "cn-north-4", "--json")

    assert (with_both.exit_code, with_both.document["exit_code"]) == (3, 3)
    assert [problem["field"] for problem in with_both.document["problems"]] == ["surprise"]
    assert without_credentials.exit_code == 4
    assert "HUAWEICLOUD_SDK_AK" in without_credentials.document["error"]["hint"]


def test_a_wrong_manifest_goes_before_a_wrong_environment(
    cli: Cli, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment is told about once the manifest is right."""
    monkeypatch.setenv("ORCHESTRATOR_JOBS", "many")

    assert cli("run", batch.folder / "none.yaml").exit_code == 3
    assert cli("run", batch.manifest).exit_code == 4


@pytest.mark.usefixtures("simulator")
def test_wrong_keys_end_with_four_and_a_hint(cli: Cli, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence helps, and the document tells the same."""
    monkeypatch.setenv("HUAWEICLOUD_SDK_SK", "wrong-key-of-somebody")

    result = cli("run", batch.manifest, "--json")

    assert result.exit_code == result.document["exit_code"] == 4
    assert result.document["error"]["kind"] == "credentials"
    assert result.document["error"]["request_id"]
    assert "hint: " in result.stderr
    assert "wrong-key" not in result.stdout + result.stderr


@pytest.mark.usefixtures("simulator")
def test_a_dead_endpoint_ends_with_five(cli: Cli, batch: Batch) -> None:
    """Run again later."""
    result = cli("run", batch.manifest, "--endpoint", DEAD_ENDPOINT, "--max-outage", "0", "--json")

    assert result.exit_code == result.document["exit_code"] == 5
    assert result.document["error"]["kind"] == "unreachable"
    assert result.document["entries"]["pending"] == 2
    assert "run the same command again" in result.stderr


@pytest.mark.parametrize("simulator_options", [SimulatorOptions(min_part_bytes=300_000)])
@pytest.mark.usefixtures("simulator")
def test_one_refused_entry_fails_alone(cli: Cli, batch: Batch) -> None:
    """Code, message and request id; the others finish; exit 8; the table names it."""
    batch.write(batch.entry("anna", video_multipart_count=2), batch.entry("bo"))

    result = cli("run", batch.manifest, "--json")
    anna, bo = result.document["results"]
    table = cli("status", "studio").stdout

    assert result.exit_code == result.document["exit_code"] == 8
    assert (anna["state"], bo["state"], bo["error"]) == ("failed", "confirmed", None)
    assert anna["error"]["code"]
    assert anna["error"]["request_id"]
    assert anna["error"]["message"] in table
    assert "run the same command again" in result.stderr


@pytest.mark.usefixtures("simulator")
def test_two_runs_of_a_batch_at_once_end_with_six(cli: Cli, batch: Batch, home: Path) -> None:
    """The second one leaves, whoever holds the lock."""
    cli("run", batch.manifest)
    (lock,) = home.rglob("*.lock")
    with lock.open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        result = cli("run", batch.manifest, "--json")

    assert result.exit_code == result.document["exit_code"] == 6
    assert result.document["error"]["kind"] == "locked"


@pytest.mark.usefixtures("simulator")
def test_a_changed_file_needs_a_decision(cli: Cli, batch: Batch) -> None:
    """Exit 9 names the entry and the way out."""
    cli("run", batch.manifest)
    batch.entry("anna", size=500_000)

    result = cli("run", batch.manifest)

    assert result.exit_code == 9
    assert (
        "anna needs a decision: changed since its job was created: content of training_video" in result.stderr
    )
    assert "--on-change" in result.stderr


@pytest.mark.parametrize("simulator_options", [SimulatorOptions(store_bytes_per_second=3_000_000)])
@pytest.mark.usefixtures("simulator")
def test_interrupt_then_run_sends_only_what_is_left(
    cli: Cli, batch: Batch, start_program: Callable[..., subprocess.Popen[str]]
) -> None:
    """Ctrl-C drains with 130; the next run says how much it did not have to send again."""
    batch.write(*(batch.entry(name, size=1_500_000) for name in ("anna", "bo", "carla")))
    arguments = ("run", batch.manifest, "--part-size", "200K", "-j", "1", "-p", "2", "--json")

    first = start_program(*arguments)
    assert first.stderr is not None
    while "uploaded" not in first.stderr.readline():
        assert first.poll() is None
    first.send_signal(signal.SIGINT)
    stopped, said = first.communicate(timeout=20)
    second = cli(*arguments)

    assert first.returncode == json.loads(stopped)["exit_code"] == 130
    assert "interrupted; state is saved, run the same command again" in said
    assert (second.exit_code, second.document["entries"]["done"]) == (0, 3)
    sent = second.document["bytes"]
    assert sent["resumed"] >= 1_500_000
    assert sent["sent"] + sent["resumed"] == sent["total"]


def test_no_secret_reaches_output_or_log(
    cli: Cli, batch: Batch, simulator: Simulator, tmp_path: Path
) -> None:
    """With -v and a log file, through retries and a failed entry."""
    batch.write(batch.entry("anna", contact="13800138000"), batch.entry("bo"))
    simulator.faults.script("put", ["slow-down", "reset", "early-403", "redirect"])
    simulator.faults.script("create", ["lost-create"])
    log = tmp_path / "run.log"

    result = cli("run", batch.manifest, "-v", "--log-file", log)

    told = result.stdout + result.stderr + log.read_text()
    assert "request.retry_scheduled" in told
    assert [secret for secret in (*SECRETS, simulator.options.ak) if secret in told] == []
    assert log.stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("simulator")
def test_the_log_file_has_a_json_object_per_line(cli: Cli, batch: Batch, tmp_path: Path) -> None:
    """With the batch on each, and of segments which; not the bytes on their way."""
    cli("run", batch.manifest, "-v", "--log-file", tmp_path / "run.log")

    lines = [json.loads(line) for line in (tmp_path / "run.log").read_text().splitlines()]
    assert {line["batch"] for line in lines} == {"studio"}
    stored = [line for line in lines if line["event"] == "segment.stored"]
    assert len(stored) == 8
    assert {"entry", "job_id", "asset", "part_number", "attempt"} <= stored[0].keys()
    events = {line["event"] for line in lines}
    assert {"call.attempted", "run.started", "entry.transitioned", "run.finished"} <= events
    assert "segment.progressed" not in events


@pytest.mark.usefixtures("simulator")
def test_quiet_prints_nothing_on_a_good_day(cli: Cli, batch: Batch) -> None:
    """For cron."""
    result = cli("run", batch.manifest, "-q")

    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("simulator_options", [SimulatorOptions(min_part_bytes=300_000)])
@pytest.mark.usefixtures("simulator")
def test_quiet_still_tells_what_failed(cli: Cli, batch: Batch) -> None:
    """A line for each, on stderr, and the summary."""
    batch.write(batch.entry("anna", video_multipart_count=2), batch.entry("bo"))

    result = cli("run", batch.manifest, "-q")

    assert (result.exit_code, result.stdout) == (8, "")
    line, summary = result.stderr.splitlines()
    assert summary.startswith("studio: 1 of 2 entries done, 1 failed")
    assert line.startswith("anna: ")


@pytest.mark.usefixtures("simulator")
def test_a_long_table_is_cut_and_the_document_is_not(cli: Cli, batch: Batch) -> None:
    """Nobody reads 50,000 lines at the end of a run."""
    count = SHOWN_ENTRIES + 3
    batch.write(
        *({**batch.entry("anna"), "id": f"a-{place}", "name": f"a-{place}"} for place in range(count))
    )

    table = cli("run", batch.manifest, "--endpoint", DEAD_ENDPOINT, "--max-outage", "0")
    document = cli("status", "studio", "--json").document

    assert table.stdout.count("401.8 kB") == SHOWN_ENTRIES
    assert "... and 3 more" in table.stdout
    assert len(document["results"]) == count


def test_a_reader_that_leaves_early_is_no_error(
    batch: Batch, start_program: Callable[..., subprocess.Popen[str]]
) -> None:
    """`orchestrator schema | head -1`."""
    process = start_program("schema")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()

    assert process.wait(10) == 0
    assert process.stderr.read() == ""
