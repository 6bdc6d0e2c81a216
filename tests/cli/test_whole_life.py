"""A batch from its upload to trained avatars, as an operator lives through it."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Batch, Cli
from tests.cli.documents import check_document


@pytest.fixture
def service(
    start_program: Callable[..., subprocess.Popen[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> subprocess.Popen[str]:
    """A simulator in a process of its own, whose day passes in a second; the environment names it."""
    simulate = start_program("simulate", "--json", "--data", tmp_path / "sim", "--speed", "100000")
    assert simulate.stdout is not None
    told = json.loads(simulate.stdout.readline())
    check_document("simulate", told)
    monkeypatch.setenv("ORCHESTRATOR_ENDPOINT", told["endpoint"])
    monkeypatch.setenv("ORCHESTRATOR_API_RATE", "unlimited")
    monkeypatch.setenv("HUAWEICLOUD_SDK_AK", told["ak"])
    monkeypatch.setenv("HUAWEICLOUD_SDK_SK", told["sk"])
    monkeypatch.setenv("HUAWEICLOUD_SDK_PROJECT_ID", told["project_id"])
    return simulate


def test_a_batch_is_uploaded_submitted_mended_and_trained(
    cli: Cli, batch: Batch, service: subprocess.Popen[str]
) -> None:
    """Upload, submit, one review that fails with 44005901, footage replaced, retry, trained."""
    anna = batch.entry("anna") | {"name": "anna review-fail"}
    batch.write(anna, batch.entry("bo"))

    uploaded = cli("run", batch.manifest)
    submitted = cli("submit", "studio", "--json")
    refused = cli("watch", "studio", "--interval", "0.05", "--timeout", "30")
    waiting = cli("status", "studio", "--failed")
    batch.entry("anna", size=450_000)
    mended = cli("retry", "studio", "--json")
    trained = cli("watch", "studio", "--until", "trained", "--interval", "0.05", "--timeout", "30", "--json")
    table = cli("results", "studio", "--json")
    service.send_signal(signal.SIGTERM)

    codes = [result.exit_code for result in (uploaded, submitted, refused, waiting, mended, trained)]
    assert codes == [0, 0, 8, 0, 0, 0]
    assert [entry["state"] for entry in submitted.document["results"]] == ["submitted", "submitted"]
    assert "anna: review failed (AUTO_VERIFY_FAILED): The resolution" in refused.stdout
    for told in (refused.stdout, waiting.stdout):
        assert "(44005901)" in told
    assert "orchestrator retry studio" in refused.stderr
    assert mended.document["bytes"]["sent"] >= 450_000
    assert trained.document["groups"] == {"done": 2}
    assert [entry["state"] for entry in table.document["results"]] == ["trained", "trained"]
    assert {entry["delivered"] for entry in table.document["results"]} == {"verified"}
    assert service.wait(10) == 0
