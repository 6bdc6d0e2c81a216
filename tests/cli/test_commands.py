"""The commands that send nothing: init, schema, validate, plan, status, simulate; and the boundary around all."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from orchestrator import __version__
from orchestrator.cli.work import listings, validate
from orchestrator.manifest.schema import manifest_schema
from orchestrator.simulator import Simulator
from orchestrator.simulator.footage import sample_footage
from tests.cli.conftest import Batch, Cli


@pytest.mark.parametrize("name", ["manifest.yaml", "today.csv"])
def test_init_writes_a_manifest_and_never_over_one(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """YAML or CSV by the name."""
    monkeypatch.chdir(tmp_path)

    first, second, forced = cli("init", name), cli("init", name), cli("init", name, "--force")

    assert (first.exit_code, second.exit_code, forced.exit_code) == (0, 2, 0)
    assert f"orchestrator validate {name}" in first.stdout
    assert "--force" in second.stderr
    assert cli("validate", name).exit_code == 3


def test_schema_prints_the_json_schema(cli: Cli) -> None:
    """For editors."""
    assert json.loads(cli("schema").stdout) == manifest_schema()


def test_validate_tells_every_problem_with_its_place(cli: Cli, batch: Batch) -> None:
    """As the contract has it."""
    (batch.folder / "anna.mp4").unlink()
    (batch.folder / "bo.pdf").unlink()

    result = cli("validate", batch.manifest, "--json")

    assert result.exit_code == 3
    document = result.document
    assert (document["schema"], document["ok"], document["entries"]) == (1, False, 2)
    assert [(problem["entry"], problem["field"]) for problem in document["problems"]] == [
        ("anna", "training_video"),
        ("bo", "grant_file"),
    ]
    assert document["problems"][0].keys() == {
        "file", "line", "column", "entry", "field", "rule", "verdict", "message", "severity"
    }  # fmt: skip


def test_validate_of_a_good_manifest_ends_with_zero(cli: Cli, batch: Batch) -> None:
    """Credentials and network are not needed."""
    result = cli("validate", batch.manifest)

    assert (result.exit_code, result.stdout) == (0, f"{batch.manifest}: 2 entries, no problems\n")


def test_many_problems_are_cut_and_counted(cli: Cli, batch: Batch, simulator: Simulator) -> None:
    """Errors come first; what is said of many entries is said once, with how many and which."""
    del simulator
    without_letter = {**batch.entry("anna"), "grant_file": None, "ignore": ["M08"]}
    entries = [{**without_letter, "id": f"a{place}", "name": f"a{place}"} for place in range(60)]
    missing = [{**batch.entry("bo"), "id": f"b{place}", "cover": f"none{place}.png"} for place in range(60)]
    batch.write(*entries, *missing)

    result = cli("run", batch.manifest)
    checked = cli("validate", batch.manifest)

    lines = result.stderr.splitlines()
    assert result.exit_code == 3
    assert "none0.png" in lines[0]
    assert lines[listings.SHOWN_PROBLEMS].startswith("... and 1")
    (grouped,) = [line for line in checked.stdout.splitlines() if "60 entries" in line]
    assert f"{batch.manifest}:" in grouped
    assert "(a0, a1, ...)" in grouped
    assert checked.stdout.splitlines()[-1].startswith(
        f"{batch.manifest}: 120 entries, 60 errors in 60 of them, "
    )
    assert len(cli("validate", batch.manifest, "--json").document["problems"]) >= 120


def test_plan_tells_what_a_run_would_do_and_makes_no_journal(cli: Cli, batch: Batch, home: Path) -> None:
    """Without credentials, network or state."""
    result = cli("plan", batch.manifest, "--rate", "1k", "--json")

    assert result.exit_code == 0
    document = result.document
    assert document["actions"] == {"create": 2}
    assert document["totals"]["bytes_to_send"] == document["totals"]["bytes"] > 800_000
    assert document["estimated_seconds"] == document["totals"]["bytes"] / 1000
    assert [entry["reason"] for entry in document["entries"]] == ["new", "new"]
    assert not list(home.rglob("*.db"))


def test_plan_warns_of_urls_that_would_expire(cli: Cli, batch: Batch) -> None:
    """They live 24 hours."""
    assert "would die under anna, bo" in cli("plan", batch.manifest, "--rate", "4").stdout
    assert "would die" not in cli("plan", batch.manifest, "--rate", "10M").stdout


@pytest.mark.usefixtures("simulator")
def test_plan_and_dry_run_know_what_is_done(cli: Cli, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where only the journal can tell the project."""
    cli("run", batch.manifest)
    known = yaml.safe_load(batch.manifest.read_text())["avatars"]
    batch.write(*known, batch.entry("carla"))
    for name in ("HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK", "HUAWEICLOUD_SDK_PROJECT_ID"):
        monkeypatch.delenv(name)

    planned = cli("plan", batch.manifest, "--json").document
    dry = cli("run", batch.manifest, "--dry-run")

    assert planned["actions"] == {"skip": 2, "create": 1}
    assert "studio: 3 entries (1 to create, 2 to skip)" in dry.stdout


def test_plan_of_a_wrong_manifest_ends_with_three(cli: Cli, batch: Batch) -> None:
    """As a run would."""
    (batch.folder / "anna.mp4").unlink()

    result = cli("plan", batch.manifest, "--json")

    assert result.exit_code == result.document["exit_code"] == 3


@pytest.mark.usefixtures("simulator")
def test_status_needs_neither_credentials_nor_network(
    cli: Cli, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By name and by digest."""
    cli("run", batch.manifest)
    for name in ("ENDPOINT", "API_RATE"):
        monkeypatch.delenv(f"ORCHESTRATOR_{name}")

    (known,) = cli("status", "--json").document["batches"]
    by_digest = cli("status", known["digest"], "--json").document

    assert (known["batch"], known["entries"]) == ("studio", {"total": 2, "confirmed": 2})
    assert known["last_run"]["exit_code"] == 0
    assert [entry["entry"] for entry in by_digest["results"]] == ["anna", "bo"]
    assert by_digest["results"][0]["bytes"] > 400_000
    assert "2 confirmed" in cli("status", "studio").stdout


def test_status_of_an_unknown_batch_ends_with_two(cli: Cli, home: Path) -> None:
    """And makes no journal either."""
    result = cli("status", "nobody", "--json")

    assert result.exit_code == result.document["exit_code"] == 2
    assert "there is no batch nobody" in result.stderr
    assert cli("status").exit_code == 0
    assert not list(home.rglob("*.db"))


def test_status_of_a_name_on_two_projects_asks_which(cli: Cli, batch: Batch, simulator: Simulator) -> None:
    """By project or by the digest."""
    run = ("run", batch.manifest, "--api-attempts", "1")
    cli(*run)
    cli(*run, "--project-id", "another")

    unclear = cli("status", "studio")
    clear = cli("status", "studio", "--project-id", simulator.options.project_id, "--json")

    assert unclear.exit_code == 2
    assert "there are 2 batches named studio: " in unclear.stderr
    assert clear.document["project_id"] == simulator.options.project_id


def test_simulate_serves_until_it_is_stopped(start_program: Callable[..., subprocess.Popen[str]]) -> None:
    """One line of JSON once it listens; SIGUSR1 does nothing to it, and SIGTERM ends it with 0."""
    process = start_program("simulate", "--json", "--ak", "MINE")
    assert process.stdout is not None

    told = json.loads(process.stdout.readline())
    process.send_signal(signal.SIGUSR1)
    process.send_signal(signal.SIGTERM)

    assert told.keys() == {"endpoint", "ak", "sk", "project_id"}
    assert told["ak"] == "MINE"
    assert process.wait(10) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("--fault", "nope=1"),
        ("--overwrite", "--world", "put-again=refused"),
        ("--speed", "0"),
        ("--store-rate", "x"),
        ("--port", "70000"),
        ("--bucket", "footage"),
        ("--object-store", "http://127.0.0.1:1"),
        ("--object-store", "http://127.0.0.1:1", "--bucket", "footage"),
        (
            "--object-store",
            "127.0.0.1:1",
            "--bucket",
            "b",
            "--object-store-ak",
            "a",
            "--object-store-sk",
            "s",
        ),
    ],
)
def test_simulate_refuses_what_cannot_be(cli: Cli, arguments: tuple[str, ...]) -> None:
    """With the known names where there are some."""
    assert cli("simulate", *arguments).exit_code == 2


@pytest.mark.parametrize(
    ("world", "sentence"),
    [
        ("tags=hidden", "list-tags=shown|hidden, show-tags=shown|hidden"),
        ("etag=md4", "etag must be md5 or opaque or absent, not 'md4'"),
    ],
)
def test_simulate_lists_the_worlds_there_are(cli: Cli, world: str, sentence: str) -> None:
    """Names and values, in one sentence."""
    result = cli("simulate", "--world", world)

    assert result.exit_code == 2
    assert sentence in " ".join(result.stderr.split())


def test_simulate_says_what_an_object_store_needs(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client for it is an extra."""
    monkeypatch.setattr("orchestrator.cli.work.simulate.find_spec", lambda _: None)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "STOREKEY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "store-secret")

    result = cli("simulate", "--object-store", "http://127.0.0.1:1", "--bucket", "footage")

    assert result.exit_code == 4
    assert "hint: `pip install 'metastudio-orchestrator[object-store]'`" in result.stderr


def test_simulate_says_that_its_object_store_is_no_good(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys come from the environment, where other tools have them, and are not told."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "STOREKEY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "store-secret")

    result = cli("simulate", "--object-store", "http://127.0.0.1:1", "--bucket", "footage")

    assert result.exit_code == 4
    assert "the object store at 127.0.0.1:1 cannot be reached" in result.stderr
    assert "check --object-store" in result.stderr
    assert "store-secret" not in result.stderr


def test_simulate_says_that_its_port_is_taken(cli: Cli, simulator: Simulator) -> None:
    """Rather than a traceback."""
    result = cli("simulate", "--port", simulator.endpoint.rpartition(":")[2])

    assert result.exit_code == 4
    assert "the simulator cannot start" in result.stderr


def test_the_demo_runs_and_the_second_time_there_is_nothing_to_do(cli: Cli, tmp_path: Path) -> None:
    """Without anything set up."""
    first = cli("demo", "--avatars", "1", "--dir", tmp_path / "demo")
    second = cli("demo", "--avatars", "1", "--dir", tmp_path / "demo")

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "anna   confirmed" in first.stdout
    assert "demo: nothing to do, all 1 entries are done" in second.stdout
    for result in (first, second):
        assert f"look at it: orchestrator status demo --state {tmp_path}/demo/journal.db" in result.stdout


def test_version_and_help(cli: Cli) -> None:
    """Environment variables are named where the flags are."""
    assert cli("--version").stdout == f"orchestrator {__version__}\n"
    assert "ORCHESTRATOR_JOBS" in cli("run", "--help").stdout


@pytest.mark.parametrize("arguments", [(), ("nope",), ("run",), ("run", "a", "b"), ("run", "a", "--nope")])
def test_wrong_usage_ends_with_two(cli: Cli, arguments: tuple[str, ...]) -> None:
    """One sentence, and where to find more."""
    result = cli(*arguments)

    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr


def test_wrong_usage_with_json_is_a_document_too(cli: Cli) -> None:
    """A script reads it like any other."""
    document = cli("run", "--json").document

    assert (document["schema"], document["exit_code"], document["error"]["kind"]) == (1, 2, "usage")


def test_an_unexpected_error_is_one_sentence_and_the_log_has_the_rest(
    cli: Cli, batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback without -v or a log file, no locals in either, and no secret."""

    def crash(*_arguments: object, **_settings: object) -> None:
        local = "a-local-value"
        raise RuntimeError(f"https://h/o?Signature=abc {local[:0]}")

    monkeypatch.setattr(validate, "check", crash)
    log = tmp_path / "log"

    result = cli("validate", batch.manifest, "--log-file", log, "--json")

    assert result.exit_code == result.document["exit_code"] == 1
    assert "Traceback" not in result.stderr
    assert "RuntimeError" not in result.document["error"]["message"]
    assert "Traceback" in log.read_text()
    assert "RuntimeError" in log.read_text()
    told = result.stdout + result.stderr + log.read_text()
    assert "Signature=abc" not in told
    assert "a-local-value" not in told.replace('local = "a-local-value"', "")


def loaded_by(code: str) -> set[str]:
    """The modules that *code* loads in a process of its own."""
    told = f"import json, sys\n{code}\nsys.stdout.write('\\n' + json.dumps(sorted(sys.modules)))"

    result = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)

    return set(json.loads(result.stdout.splitlines()[-1]))


def test_a_run_loads_only_what_every_run_needs() -> None:
    """What lets the first byte leave soon after the start."""
    loaded = loaded_by("import orchestrator.cli.work.run")

    loggers_and_mappers = {"structlog", "rich", "pymediainfo"}
    servers = {"aiohttp.web", "http.server", "orchestrator.simulator"}
    parsers = {"xml.parsers.expat", "configparser"}
    assert not loaded & (loggers_and_mappers | servers | parsers)


def test_help_needs_none_of_the_heavy_modules() -> None:
    """What makes `orchestrator --help` answer at once."""
    loaded = loaded_by("from orchestrator.cli.main import run_command; run_command(['--help'])")

    assert "orchestrator.cli.help" in loaded
    assert not {name for name in loaded if name.startswith("orchestrator.cli.commands.")}
    assert not loaded & {"aiohttp", "sqlite3", "pydantic", "structlog", "yaml"}


def test_validate_loads_no_journal_where_there_is_nothing_to_ask_it(tmp_path: Path) -> None:
    """Nor an event loop: a small manifest is checked in the time that these take to load."""
    (tmp_path / "film.mp4").write_bytes(sample_footage())
    (tmp_path / "m.csv").write_text("name,training_video\nAnna,film.mp4\n")
    loaded = loaded_by(
        f"from orchestrator.cli.main import run_command; run_command(['validate', '{tmp_path / 'm.csv'}'])"
    )

    assert "orchestrator.api.checking" in loaded
    assert not loaded & {"asyncio", "orchestrator.journal.journal", "orchestrator.journal.records"}


@pytest.mark.parametrize("words", [["status"], ["results", "studio"]], ids=" ".join)
def test_a_look_at_the_journal_loads_nothing_for_the_network(words: list[str]) -> None:
    """So that it starts in the time of two helps."""
    loaded = loaded_by(f"from orchestrator.cli.main import run_command; run_command({words})")

    assert "orchestrator.journal.journal" in loaded
    assert not loaded & {
        "aiohttp",
        "structlog",
        "orchestrator.engine.report",
        "orchestrator.metastudio.client",
    }


@pytest.mark.parametrize("words", [("run", "--help"), ("config", "show", "--help")])
def test_of_the_commands_only_the_one_that_is_called_is_loaded(words: tuple[str, ...]) -> None:
    """The options of the others cost more to take apart than most commands to run."""
    loaded = loaded_by(f"from orchestrator.cli.main import run_command; run_command({list(words)})")

    commands = {name.rpartition(".")[2] for name in loaded if name.startswith("orchestrator.cli.commands.")}
    assert commands == {words[0]}


def test_a_command_ends_without_a_search_for_garbage() -> None:
    """The interpreter's last look through all that was loaded took a sixth of a short command's time."""
    ended = (
        "import atexit, gc, sys; from orchestrator.cli.main import main; sys.argv = ['orchestrator', '--version']\n"
        "atexit.register(lambda: print(len(gc.get_objects())))\n"
        "main()"
    )

    result = subprocess.run([sys.executable, "-c", ended], capture_output=True, text=True, check=True)

    assert int(result.stdout.splitlines()[-1]) < 1000


def test_pydantic_looks_for_no_plugins(tmp_path: Path) -> None:
    """It would read what every installed distribution says of itself, and show plugins what we validate."""
    manifest = tmp_path / "studio.yaml"
    manifest.write_text("avatars: []\n")
    code = (
        "import sys; from importlib import metadata; from orchestrator.cli.main import main\n"
        "metadata.entry_points = lambda **_: sys.exit('looked')\n"
        f"sys.argv = ['orchestrator', 'validate', {str(manifest)!r}]; main()"
    )

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (result.returncode, result.stderr) == (3, "")


@pytest.mark.usefixtures("simulator")
def test_a_missing_file_of_a_done_entry_is_a_warning(cli: Cli, batch: Batch) -> None:
    """As a run has it: the job has the file; of an entry that is not done it is an error."""
    cli("run", batch.manifest)
    (batch.folder / "anna.mp4").unlink()

    result = cli("validate", batch.manifest, "--json")

    assert result.exit_code == 0
    (problem,) = result.document["problems"]
    assert (problem["entry"], problem["severity"]) == ("anna", "warning")
    assert "the entry's job is done" in problem["message"]
    assert cli("run", batch.manifest).exit_code == 0
    assert cli("validate", batch.manifest, "--batch-name", "another").exit_code == 3


@pytest.mark.usefixtures("simulator")
def test_a_cause_that_stops_a_run_is_said_whole_once(
    cli: Cli, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last thing it says; while it stops, a few words."""
    monkeypatch.setenv("HUAWEICLOUD_SDK_SK", "wrong")

    result = cli("run", batch.manifest)

    assert result.exit_code == 4
    assert result.stderr.count("verify aksk signature fail") == 1
    assert "stopping: the service does not accept the credentials" in result.stderr
