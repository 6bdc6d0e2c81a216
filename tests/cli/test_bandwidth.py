"""How a bandwidth limit and a number of uploads are said, and changed while a command runs."""

from __future__ import annotations

import io
import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from orchestrator.cli.output import Output
from orchestrator.cli.session import changeable_bandwidth
from orchestrator.settings.sources import EffectiveSettings, load_settings
from orchestrator.transfer.bandwidth import BandwidthLimit
from tests.cli.conftest import Batch, Cli


def _load(config: Path) -> EffectiveSettings:
    load = partial(load_settings, flags={}, config=config, beside=None)
    return replace(load(), reread=load)


def _write(config: Path, text: str) -> None:
    config.write_text(text)


async def _signal(effective: EffectiveSettings, bandwidth: BandwidthLimit, config: Path, text: str) -> str:
    """Change the file, send SIGUSR1 and return what was told of it."""
    stderr = io.StringIO()
    with changeable_bandwidth(Output(io.StringIO(), stderr), effective, bandwidth):
        _write(config, text)
        os.kill(os.getpid(), signal.SIGUSR1)
        with anyio.fail_after(5):
            while not stderr.getvalue():
                await anyio.lowlevel.checkpoint()
    return stderr.getvalue()


@pytest.mark.parametrize(
    ("text", "bytes_per_second"), [("bwlimit = '5M'", 5_000_000), ("bwlimit = 'off'", None)]
)
async def test_a_running_command_reads_the_limit_again_on_sigusr1(
    tmp_path: Path, text: str, bytes_per_second: int | None
) -> None:
    """Nobody has to stop a night's upload because the day begins."""
    config = tmp_path / "settings.toml"
    config.write_text("bwlimit = '20M'")
    effective = _load(config)
    bandwidth = BandwidthLimit(effective.values.bwlimit)
    before = bandwidth.bytes_per_second

    await _signal(effective, bandwidth, config, text)

    assert (before, bandwidth.bytes_per_second) == (20_000_000, bytes_per_second)


async def test_a_limit_that_is_none_changes_nothing(tmp_path: Path) -> None:
    """The command goes on as it was."""
    config = tmp_path / "settings.toml"
    config.write_text("bwlimit = '20M'")
    effective = _load(config)
    bandwidth = BandwidthLimit(effective.values.bwlimit)

    told = await _signal(effective, bandwidth, config, "bwlimit = 'plenty'")

    assert "warning: the bandwidth limit is unchanged" in told
    assert bandwidth.bytes_per_second == 20_000_000


@pytest.mark.usefixtures("simulator")
def test_a_run_finds_its_own_number_of_uploads_within_a_limit(cli: Cli, batch: Batch) -> None:
    """`-p auto` and `--bwlimit` go together."""
    batch.write(batch.entry("anna"))

    assert cli("run", batch.manifest, "-p", "auto", "--bwlimit", "00:00,50M 12:00,off").exit_code == 0
    shown = cli("config", "show", "--json").document["settings"]
    assert (shown["parallel"]["value"], shown["bwlimit"]["value"]) == (16, "off")


def test_a_limit_that_cannot_be_is_a_usage_error(cli: Cli, batch: Batch) -> None:
    """Exit 2, and what one may write."""
    batch.write(batch.entry("anna"))

    result = cli("run", batch.manifest, "--bwlimit", "25:00,1M")

    assert result.exit_code == 2
    assert "--bwlimit: '25:00,1M' is not a step of a bandwidth timetable" in result.stderr
