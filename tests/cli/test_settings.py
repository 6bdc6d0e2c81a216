"""Where settings come from, and what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.settings.options import ALL_OPTIONS
from orchestrator.settings.sources import EffectiveSettings, load_settings, unknown_time_zone
from orchestrator.settings.values import Settings
from tests.cli.conftest import Batch, Cli


def shown(cli: Cli, *arguments: object) -> dict[str, tuple[object, str]]:
    """What `config show` says of each setting."""
    settings = cli("config", "show", *arguments, "--json").document["settings"]
    return {name: (told["value"], told["source"]) for name, told in settings.items()}


def test_every_setting_is_an_option_and_every_option_a_setting() -> None:
    """The two lists are kept apart so that --help is quick."""
    assert {option.name for option in ALL_OPTIONS} == set(Settings.model_fields)


def test_the_nearer_place_decides(
    cli: Cli, batch: Batch, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flag, environment, --config, beside the manifest, user's file, default."""
    user = home / ".config/metastudio-orchestrator/config.toml"
    user.parent.mkdir(parents=True)
    user.write_text("jobs = 1\nparallel = 1\ngrace = 1\nidle-timeout = 1\napi_attempts = 1\n")
    beside = batch.folder / "orchestrator.toml"
    beside.write_text("jobs = 2\nparallel = 2\ngrace = 2\nidle-timeout = 2\n")
    config = home / "mine.toml"
    config.write_text("jobs = 3\nparallel = 3\ngrace = 3\n")
    monkeypatch.setenv("ORCHESTRATOR_JOBS", "4")
    monkeypatch.setenv("ORCHESTRATOR_PARALLEL", "4")

    settings = shown(cli, batch.manifest, "--config", config, "-j", "5")

    assert settings["jobs"] == (5, "--jobs")
    assert settings["parallel"] == (4, "environment ORCHESTRATOR_PARALLEL")
    assert settings["grace"] == (3, str(config))
    assert settings["idle_timeout"] == (2, str(beside))
    assert settings["api_attempts"] == (1, str(user))
    assert settings["verify"] == ("etag", "default")


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [("MEDIA_CHECK", "off", False), ("NO_MEDIA_CHECK", "1", False), ("NO_MEDIA_CHECK", "no", True)],
)
def test_a_switch_is_set_by_its_name_or_its_opposite(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, variable: str, text: str, expected: bool
) -> None:
    """Whoever knows only the flag --no-media-check guesses right."""
    monkeypatch.setenv(f"ORCHESTRATOR_{variable}", text)

    assert shown(cli)["media_check"] == (expected, f"environment ORCHESTRATOR_{variable}")


@pytest.mark.parametrize(
    ("flag", "value", "complaint"),
    [
        ("-j", "0", "--jobs: must be greater than or equal to 1"),
        ("-p", "257", "--parallel: must be less than or equal to 256"),
        ("--part-size", "huge", "--part-size: 'huge' is not a size; write for example 16MiB"),
        ("--part-size", "1k", "--part-size: must be greater than or equal to 102400"),
        ("--api-rate", "fast", "--api-rate: 'fast' is not a call rate; write WRITES:READS"),
        ("--verify", "md5", "--verify: must be 'etag' or 'off'"),
        ("--idle-timeout", "nan", "--idle-timeout: must be"),
        (
            "--default",
            "contact",
            "--default takes field=value\nhint: for example --default contact=ops@example.com",
        ),
    ],
)
def test_a_wrong_flag_is_named_and_ends_with_two(
    cli: Cli, batch: Batch, flag: str, value: str, complaint: str
) -> None:
    """Before the manifest is even opened."""
    result = cli("run", batch.manifest, flag, value, "--json")

    assert result.exit_code == result.document["exit_code"] == 2
    assert f"error: {complaint}" in result.stderr
    assert result.document["error"]["kind"] == "usage"


def test_a_wrong_variable_is_named_and_ends_with_four(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that one looks in the right place."""
    monkeypatch.setenv("ORCHESTRATOR_JOBS", "many")

    result = cli("status")

    assert result.exit_code == 4
    assert "error: jobs (from environment ORCHESTRATOR_JOBS): must be a valid integer" in result.stderr


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("job = 3", "there is no setting 'job'; did you mean jobs?"),
        ("jobs = ", "is not a TOML file: "),
        ("jobs = 'x'", "must be a valid integer"),
        ("\xff", "is not a TOML file: it is not UTF-8"),
    ],
)
def test_a_wrong_file_is_named_and_ends_with_four(cli: Cli, batch: Batch, text: str, complaint: str) -> None:
    """With the nearest name where there is one."""
    path = batch.folder / "orchestrator.toml"
    path.write_bytes(text.encode("latin-1"))

    result = cli("config", "show", batch.manifest)

    assert result.exit_code == 4
    assert str(path) in result.stderr
    assert complaint in result.stderr


def test_a_configuration_file_that_is_named_must_be_there(cli: Cli) -> None:
    """Unlike those that are only looked for."""
    assert cli("status", "--config", "none.toml").exit_code == 4


def test_paths_in_a_file_start_from_its_folder(cli: Cli, batch: Batch) -> None:
    """Wherever the command is called."""
    (batch.folder / "orchestrator.toml").write_text("state = 'state/j.db'\n")

    assert shown(cli, batch.manifest)["state"][0] == str(batch.folder / "state/j.db")


@pytest.mark.parametrize(
    ("environment", "flags", "expected"),
    [
        ({}, {"region": "cn-north-4"}, "https://metastudio.cn-north-4.myhuaweicloud.com"),
        ({"REGION": "cn-east-3"}, {"endpoint": "https://e"}, "https://e"),
        (
            {"ENDPOINT": "https://e"},
            {"region": "cn-north-4"},
            "https://metastudio.cn-north-4.myhuaweicloud.com",
        ),
        ({}, {"endpoint": "https://e", "region": "cn-north-4"}, "https://e"),
        ({}, {}, None),
    ],
)
def test_an_endpoint_goes_before_a_region_of_the_same_place(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    flags: dict[str, str],
    expected: str | None,
) -> None:
    """And a flag before either in the environment."""
    for name, value in environment.items():
        monkeypatch.setenv(f"ORCHESTRATOR_{name}", value)

    effective: EffectiveSettings = load_settings(flags=flags, config=None, beside=None)

    assert effective.endpoint == expected


def test_credentials_are_told_as_set_and_never_shown(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for people nor in the document."""
    monkeypatch.setenv("HUAWEICLOUD_SDK_AK", "AKAKAKAKAKAK")
    monkeypatch.setenv("HUAWEICLOUD_SDK_SK", "SKSKSKSKSKSK")

    people, document = cli("config", "show"), cli("config", "show", "--json")

    assert "credentials: set (from HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK)" in people.stdout
    assert document.document["credentials"] == {
        "is_set": True,
        "source": "HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK",
    }
    assert "KAKA" not in people.stdout + document.stdout
    assert "KSKS" not in people.stdout + document.stdout


def test_a_variable_that_is_no_setting_is_warned_of(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A typo would else be silent."""
    monkeypatch.setenv("ORCHESTRATOR_PARALEL", "8")

    assert (
        "ORCHESTRATOR_PARALEL is not a setting; did you mean ORCHESTRATOR_PARALLEL?"
        in cli("config", "show").stderr
    )


def test_whose_tls_connections_are_used_is_shown(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """For people and as JSON; another value is exit 4, and the variable is no misspelt setting."""
    usual = cli("config", "show")
    monkeypatch.setenv("ORCHESTRATOR_TLS", "asyncio")
    people, document = cli("config", "show"), cli("config", "show", "--json")
    monkeypatch.setenv("ORCHESTRATOR_TLS", "none")
    wrong = cli("config", "show")

    assert "TLS connections: own" in usual.stdout
    assert "TLS connections: asyncio" in people.stdout
    assert document.document["tls"] == "asyncio"
    assert "is no setting" not in people.stderr
    assert wrong.exit_code == 4
    assert "neither own nor asyncio" in wrong.stderr


def test_config_show_says_where_the_project_comes_from(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The vendor's variable sets it as well; ours goes before it."""
    for name in ("AK", "SK", "PROJECT_ID"):
        monkeypatch.setenv(f"HUAWEICLOUD_SDK_{name}", f"vendors-{name.lower()}")

    assert shown(cli)["project_id"] == ("vendors-project_id", "environment HUAWEICLOUD_SDK_PROJECT_ID")
    monkeypatch.setenv("ORCHESTRATOR_PROJECT_ID", "ours")
    assert shown(cli)["project_id"] == ("ours", "environment ORCHESTRATOR_PROJECT_ID")


def test_config_show_writes_sizes_as_a_person_would(cli: Cli) -> None:
    """The document has bytes."""
    rows = {line.split()[0]: line.split()[1] for line in cli("config", "show").stdout.splitlines()}

    assert (rows["part_size"], rows["log_max_size"]) == ("32MiB", "100M")
    assert shown(cli)["part_size"][0] == 32 * 1024**2


@pytest.mark.usefixtures("simulator")
def test_a_run_warns_of_a_variable_that_sets_nothing(
    cli: Cli, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A typing mistake is seen where it matters, and stops nothing."""
    monkeypatch.setenv("ORCHESTRATOR_JOB", "3")

    result = cli("run", batch.manifest)

    assert result.exit_code == 0
    assert "ORCHESTRATOR_JOB is not a setting; did you mean ORCHESTRATOR_JOBS?" in result.stderr


@pytest.mark.parametrize(
    ("zone", "is_known"),
    [
        ("Europe/Nowhere", False),
        ("Shanghai", False),
        ("Asia/Shanghai", True),
        ("CST-8", True),
        ("<+08>-8", True),
        ("UTC", True),
        ("", True),
    ],
)
def test_a_time_zone_without_data_is_said(zone: str, is_known: bool) -> None:
    """The machine would take UTC without a word."""
    assert (unknown_time_zone({"TZ": zone}) == []) is is_known


def test_a_log_file_in_a_folder_that_is_not_there_makes_none(cli: Cli, batch: Batch, tmp_path: Path) -> None:
    """It is more likely a typing mistake; nothing is sent."""
    log = tmp_path / "no" / "such" / "run.log"

    result = cli("run", batch.manifest, "--region", "cn-north-4", "--log-file", log)

    assert result.exit_code == 4
    assert str(log) in result.stderr
    assert not (tmp_path / "no").exists()
