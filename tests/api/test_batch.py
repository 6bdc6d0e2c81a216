"""A batch from a program: the same as by the command line, in any loop and thread, and silent."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

import orchestrator
from orchestrator.api.batch import SettingKeywords
from orchestrator.engine.events import RunFinished, RunStarted, SegmentProgressed, SegmentStored
from orchestrator.settings.values import Settings
from orchestrator.simulator import Simulator, SimulatorOptions
from tests.cli.conftest import Batch, Cli, ThreadedSimulator

#: What two runs of the same batch cannot share: ids that the service or the run makes, times, URLs, measured rates.
UNLIKE = re.compile(
    r"(_at|^at|_id|seconds|etag|url|tag|made_at|pid|host|endpoint|digest|^batch|manifest_path|goodput|timeline|spans)$"
)


def rows_of(state: Path) -> dict[str, list[dict[str, Any]]]:
    """Every row of the journal at *state*, by table, without what two runs cannot share."""
    with closing(sqlite3.connect(state)) as database:
        database.row_factory = sqlite3.Row
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {table: _rows(database, table) for table in tables}


def _rows(database: sqlite3.Connection, table: str) -> list[dict[str, Any]]:
    found = [dict(row) for row in database.execute(f"SELECT * FROM {table}")]
    return sorted(({name: row[name] for name in row if not UNLIKE.search(name)} for row in found), key=str)


def without_ids(document: dict[str, Any]) -> dict[str, Any]:
    """The document of a run without its own ids and times."""
    kept = {name: value for name, value in document.items() if name not in {"run_id", "elapsed_seconds"}}
    results = [
        {**result, "job_id": "...", "error": result["error"] and {**result["error"], "request_id": "..."}}
        for result in document["results"]
    ]
    return {**kept, "results": results}


async def run(manifest: Path, **settings: Any) -> orchestrator.RunReport:
    """Run the batch of *manifest* once."""
    async with orchestrator.open_batch(manifest, **settings) as batch:
        return await batch.run()


@pytest.fixture
def other_endpoint(tmp_path: Path, simulator_options: SimulatorOptions) -> Iterator[str]:
    """A second service, which has never met the batch."""
    running = ThreadedSimulator(simulator_options, tmp_path / "other")
    yield running.simulator.endpoint
    running.stop()


@pytest.mark.parametrize("simulator_options", [SimulatorOptions(min_part_bytes=300_000)])
@pytest.mark.usefixtures("simulator")
def test_a_batch_run_by_program_and_by_command_is_the_same(
    cli: Cli, batch: Batch, tmp_path: Path, other_endpoint: str
) -> None:
    """The journals have the same rows, but for ids and times, and the documents say the same.

    One avatar fails, as the service refuses its parts at the end.
    """
    batch.write(batch.entry("anna", video_multipart_count=2), batch.entry("bo"))
    first, second = tmp_path / "first.db", tmp_path / "second.db"

    report = asyncio.run(run(batch.manifest, state=first, part_size="100KiB", jobs=1))
    flags = ("--part-size", "100KiB", "--jobs", "1", "--endpoint", other_endpoint)
    result = cli("run", batch.manifest, "--state", second, *flags, "--json")

    assert result.exit_code == report.exit_code == orchestrator.ExitCode.SOME_FAILED
    assert without_ids(report.as_dict()) == without_ids(result.document)
    assert rows_of(first) == rows_of(second)
    assert rows_of(first)["segments"]


@pytest.mark.usefixtures("simulator")
def test_a_refused_manifest_is_refused_in_the_words_of_the_command(cli: Cli, batch: Batch) -> None:
    """With its kind, its message and its hint; the problems can be looked at."""
    batch.write(batch.entry("anna"), {**batch.entry("bo"), "training_video": "gone.mp4"})

    async def refused() -> tuple[dict[str, str | None], list[orchestrator.Problem]]:
        async with orchestrator.open_batch(batch.manifest) as opened:
            with pytest.raises(orchestrator.ManifestError) as error:
                await opened.run()
            return error.value.document, opened.problems

    document, problems = asyncio.run(refused())

    assert document == cli("run", batch.manifest, "--json").document["error"]
    assert [(problem.entry, problem.field) for problem in problems] == [("bo", "training_video")]


def test_there_is_a_keyword_for_every_setting_and_no_other() -> None:
    """A setting that is added has its keyword."""
    assert set(SettingKeywords.__annotations__) == set(Settings.model_fields)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"jobs": 0}, "jobs: must be greater than or equal to 1"),
        ({"verify": "perhaps"}, "verify: must be 'etag' or 'off'"),
        ({"job": 3}, "there is no setting 'job'; did you mean jobs?"),
        ({"max_outage": "soon"}, "max_outage: "),
    ],
)
async def test_a_wrong_keyword_is_a_usage_error_in_the_words_of_the_command(
    batch: Batch, keywords: dict[str, Any], message: str
) -> None:
    """Before anything is read."""
    with pytest.raises(orchestrator.UsageError, match=re.escape(message)):
        async with orchestrator.open_batch(batch.manifest, **keywords):
            pass


async def test_what_is_not_given_comes_from_where_the_command_takes_it(
    batch: Batch, simulator: Simulator, tmp_path: Path
) -> None:
    """A keyword overrides the file beside the manifest, which a wrong value of is a matter of configuration."""
    (batch.folder / "orchestrator.toml").write_text("jobs = 0\n", encoding="utf-8")

    with pytest.raises(orchestrator.ConfigurationError, match=r"jobs \(from .*orchestrator.toml\)"):
        await run(batch.manifest, state=tmp_path / "journal.db")
    assert (await run(batch.manifest, state=tmp_path / "journal.db", jobs=2)).exit_code == 0


def test_problems_are_those_of_the_command(cli: Cli, batch: Batch) -> None:
    """All at once, with place and rule; nothing raises."""
    (batch.folder / "bo.mp4").unlink()
    batch.write(batch.entry("anna"), {**batch.entry("bo"), "training_video": "gone.mp4"}, {"name": ""})
    expected = cli("validate", batch.manifest, "--json")

    async def validate() -> None:
        async with orchestrator.open_batch(batch.manifest) as opened:
            problems = await opened.validate()
            assert [problem.as_dict() for problem in problems] == expected.document["problems"]
            assert opened.problems == problems

    asyncio.run(validate())
    assert expected.document["problems"]


async def test_a_plan_says_what_a_run_does_and_makes_no_journal(
    batch: Batch, simulator: Simulator, tmp_path: Path
) -> None:
    """Before the run everything is created, after it nothing."""
    state = tmp_path / "journal.db"
    async with orchestrator.open_batch(batch.manifest, state=state) as opened:
        before = await opened.plan(rate=1_000_000)
        assert not state.exists()
        assert await opened.status() is None
        await opened.run()
        after = await opened.plan()

    assert [entry.action for entry in before.entries] == ["create", "create"]
    assert before.seconds == pytest.approx(0.8, abs=0.1)
    assert [entry.action for entry in after.entries] == ["skip", "skip"]


async def test_a_manifest_that_a_run_would_refuse_is_refused_by_the_plan(batch: Batch) -> None:
    """And its problems can be looked at."""
    batch.write({"name": "anna"})

    async with orchestrator.open_batch(batch.manifest) as opened:
        with pytest.raises(orchestrator.ManifestError, match="a run would refuse it"):
            await opened.plan()

    assert [problem.field for problem in opened.problems if problem.is_error] == ["training_video"]


def test_status_is_the_document_of_the_command(
    cli: Cli, batch: Batch, simulator: Simulator, tmp_path: Path
) -> None:
    """Entry by entry."""
    state = tmp_path / "journal.db"

    async def run_and_ask() -> orchestrator.BatchStatus | None:
        async with orchestrator.open_batch(batch.manifest, state=state) as opened:
            await opened.run()
            return await opened.status()

    status = asyncio.run(run_and_ask())
    expected = cli("status", "studio", "--state", state, "--json")

    assert status is not None
    assert status.as_dict() == expected.document
    assert status.holder is None


async def test_events_end_with_the_run(batch: Batch, simulator: Simulator, tmp_path: Path) -> None:
    """From the start of the run to its end; bytes on their way only where they are wanted."""
    async with (
        orchestrator.open_batch(batch.manifest, state=tmp_path / "journal.db") as opened,
        anyio.create_task_group() as group,
    ):
        plain, detailed = opened.events(), opened.events(with_progress=True)
        group.start_soon(opened.run)
        events = [event async for event in plain]
        every = [event async for event in detailed]

    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunFinished)
    assert sum(isinstance(event, SegmentStored) for event in events) == 8
    assert not any(isinstance(event, SegmentProgressed) for event in events)
    assert any(isinstance(event, SegmentProgressed) for event in every)


async def test_events_asked_for_after_the_run_are_none(
    batch: Batch, simulator: Simulator, tmp_path: Path
) -> None:
    """A reader that came late does not wait for ever; with the next run there are some again."""
    async with orchestrator.open_batch(batch.manifest, state=tmp_path / "journal.db") as opened:
        await opened.run()
        assert [event async for event in opened.events()] == []


async def test_a_reader_that_is_too_slow_misses_the_oldest(
    batch: Batch, simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory does not grow with the run, and the reader can see how many it missed."""
    monkeypatch.setattr("orchestrator.api.batch.KEPT_EVENTS", 3)
    async with orchestrator.open_batch(batch.manifest, state=tmp_path / "journal.db") as opened:
        stream = opened.events()
        await opened.run()
        events = [event async for event in stream]

    assert len(events) == 3
    assert isinstance(events[-1], RunFinished)
    assert stream.missed > 10


def test_it_prints_nothing_and_touches_neither_signals_nor_loggers(
    batch: Batch, simulator: Simulator, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever the settings say of progress and logs of the command."""
    before = [signal.getsignal(number) for number in signal.valid_signals()], logging.getLogger().handlers[:]
    during = []

    async def watched() -> None:
        async with (
            orchestrator.open_batch(
                batch.manifest, state=tmp_path / "journal.db", verbose=True, progress="plain"
            ) as opened,
            anyio.create_task_group() as group,
        ):
            stream = opened.events()
            group.start_soon(opened.run)
            during.extend([signal.getsignal(signal.SIGTERM) async for _ in stream])

    asyncio.run(watched())

    after = [signal.getsignal(number) for number in signal.valid_signals()], logging.getLogger().handlers[:]
    assert capfd.readouterr() == ("", "")
    assert after == before
    assert set(during) == {signal.SIG_DFL}


def test_it_works_in_a_thread(batch: Batch, simulator: Simulator, tmp_path: Path) -> None:
    """Where no signal can be listened to."""
    reports: list[orchestrator.RunReport] = []
    thread = threading.Thread(
        target=lambda: reports.append(asyncio.run(run(batch.manifest, state=tmp_path / "journal.db")))
    )

    thread.start()
    thread.join()

    assert [report.exit_code for report in reports] == [0]


@pytest.mark.parametrize("times", [1, 2])
def test_a_program_can_stop_its_run_from_another_thread(
    batch: Batch, simulator: Simulator, tmp_path: Path, times: int
) -> None:
    """As Ctrl-C does: state is saved, and the next run does the rest."""
    batch.write(*(batch.entry(f"avatar{number}") for number in range(6)))
    state = tmp_path / "journal.db"

    async def stopped() -> tuple[orchestrator.RunReport, orchestrator.RunReport]:
        async with orchestrator.open_batch(batch.manifest, state=state, jobs=1) as opened:
            stream = opened.events()
            async with asyncio.TaskGroup() as group:
                running = group.create_task(opened.run())
                async for event in stream:
                    if isinstance(event, SegmentStored):
                        for _ in range(times):
                            threading.Thread(target=opened.stop).start()
                        break
        return running.result(), await run(batch.manifest, state=state)

    first, second = asyncio.run(stopped())

    assert first.exit_code == orchestrator.ExitCode.INTERRUPTED
    assert first.entries.pending > 0
    assert second.exit_code == 0
    assert second.entries.done == 6


def test_a_cancelled_run_is_interrupted_in_the_history(
    cli: Cli, batch: Batch, simulator: Simulator, tmp_path: Path
) -> None:
    """Not killed, and the next run continues."""
    state = tmp_path / "journal.db"

    async def cancelled() -> None:
        async with orchestrator.open_batch(batch.manifest, state=state) as opened:
            stream = opened.events()
            running = asyncio.create_task(opened.run())
            await anext(stream)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

    asyncio.run(cancelled())
    shown = cli("status", "studio", "--runs", "--state", state, "--json")

    assert [found["exit_code"] for found in shown.document["runs"]] == [orchestrator.ExitCode.INTERRUPTED]
    assert asyncio.run(run(batch.manifest, state=state)).exit_code == 0


async def test_a_second_run_beside_the_first_is_refused(
    batch: Batch, simulator: Simulator, tmp_path: Path
) -> None:
    """Also within one program."""
    async with orchestrator.open_batch(batch.manifest, state=tmp_path / "journal.db") as opened:
        stream = opened.events()
        running = asyncio.create_task(opened.run())
        await anext(stream)
        with pytest.raises(orchestrator.LockHeldError):
            await run(batch.manifest, state=tmp_path / "journal.db")
        assert (await running).exit_code == 0


async def test_credentials_come_from_the_environment_that_is_given(
    batch: Batch, simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And from nowhere else: a program may have other users' in its own."""
    environ = simulator_environment(simulator)
    monkeypatch.delenv("HUAWEICLOUD_SDK_AK")
    monkeypatch.delenv("ORCHESTRATOR_ENDPOINT")

    report = await run(batch.manifest, state=tmp_path / "journal.db", environ=environ)

    assert report.exit_code == 0


def simulator_environment(simulator: Simulator) -> dict[str, str]:
    """What names the simulator."""
    return {
        "ORCHESTRATOR_ENDPOINT": simulator.endpoint,
        "HUAWEICLOUD_SDK_AK": simulator.options.ak,
        "HUAWEICLOUD_SDK_SK": simulator.options.sk,
        "HUAWEICLOUD_SDK_PROJECT_ID": simulator.options.project_id,
    }
