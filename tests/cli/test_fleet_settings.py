"""What a batch decides when it is queued, and no host that works on it."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

import psycopg
import pytest

from orchestrator.domain.errors import ExitCode
from orchestrator.simulator import Simulator
from tests.cli.conftest import Batch, Cli
from tests.cli.fleet_journal import postgres, state

__all__ = ["postgres", "state"]

pytestmark = pytest.mark.long

#: What the configuration of two hosts says, the one as different from the other as from what is queued.
HOSTS = {
    "studio-1": {"PART_SIZE": "200KiB", "VERIFY": "etag", "ON_EXPIRED": "fail", "ON_EXISTING": "adopt"},
    # A run would refuse these two together.
    "studio-2": {"PART_SIZE": "8MiB", "VERIFY": "off", "VERIFY_OBJECT": "yes", "SUBMIT_ANYWAY": "yes"},
}


def rows(state: str, query: str) -> list[tuple[Any, ...]]:
    """What the journal has."""
    with psycopg.connect(state) as server:
        return server.execute(query.encode()).fetchall()


def decided(state: str) -> dict[str, Any]:
    """What is kept of the batch."""
    ((text,),) = rows(state, "SELECT settings FROM batches")
    return json.loads(text)  # type: ignore[no-any-return]


@pytest.mark.parametrize("verify", ["etag", "off"])
def test_workers_of_different_configuration_upload_a_batch_alike(
    cli: Cli, batch: Batch, simulator: Simulator, monkeypatch: pytest.MonkeyPatch, verify: str
) -> None:
    """As it was queued: the parts, whether digests are made, and the default where nothing was said."""
    for (host, variables), entry in zip(HOSTS.items(), ("anna", "bo"), strict=True):
        cli("enqueue", batch.manifest, "--entry", entry, "--part-size", "100KiB", "--verify", verify)
        with monkeypatch.context() as patch:
            patch.setattr(socket, "gethostname", lambda host=host: host)
            for name, value in variables.items():
                patch.setenv(f"ORCHESTRATOR_{name}", value)
            worked = cli("work", "--until-done", "--json")

        assert (worked.exit_code, worked.document["done"]) == (ExitCode.OK, 1)
    state = os.environ["ORCHESTRATOR_STATE"]
    parts = rows(
        state,
        "SELECT entry_id, count(*), bool_and(is_verified), bool_or(is_verified) FROM segments"
        " WHERE asset = 'training_video' GROUP BY entry_id ORDER BY entry_id",
    )
    movers = rows(state, "SELECT DISTINCT entry_id, holder FROM transitions ORDER BY entry_id")

    is_verified = verify == "etag"
    assert parts == [("anna", 3, is_verified, is_verified), ("bo", 3, is_verified, is_verified)]
    assert [holder.rpartition(" ")[2] for _, holder in movers] == list(HOSTS)
    assert len(simulator.jobs) == 2
    assert decided(state) == {
        "part_size": 102400,
        "on_change": "ask",
        "on_existing": "ask",
        "on_expired": "recreate",
        "verify": verify,
        "verify_object": False,
        "submit_anyway": False,
    }


@pytest.mark.usefixtures("simulator")
def test_retry_and_submit_keep_what_was_decided_but_for_their_flags(
    cli: Cli, batch: Batch, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever host they are called on; only `enqueue` decides anew."""
    cli("enqueue", batch.manifest, "--part-size", "1MiB", "--on-expired", "fail", "--verify", "off")
    before = decided(state)
    monkeypatch.setenv("ORCHESTRATOR_PART_SIZE", "4MiB")
    monkeypatch.setenv("ORCHESTRATOR_VERIFY", "etag")
    kept = []
    for command in (("retry", "studio", "--entry", "anna"), ("submit", "studio")):
        assert cli(*command).exit_code == ExitCode.OK
        kept.append(decided(state))
    cli("retry", "studio", "--entry", "anna", "--on-expired", "recreate", "--submit-anyway")
    by_flag = decided(state)
    cli("submit", "studio")
    afterwards = decided(state)
    cli("enqueue", batch.manifest)
    anew = decided(state)

    assert kept == [before, before]
    assert by_flag == {**before, "on_expired": "recreate", "submit_anyway": True}
    assert afterwards == {**by_flag, "submit_anyway": False}
    assert anew == {
        **afterwards,
        "part_size": 4 * 1024 * 1024,
        "verify": "etag",
        "on_expired": "recreate",
    }


@pytest.mark.parametrize("flag", ["--verify=off", "--on-expired=fail", "--verify-object", "--submit-anyway"])
def test_a_worker_is_not_asked_what_its_batches_decide(cli: Cli, flag: str) -> None:
    """Nor are the flags among those that it takes without a word."""
    assert cli("work", flag).exit_code == ExitCode.USAGE


@pytest.mark.usefixtures("simulator")
def test_settings_that_cannot_be_read_end_the_worker(cli: Cli, batch: Batch, state: str) -> None:
    """With a sentence, and the entry stays queued."""
    cli("enqueue", batch.manifest)
    with psycopg.connect(state) as server:
        server.execute("""UPDATE batches SET settings = '{"part_size": "?"}'""")
    ended = cli("work")

    assert "error: the journal is damaged: the settings of a batch cannot be read" in ended.stderr
    assert ended.exit_code not in {ExitCode.OK, ExitCode.UNEXPECTED}
    assert rows(state, "SELECT count(*) FROM pgqueuer WHERE status = 'queued'") == [(2,)]
