"""Words of others, whatever they are, in every command: nothing acts on the terminal, nothing dies, nothing leaks."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.simulator import Simulator, SimulatorOptions
from tests.cli.conftest import SECRETS as OUR_SECRETS
from tests.cli.conftest import Batch, Cli, Result
from tests.cli.rewriting import rewriting
from tests.notifications.conftest import room
from tests.notifications.room import TOKEN, Room

__all__ = ["room"]

#: A colour, C1's own, a bell, directions, line ends, half a character, rich's markup, and what no one should read.
ARMED = (
    "\x1b[31mred\x1b]0;title\x07 \x9b2J\x9d0;t\x9c [bold]b[/bold] \u202eabc\u2066\u200b"
    "\r\n\u2028\u2029\x85forged: line \ud83d\x00"
)
#: An entry's own, which looks like no contact.
CONTACT = "Ann of 9th street"
HOSTILE = (
    f"{ARMED} call 13812345678 or {CONTACT} or ann@studio.example, see https://obs.example/o?Signature=s3cr3t"
)
SECRETS = (CONTACT, "13812345678", "ann@studio", "s3cr3t")
SPOKEN = {"log_description", "error_msg", "excute_failed_msg", "contact"}
NAMED = {"name", "asset_id", "app_user_id"}
#: How the manifest can say it: what cannot be in a file that is text is refused there.
NAME = "[red]Bo\u202e\u2066\u200bx"


def spoken(value: Any, key: str = "") -> Any:
    """*value* with hostile words wherever the service has words."""
    if isinstance(value, dict):
        return {name: spoken(each, name) for name, each in value.items()}
    if isinstance(value, list):
        return [spoken(each, key) for each in value]
    if not isinstance(value, str) or key not in SPOKEN | NAMED:
        return value
    return f"{value} {HOSTILE if key in SPOKEN else ARMED}"


class Speaker:
    """Makes no job for `refused`, confirms and shows none for `unconfirmed`; says all else with hostile words."""

    def __init__(self) -> None:
        self.unconfirmed = ""

    def __call__(
        self, method: str, path: str, sent: Mapping[str, Any], status: int, body: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        if method == "POST" and sent.get("name") == "refused":
            return 400, {"error_code": "MSS.00000003", "error_msg": HOSTILE}
        if method == "POST" and sent.get("name") == "unconfirmed":
            self.unconfirmed = body["job_id"]
        if self.unconfirmed and path.endswith(self.unconfirmed):
            return 400, {"error_code": "MSS.00000003", "error_msg": HOSTILE}
        if self.unconfirmed and path.endswith(f"{self.unconfirmed}/command"):
            return 200, {"commond_result": "EXCUTE_FAILED", "excute_failed_msg": HOSTILE}
        if "jobs" in body:
            stranger = dict.fromkeys(("job_id", "name", "state", "batch_name"), ARMED) | {"tags": [ARMED]}
            body = {"count": body["count"] + 1, "jobs": [*body["jobs"], stranger]}
        return status, spoken(body)


@pytest.fixture
def simulator_options() -> SimulatorOptions:
    """Reviews take no time, and refuse footage by its job's name."""
    return SimulatorOptions(speed=1e9)


@pytest.fixture
def hostile(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment names a service that speaks so."""
    with rewriting(simulator.endpoint, Speaker()) as endpoint:
        monkeypatch.setenv("ORCHESTRATOR_ENDPOINT", endpoint)
        yield


def check(result: Result, *texts: str, but: str = "") -> None:
    """Nothing in the output that a terminal acts on, *but* what is named, and no secret."""
    for text in (result.stdout, result.stderr, *texts):
        live = {
            character
            for character in text
            if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        }
        assert live <= {"\n", "\ufeff", *but}, (live, text)
        assert not [secret for secret in SECRETS if secret in text], text
        assert not re.search(r"^\S*forged: line", text, re.MULTILINE)
    assert "unexpected" not in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("progress", ["plain", "bar"])
def test_no_command_passes_on_what_a_terminal_acts_on(
    cli: Cli, batch: Batch, tmp_path: Path, progress: str
) -> None:
    """Service, reviewers and manifest say what they like, on every way out."""
    log = tmp_path / "run.log"
    batch.head = {"batch_name": NAME}
    batch.write(
        batch.entry("anna", contact=CONTACT) | {"name": "review-fail"},
        batch.entry("bo") | {"name": NAME, "tags": [NAME], "id": NAME},
        batch.entry("cy", contact=CONTACT) | {"name": "refused"},
        batch.entry("di", contact=CONTACT) | {"name": "unconfirmed"},
    )

    checked = cli("validate", batch.manifest)
    planned = cli("plan", batch.manifest, "--json")
    run = cli("run", batch.manifest, "--submit", "-v", "--progress", progress, "--log-file", log)
    watched = cli("watch", NAME, "--interval", "0.01", "-v", "--log-file", log)

    for result in (checked, planned, run, watched):
        check(result, log.read_text(encoding="utf-8"))
    assert (checked.exit_code, planned.exit_code, run.exit_code, watched.exit_code) == (0, 0, 8, 8)
    for line in log.read_text(encoding="utf-8").splitlines():
        json.loads(line)
    for command in (
        ("status",),
        ("status", "--json"),
        ("status", NAME),
        ("status", NAME, "--json"),
        ("status", NAME, "--entry", "anna"),
        ("status", NAME, "--entry", "di"),
        ("status", NAME, "--entry", NAME, "--json"),
        ("results", NAME, "--json"),
        ("results", NAME, "-o", tmp_path / "results.csv"),
        ("run", batch.manifest, "--json"),
        ("retry", NAME),
        ("submit", NAME),
        ("watch", NAME, "--interval", "0.01", "--json"),
        ("clean", "--orphans", "--yes", "--json"),
        ("cancel", NAME, "--entry", "cy", "--yes"),
        ("status", "no" + ARMED.replace("\x00", "")),
    ):
        check(cli(*command))
    # A table is a manifest again, so that it has the manifest's own names as they are.
    for table in (cli("results", NAME).stdout, (tmp_path / "results.csv").read_text(encoding="utf-8")):
        check(watched, table.replace(f",{CONTACT},", ",,"), but=NAME)


@pytest.mark.usefixtures("hostile")
@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # of apprise
def test_nothing_that_is_written_or_sent_about_a_run_holds_a_secret(
    cli: Cli, batch: Batch, tmp_path: Path, room: Room
) -> None:
    """Events, metrics, log, the document for a command, messages to people and the page, with all sinks on."""
    batch.head = {"batch_name": NAME}
    batch.write(
        batch.entry("anna", contact=CONTACT) | {"name": "review-fail"},
        batch.entry("cy", contact=CONTACT) | {"name": "refused"},
        batch.entry("di", contact=CONTACT) | {"name": "unconfirmed"},
    )
    events, metrics, log, document, page = (
        tmp_path / name for name in ("events.jsonl", "run.prom", "run.log", "document.json", "page.html")
    )
    sinks = ("--events", events, "--metrics-file", metrics, "--log-file", log, "-v", "--notify", room.address)

    run = cli("run", batch.manifest, "--submit", *sinks, "--on-finish", f"cat > {document}")
    watched = cli("watch", NAME, "--interval", "0.01")
    # The review has failed by now, and a run tells of that.
    again = cli("run", batch.manifest, "--submit", *sinks)
    shown = cli("report", NAME, "-o", page)

    assert (run.exit_code, watched.exit_code, again.exit_code, shown.exit_code) == (8, 8, 8, 0)
    written = {path.name: path.read_text(encoding="utf-8") for path in (events, metrics, log, document, page)}
    posted = json.dumps(room.posts, ensure_ascii=False)
    assert all(written.values())
    assert "refused" in posted
    for text in (*written.values(), posted):
        told = [secret for secret in (*SECRETS, *OUR_SECRETS, TOKEN) if secret in text]
        assert not told, (told, [line[:600] for line in text.splitlines() if told[0] in line][:4])
    # The metrics' label is the batch's own name, as the manifest has it.
    check(run, *(text for name, text in written.items() if name != "page.html"), posted, but=NAME)


@pytest.mark.usefixtures("hostile")
def test_the_reviewers_words_are_kept_and_their_contacts_are_not(cli: Cli, batch: Batch) -> None:
    """Half a character ends no `watch`, and what was readable stays readable."""
    batch.write(batch.entry("anna", contact=CONTACT) | {"name": "review-fail"}, batch.entry("bo"))
    cli("run", batch.manifest, "--submit")

    result = cli("watch", "studio", "--interval", "0.01", "--json")

    assert result.exit_code == 8
    anna, bo = result.document["entries"]
    assert (anna["state"], bo["state"]) == ("review_failed", "trained")
    assert anna["review_reason"].startswith("The resolution of the training video is not allowed.")
    assert (
        "forged: line \ufffd\ufffd call *** or *** or ***, see https://obs.example/o?***"
        in anna["review_reason"]
    )
    check(result)


@pytest.mark.usefixtures("simulator")
def test_paths_that_are_not_utf8_are_shown_escaped_and_end_nothing(
    cli: Cli, batch: Batch, tmp_path: Path
) -> None:
    """As arguments, where Python carries their bytes as halves of characters."""
    odd = tmp_path / "stra\udcdfe"
    odd.mkdir()
    manifest = odd / "b\udce4tch.yaml"
    manifest.write_bytes(batch.manifest.read_bytes())
    cli("run", batch.manifest)

    refused = cli("run", manifest, "--json")
    written = cli("results", "studio", "-o", odd / "r\udcff.csv", "--json")

    assert refused.exit_code == 3
    assert "the path of the manifest has bytes that are not UTF-8" in refused.stderr
    assert "stra\\xdfe" in refused.stderr
    assert refused.document["problems"]
    assert (written.exit_code, written.document["file"]) == (0, f"{tmp_path}/stra\\xdfe/r\\xff.csv")
    for command in (
        ("validate", manifest),
        ("plan", manifest),
        ("status", "b\udcff"),
        ("status", "studio", "--entry", "b\udcff"),
        ("run", batch.manifest, "--entry", "b\udcff"),
        ("run", batch.manifest, "--batch-name", "b\udcff"),
        ("run", batch.manifest, "--log-file", odd / "l\udcff.log"),
        ("run", batch.manifest, "--state", odd / "s\udcff.db"),
        ("retry", "studio", "--entry", "b\udcff"),
        ("cancel", "studio", "--entry", "b\udcff", "--yes"),
        ("config", "show", "--config", odd / "c\udcff.toml"),
        ("init", odd / "i\udcff.yaml"),
    ):
        result = cli(*command)
        check(result)
        assert result.exit_code in {0, 2, 3, 4, 8, 9}, (command, result)
