"""Every way out that the program shows, from the state in which it shows it.

A new text that names a command or a flag belongs here: as a `Way` that brings its state about, sees the text and
follows it; in `PROVED_ELSEWHERE` with the test that does so; or in `NO_ADVICE`, where it only repeats what was given.
Texts are known by their file and by what they name, so that their other words are free.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.simulator import Simulator, SimulatorOptions, World
from orchestrator.simulator.footage import write_footage
from tests.cli.conftest import Batch, Cli, Result

REVIEWED = SimulatorOptions(speed=1e9)
ONE_URL = SimulatorOptions(cap_urls=1)
DEAD_ENDPOINT = "http://127.0.0.1:9"
#: A command list is cut for people after this many entries.
MANY = 41


@dataclass
class Stage:
    """A batch, a service, and the program; `commands` are those called so far."""

    call: Cli
    batch: Batch
    simulator: Simulator
    folder: Path
    monkeypatch: Any
    commands: list[list[str]] = field(default_factory=list)

    def cli(self, *words: object) -> Result:
        """Call the program."""
        self.commands.append([str(word) for word in words])
        return self.call(*words)

    def run(self, *words: object) -> Result:
        """Run the batch's manifest."""
        return self.cli("run", self.batch.manifest, *words)

    def many(self, **fields: Any) -> None:
        """More avatars than a table shows, all of one film."""
        one = self.batch.entry("film", size=300_000, **fields)
        self.batch.write(*({**one, "id": f"a{number:02}", "name": f"A {number}"} for number in range(MANY)))

    def second(self, *names: str, **fields: Any) -> Path:
        """Another manifest of the same batch name in another folder."""
        folder = self.folder / "second"
        folder.mkdir(exist_ok=True)
        other = Batch(folder)
        other.write(*(other.entry(name, size=450_000, **fields) for name in names))
        return other.manifest

    def refused_review(self) -> None:
        """Anna's review has failed, and bo's is through."""
        self.batch.write(self.batch.entry("anna") | {"name": "review-fail"}, self.batch.entry("bo"))
        self.run("--submit")
        self.cli("watch", "studio", "--interval", "0.01")

    def replace_film(self, name: str = "anna", size: int = 500_000) -> None:
        """Put other footage in the place of an entry's film."""
        write_footage(self.batch.folder / f"{name}.mp4", size=size, seed=77)

    def journal(self, statement: str) -> None:
        """Do to the journal what only a disk, or time, can do."""
        (path,) = self.folder.rglob("journal.db")
        connection = sqlite3.connect(path)
        connection.execute(statement)
        connection.commit()
        connection.close()


@dataclass(frozen=True)
class Way:
    """*show* ends with the command that prints the text; *follow* does what it says, the last command leads on."""

    place: str
    mentions: tuple[str, ...]
    show: Callable[[Stage], Result]
    follow: Callable[[Stage], Result]
    options: SimulatorOptions = field(default_factory=SimulatorOptions)
    #: The part of `mentions` that this way takes, where others for the same text take the rest; () means all.
    takes: tuple[str, ...] = ()
    #: How many texts name this here: a message and its hint may name the same.
    texts: int = 1

    @property
    def key(self) -> tuple[str, tuple[str, ...]]:
        """What it proves."""
        return self.place, self.mentions


def first(*steps: Callable[[Stage], Any]) -> Callable[[Stage], Result]:
    """Take the steps one after the other; the last is the answer."""

    def take(stage: Stage) -> Result:
        *before, last = (step(stage) for step in steps)
        del before
        return last  # type: ignore[no-any-return]

    return take


def cli(*words: object) -> Callable[[Stage], Result]:
    """Call the program with *words*; `{manifest}` and `{folder}` are filled in."""

    def call(stage: Stage) -> Result:
        values = {
            "manifest": stage.batch.manifest,
            "folder": stage.folder,
            "endpoint": stage.simulator.endpoint,
        }
        return stage.cli(*(str(word).format(**values) for word in words))

    return call


def run(*words: object) -> Callable[[Stage], Result]:
    """Run the batch."""
    return cli("run", "{manifest}", *words)


def wrong_manifest(stage: Stage) -> None:
    """A film is missing."""
    (stage.batch.folder / "anna.mp4").rename(stage.folder / "away.mp4")


def right_manifest(stage: Stage) -> None:
    """It is there again."""
    (stage.folder / "away.mp4").rename(stage.batch.folder / "anna.mp4")


def moved_manifest(stage: Stage) -> None:
    """The manifest is no longer where the run read it."""
    stage.batch.manifest.rename(stage.folder / "moved.yaml")
    for path in stage.batch.folder.iterdir():
        shutil.copy2(path, stage.folder / path.name)


def years_of_runs(stage: Stage) -> None:
    """More runs than a table shows."""
    columns = "batch, started_at, ended_at, exit_code, entries, version, host, pid"
    numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30)"
    stage.journal(
        f"{numbers} INSERT INTO runs (run_id, {columns}) SELECT run_id || '-' || i, {columns} FROM runs, n"
    )


def keep_film(stage: Stage) -> None:
    """Keep a copy, to put it back."""
    shutil.copy2(stage.batch.folder / "anna.mp4", stage.folder / "kept.mp4")


def put_film_back(stage: Stage) -> None:
    """As the message advises."""
    shutil.copy2(stage.folder / "kept.mp4", stage.batch.folder / "anna.mp4")


def without_endpoint(stage: Stage) -> None:
    """Nothing names the service."""
    stage.monkeypatch.delenv("ORCHESTRATOR_ENDPOINT")


def on_two_endpoints(stage: Stage) -> None:
    """The journal has the batch twice."""
    stage.run()
    stage.run("--endpoint", stage.simulator.endpoint.replace("127.0.0.1", "localhost"))
    without_endpoint(stage)


def without_project(stage: Stage) -> None:
    """Only the keys are set."""
    stage.monkeypatch.delenv("HUAWEICLOUD_SDK_PROJECT_ID")


def write(name: str, text: str) -> Callable[[Stage], None]:
    """Write a file into the stage's folder."""
    return lambda stage: (
        (stage.folder / name).write_text(text.format(folder=stage.folder), encoding="utf-8") and None
    )


def csv_of_one(stage: Stage) -> None:
    """A table beside the footage, with a column that no table has."""
    film, header = stage.batch.folder / "anna.mp4", "name,training_video,defaults"
    (stage.folder / "table.csv").write_text(f"{header}\nAnna,{film},x\n", encoding="utf-8")


def table_without_defaults(stage: Stage) -> None:
    """The column is gone."""
    film = stage.batch.folder / "anna.mp4"
    (stage.folder / "table.csv").write_text(f"name,training_video\nAnna,{film}\n", encoding="utf-8")


def fill_in(stage: Stage) -> None:
    """Write what a person would into the starter."""
    shutil.copy(stage.batch.manifest, stage.folder / "new.yaml")
    for path in stage.batch.folder.iterdir():
        shutil.copy2(path, stage.folder / path.name)


def busy_demo(stage: Stage) -> None:
    """The port that the demo had before is taken."""
    (stage.folder / "busy").mkdir()
    port = stage.simulator.endpoint.rpartition(":")[2]
    (stage.folder / "busy" / "port").write_text(port, encoding="ascii")


def ignoring(*rules: str) -> Callable[[Stage], None]:
    """Let the manifest ignore *rules*."""

    def change(stage: Stage) -> None:
        stage.batch.head["ignore"] = list(rules)
        stage.batch.write(stage.batch.entry("anna"), stage.batch.entry("bo"))

    return change


def lose_journal(stage: Stage) -> None:
    """The journal is gone, as on a new machine; another one goes on."""
    for path in [*stage.folder.rglob("journal.db"), *stage.folder.rglob("journal.db-*")]:
        path.unlink()


def damage_journal(stage: Stage) -> None:
    """The disk did it."""
    (path,) = stage.folder.rglob("journal.db")
    path.write_bytes(b"not a journal any more" * 1000)


def move_journal(stage: Stage) -> None:
    """As the message advises."""
    (path,) = stage.folder.rglob("journal.db")
    path.rename(path.with_name("damaged"))


def copy_with_a_tag(stage: Stage) -> None:
    """The same table under another name, with one field more."""
    copy = Batch(stage.batch.folder, head={"defaults": {"tags": ["retake"]}})
    copy.write(copy.entry("anna"), copy.entry("bo"))
    stage.batch.manifest.rename(stage.batch.folder / "copy.yaml")


CLI = "orchestrator/cli/"
ON_CHANGE = ("--on-change",)
ON_EXISTING = ("--on-existing",)
RETRY = "orchestrator retry {}"
RETRY_ONE = "orchestrator retry {} --entry {}"

WAYS: tuple[Way, ...] = (
    Way(
        f"{CLI}work/batches.py",
        ("orchestrator status", "--state"),
        first(run("--state", "{folder}/mine.db"), cli("submit", "studio")),
        first(
            cli("status", "--state", "{folder}/mine.db"),
            cli("submit", "studio", "--state", "{folder}/mine.db"),
        ),
    ),
    Way(
        f"{CLI}work/batches.py",
        ("orchestrator status", "--state"),
        first(run(), cli("submit", "studoi")),
        first(
            cli("status"),
            cli("submit", "studio", "--state", "{folder}/home/.local/state/metastudio-orchestrator"),
        ),
    ),
    Way(
        f"{CLI}work/batches.py",
        ("--in-state", "--state"),
        first(run(), cli("status", "studio", "--state", "confirmed")),
        cli("status", "studio", "--in-state", "confirmed"),
    ),
    Way(
        f"{CLI}work/batches.py",
        ("orchestrator status {}",),
        first(run(), cli("retry", "studio", "--entry", "zebra-7")),
        first(cli("status", "studio"), cli("retry", "studio", "--entry", "anna")),
    ),
    Way(
        f"{CLI}work/batches.py",
        ("--endpoint", "--region"),
        first(run(), cli("submit", "studio", "--endpoint", "https://example.com", "--region", "cn-north-4")),
        cli("submit", "studio"),
    ),
    Way(
        f"{CLI}invocation.py",
        ("--default",),
        cli("validate", "{manifest}", "--default", "contact"),
        cli("validate", "{manifest}", "--default", "contact=ops@example.com"),
        texts=2,
    ),
    Way(
        f"{CLI}work/clean.py",
        ("--older-than", "--orphans"),
        first(run(), cli("clean")),
        first(cli("clean", "--orphans"), cli("clean", "--older-than", "30d", "--yes")),
    ),
    Way(
        f"{CLI}work/clean.py",
        ("orchestrator run {} --on-existing adopt",),
        first(
            run("--state", "{folder}/server.db"), run("--on-existing", "create"), cli("clean", "--orphans")
        ),
        run("--on-existing", "adopt"),
    ),
    Way(
        f"{CLI}work/clean.py",
        ("orchestrator run {} --batch-name {} --on-existing adopt",),
        first(
            run("--batch-name", "night", "--state", "{folder}/server.db"),
            run("--batch-name", "night", "--on-existing", "create"),
            cli("clean", "--orphans"),
        ),
        run("--batch-name", "night", "--on-existing", "adopt"),
    ),
    Way(
        f"{CLI}commands/init.py",
        ("orchestrator validate {}",),
        cli("init", "{folder}/new.yaml"),
        first(fill_in, cli("validate", "{folder}/new.yaml")),
    ),
    Way(
        f"{CLI}work/init.py",
        ("--force",),
        cli("init", "{manifest}"),
        cli("init", "{manifest}", "--force"),
    ),
    Way(
        f"{CLI}commands/retry.py",
        ("--cancelled", "--entry"),
        first(
            run(), cli("cancel", "studio", "--yes"), cli("retry", "studio", "--cancelled", "--entry", "anna")
        ),
        first(cli("retry", "studio", "--entry", "anna"), cli("retry", "studio", "--cancelled")),
        texts=2,
    ),
    Way(
        f"{CLI}commands/status.py",
        ("--entry", "--failed", "--in-state", "--runs"),
        first(run(), cli("status", "--failed")),
        first(
            cli("status", "studio", "--failed"),
            cli("status", "studio", "--in-state", "confirmed"),
            cli("status", "studio", "--entry", "anna"),
            cli("status", "studio", "--runs"),
        ),
    ),
    Way(
        f"{CLI}commands/status.py",
        ("--entry", "--failed", "--in-state", "--runs"),
        first(run(), cli("status", "studio", "--runs", "--entry", "anna")),
        first(
            cli("status", "studio", "--failed"),
            cli("status", "studio", "--in-state", "confirmed"),
            cli("status", "studio", "--entry", "anna"),
            cli("status", "studio", "--runs"),
        ),
    ),
    Way(
        f"{CLI}commands/status.py",
        ("--all", "--entry", "--summary"),
        first(run(), cli("status", "studio", "--summary", "--entry", "anna")),
        first(
            cli("status", "studio", "--all"),
            cli("status", "studio", "--summary"),
            cli("status", "studio", "--entry", "anna"),
        ),
    ),
    Way(
        f"{CLI}work/batches.py",
        ("--all",),
        first(run(), years_of_runs, cli("status", "studio", "--runs")),
        cli("status", "studio", "--runs", "--all"),
    ),
    Way(
        f"{CLI}work/config.py",
        ("--endpoint", "--region"),
        first(without_endpoint, cli("config", "show")),
        first(
            cli("config", "show", "--region", "cn-north-4"), cli("config", "show", "--endpoint", "{endpoint}")
        ),
    ),
    Way(
        f"{CLI}output.py",
        ("--yes",),
        first(run(), cli("cancel", "studio")),
        cli("cancel", "studio", "--yes"),
    ),
    Way(
        f"{CLI}work/demo.py",
        ("orchestrator status demo --state {}",),
        cli("demo", "--dir", "{folder}/demo", "--avatars", "1"),
        cli("status", "demo", "--state", "{folder}/demo/journal.db"),
    ),
    Way(
        f"{CLI}work/demo.py",
        ("orchestrator init --sample {}",),
        cli("demo", "--dir", "{folder}/demo", "--avatars", "1"),
        cli("init", "--sample", "{folder}/demo/own"),
    ),
    Way(
        f"{CLI}work/demo.py",
        ("--dir",),
        cli("demo", "--dir", "/dev/null/demo", "--avatars", "1"),
        cli("demo", "--dir", "{folder}/demo", "--avatars", "1"),
    ),
    Way(
        f"{CLI}work/demo.py",
        ("--dir",),
        first(busy_demo, cli("demo", "--dir", "{folder}/busy", "--avatars", "1")),
        cli("demo", "--dir", "{folder}/demo", "--avatars", "1"),
    ),
    Way(
        f"{CLI}help.py",
        ("orchestrator --help",),
        cli("statsu"),
        cli("--help"),
    ),
    Way(
        f"{CLI}commands/docs.py",
        ("orchestrator docs",),
        cli("docs", "runing"),
        cli("docs"),
    ),
    Way(
        f"{CLI}commands/explain.py",
        ("--all",),
        cli("explain"),
        cli("explain", "--all"),
    ),
    Way(
        f"{CLI}commands/explain.py",
        ("orchestrator explain --all",),
        cli("explain", "Z99"),
        cli("explain", "--all"),
    ),
    Way(
        "orchestrator/settings/sources.py",
        ("orchestrator config show",),
        first(write("bad.toml", "joobs = 3\n"), run("--config", "{folder}/bad.toml")),
        first(write("bad.toml", "jobs = 3\n"), cli("config", "show"), run("--config", "{folder}/bad.toml")),
    ),
    Way(f"{CLI}main.py", ("--help",), cli("run"), cli("run", "--help")),
    Way(
        "orchestrator/api/planning.py",
        ("--endpoint", "--project-id", "--region"),
        first(on_two_endpoints, without_project, cli("plan", "{manifest}")),
        first(
            cli("plan", "{manifest}", "--region", "cn-north-4", "--project-id", "p"),
            cli("plan", "{manifest}", "--endpoint", "{endpoint}"),
        ),
    ),
    Way(
        f"{CLI}work/plan.py",
        ("--json",),
        first(lambda stage: stage.many(), cli("plan", "{manifest}")),
        cli("plan", "{manifest}", "--json"),
    ),
    Way(
        f"{CLI}work/plan.py",
        ("--rate",),
        cli("plan", "{manifest}"),
        cli("plan", "{manifest}", "--rate", "10M"),
    ),
    Way(
        f"{CLI}work/retry.py",
        ("orchestrator results {} -o results.csv", "--manifest"),
        first(run(), moved_manifest, cli("retry", "studio")),
        first(
            cli("results", "studio", "-o", "{folder}/results.csv"),
            cli("retry", "studio", "--manifest", "{folder}/results.csv"),
        ),
    ),
    Way(
        f"{CLI}work/retry.py",
        ("orchestrator results {} -o results.csv", "--manifest"),
        first(run(), moved_manifest, cli("retry", "studio")),
        first(
            cli("results", "studio", "-o", "{folder}/results.csv"),
            cli("retry", "studio", "--manifest", "{folder}/moved.yaml"),
        ),
    ),
    Way(
        f"{CLI}work/run.py",
        ("orchestrator status {}",),
        first(run(), lambda stage: stage.replace_film(), run("-q")),
        first(cli("status", "studio"), run("--on-change", "recreate")),
    ),
    Way(
        "orchestrator/api/checking.py",
        ("--entry",),
        run("--entry", "zebra-*"),
        run("--entry", "a*"),
    ),
    Way(
        "orchestrator/api/checking.py",
        ("orchestrator plan {}",),
        run("--entry", "zebra-*"),
        first(cli("plan", "{manifest}"), run("--entry", "anna")),
    ),
    Way(
        f"{CLI}work/listings.py",
        ("orchestrator status {} --all",),
        first(lambda stage: stage.many(), run()),
        cli("status", "studio", "--all"),
    ),
    Way(
        f"{CLI}work/run.py",
        ON_CHANGE,
        first(run(), lambda stage: stage.replace_film(), run()),
        run("--on-change", "update"),
        options=SimulatorOptions(world=World(update_allowed="always")),
    ),
    Way(
        f"{CLI}work/run.py",
        ON_CHANGE,
        first(run(), lambda stage: stage.replace_film(), run()),
        run("--on-change", "recreate"),
    ),
    Way(
        f"{CLI}work/run.py",
        ("--batch-name",),
        first(run(), lambda stage: stage.cli("run", stage.second("anna", "bo"))),
        cli("run", "{folder}/second/studio.yaml", "--batch-name", "another"),
    ),
    Way(
        "orchestrator/api/run_report.py",
        (RETRY, RETRY_ONE),
        first(lambda stage: stage.refused_review(), cli("retry", "studio")),
        first(lambda stage: stage.replace_film(), cli("retry", "studio")),
        takes=(RETRY,),
        options=REVIEWED,
    ),
    Way(
        "orchestrator/api/run_report.py",
        (RETRY, RETRY_ONE),
        first(lambda stage: stage.refused_review(), run()),
        cli("retry", "studio", "--entry", "anna"),
        takes=(RETRY_ONE,),
        options=REVIEWED,
    ),
    Way(
        "orchestrator/api/run_report.py",
        (RETRY,),
        first(lambda stage: stage.refused_review(), lambda stage: stage.replace_film(), run()),
        cli("retry", "studio"),
        options=REVIEWED,
    ),
    Way(
        "orchestrator/api/run_report.py",
        (RETRY_ONE, "orchestrator retry {} --cancelled"),
        first(run(), cli("cancel", "studio", "--yes"), run()),
        first(cli("retry", "studio", "--entry", "anna"), cli("retry", "studio", "--cancelled")),
    ),
    Way(
        "orchestrator/api/run_report.py",
        ("orchestrator cancel {} --entry {} --yes",),
        first(run(), lambda stage: stage.batch.write(stage.batch.entry("bo")), run()),
        cli("cancel", "studio", "--entry", "anna", "--yes"),
    ),
    Way(
        "orchestrator/cli/output.py",
        ("--events", "--json"),
        run("--events", "-", "--json"),
        run("--json"),
        texts=2,
    ),
    Way(
        "orchestrator/api/engine_settings.py",
        ("--verify", "--verify-object"),
        run("--verify", "off", "--verify-object"),
        first(run("--verify-object"), run("--verify", "off")),
    ),
    Way(
        "orchestrator/api/engine_settings.py",
        ("orchestrator simulate", "--endpoint", "--region"),
        first(without_endpoint, run()),
        first(
            cli("config", "show", "--region", "cn-north-4"),
            cli("simulate", "--help"),
            run("--endpoint", "{endpoint}"),
        ),
    ),
    Way(
        f"{CLI}work/watch.py",
        ("orchestrator status {} --failed --all",),
        first(
            lambda stage: stage.many(video_multipart_count=2),
            run(),
            cli("watch", "studio"),
        ),
        cli("status", "studio", "--failed", "--all"),
        options=ONE_URL,
    ),
    Way(
        f"{CLI}work/watch.py",
        (RETRY, "orchestrator submit {}"),
        first(run(), cli("watch", "studio", "--interval", "0.01")),
        first(cli("retry", "studio"), cli("submit", "studio"), cli("watch", "studio", "--interval", "0.01")),
        options=REVIEWED,
    ),
    Way(
        "orchestrator/engine/steps/adopt.py",
        ON_EXISTING,
        first(run(), lose_journal, run("--json")),
        first(run("--on-existing", "adopt"), lose_journal, run("--on-existing", "create")),
    ),
    Way(
        "orchestrator/engine/steps/adopt.py",
        ON_EXISTING,
        first(run(), lose_journal, run("--on-existing", "adopt", "--json")),
        run("--on-existing", "create"),
        options=SimulatorOptions(
            world=World(update_allowed="never", download_urls="never", part_list_after_join="empty")
        ),
    ),
    Way(
        "orchestrator/engine/steps/adopt.py",
        ("--batch-name", "--on-existing"),
        first(run(), copy_with_a_tag, cli("run", "{folder}/studio/copy.yaml", "--on-existing", "adopt")),
        first(
            cli("run", "{folder}/studio/copy.yaml", "--batch-name", "studio", "--on-change", "recreate"),
            cli("run", "{folder}/studio/copy.yaml", "--on-existing", "create"),
        ),
    ),
    Way(
        "orchestrator/engine/job_ownership.py",
        ON_EXISTING,
        first(
            run(),
            lose_journal,
            lambda stage: stage.replace_film(),
            run("--on-existing", "adopt", "--json"),
        ),
        run("--on-existing", "create"),
    ),
    Way(
        "orchestrator/engine/steps/create.py",
        ON_CHANGE,
        first(run(), lambda stage: stage.replace_film(), run("--on-change", "update", "--json")),
        run("--on-change", "recreate"),
    ),
    Way(
        "orchestrator/engine/steps/create.py",
        ON_CHANGE,
        first(keep_film, run(), lambda stage: stage.replace_film(), run("--on-change", "update", "--json")),
        first(put_film_back, run()),
    ),
    Way(
        "orchestrator/engine/service_connection.py",
        ("--project-id",),
        first(without_project, run()),
        lambda stage: stage.run("--project-id", stage.simulator.options.project_id),
    ),
    Way(
        "orchestrator/engine/selection.py",
        ("orchestrator run {} --batch-name NAME", "orchestrator run {} --batch-name {}"),
        first(run(), lambda stage: stage.cli("run", stage.second("carl"))),
        cli("run", "{folder}/second/studio.yaml", "--batch-name", "another"),
    ),
    Way(
        "orchestrator/engine/selection.py",
        ("orchestrator run {} --batch-name NAME", "orchestrator run {} --batch-name {}"),
        first(run(), lambda stage: stage.cli("run", stage.second("carl"))),
        cli("run", "{folder}/second/studio.yaml", "--batch-name", "studio"),
    ),
    Way(
        "orchestrator/engine/planning.py",
        ("orchestrator validate {}",),
        first(wrong_manifest, run()),
        first(cli("validate", "{manifest}"), right_manifest, run()),
    ),
    Way(
        "orchestrator/journal/sqlite.py",
        ("--state",),
        run("--state", "/dev/null"),
        run("--state", "{folder}/journal.db"),
    ),
    Way(
        "orchestrator/journal/sqlite.py",
        ("--state",),
        run("--state", "/proc/nowhere/journal.db"),
        run("--state", "{folder}/journal.db"),
    ),
    Way(
        "orchestrator/journal/journal.py",
        ("--state",),
        run("--state", "mysql://db/journal"),
        run("--state", "{folder}/journal.db"),
    ),
    Way(
        "orchestrator/journal/sqlite.py",
        ("--state",),
        run("--state", "/dev/null/journal.db"),
        run("--state", "{folder}/journal.db"),
    ),
    Way(
        "orchestrator/journal/sqlite.py",
        ("--state",),
        first(run(), lambda stage: stage.journal("DROP TABLE schema_migrations"), run()),
        run("--state", "{folder}/other.db", "--batch-name", "other"),
    ),
    Way(
        "orchestrator/journal/records.py",
        ("--on-existing", "--state"),
        first(run(), damage_journal, run()),
        first(
            run("--state", "{folder}/another.db", "--on-existing", "create"),
            move_journal,
            run("--on-existing", "adopt"),
        ),
    ),
    Way(
        "orchestrator/journal/migrations.py",
        ("--state",),
        first(
            run(), lambda stage: stage.journal("UPDATE schema_migrations SET version = 900 + version"), run()
        ),
        run("--state", "{folder}/other.db", "--batch-name", "other"),
    ),
    Way(
        "orchestrator/manifest/table_source.py",
        ("--default",),
        first(csv_of_one, cli("run", "{folder}/table.csv")),
        first(
            table_without_defaults, cli("run", "{folder}/table.csv", "--default", "contact=ops@example.com")
        ),
    ),
    Way(
        "orchestrator/engine/outage.py",
        ("--endpoint", "--max-outage", "--region"),
        run("--endpoint", DEAD_ENDPOINT, "--max-outage", "0"),
        first(
            cli("config", "show", "--region", "cn-north-4"),
            run("--endpoint", "{endpoint}", "--max-outage", "15m"),
        ),
    ),
    Way(
        "orchestrator/metastudio/credentials.py",
        ("--region",),
        first(without_endpoint, run("--region", "cn-noth-4")),
        cli("config", "show", "--region", "cn-north-4"),
    ),
    Way(
        "orchestrator/metastudio/credentials.py",
        ("--endpoint",),
        first(without_endpoint, run("--region", "xx-nowhere-77")),
        run("--endpoint", "{endpoint}"),
    ),
    Way(
        "orchestrator/metastudio/answers.py",
        ("--project-id",),
        run("--project-id", "another"),
        lambda stage: stage.run("--project-id", stage.simulator.options.project_id),
    ),
    Way(
        "orchestrator/manifest/validation.py",
        ("orchestrator explain --all",),
        first(ignoring("P99"), run()),
        first(cli("explain", "--all"), ignoring("P10"), run()),
    ),
    Way(
        "orchestrator/preflight/rules/manifests.py",
        ("orchestrator schema",),
        cli("explain", "M02"),
        cli("schema"),
    ),
    Way(
        "orchestrator/preflight/rules/manifests.py",
        ("orchestrator explain --all",),
        cli("explain", "M14"),
        cli("explain", "--all"),
    ),
    Way(
        "orchestrator/metastudio/credentials.py",
        ("--insecure-http",),
        run("--endpoint", "http://127.1.example:1", "--api-attempts", "1"),
        lambda stage: stage.cli("config", "show", "--endpoint", "http://127.1.example:1", "--insecure-http"),
    ),
    Way(
        "orchestrator/observe/logs.py",
        ("--log-file",),
        run("--log-file", "/dev/null/run.log"),
        run("--log-file", "{folder}/run.log"),
    ),
)

#: Texts whose state needs more than a command line: the test that brings it about and sees the text.
_INIT = "tests/cli/test_init.py::"
_DOCTOR = "tests/cli/test_doctor.py::test_what_the_fixes_name_leads_on"
_FLEET = "tests/cli/test_fleet.py"
PROVED_ELSEWHERE: dict[tuple[str, tuple[str, ...]], str] = {
    ("orchestrator/api/checking.py", ("orchestrator enqueue {}", "orchestrator enqueue {} --wait")): (
        f"{_FLEET}::test_run_leaves_the_journal_to_the_workers"
    ),
    **dict.fromkeys(
        (
            (f"{CLI}work/fleet.py", ("--json",)),
            (f"{CLI}work/fleet.py", ("orchestrator retry {} --entry {}",)),
            ("orchestrator/fleet/unusable_files.py", ("orchestrator retry {} --entry {}",)),
        ),
        "tests/cli/test_fleet_files.py::test_what_no_live_host_can_read_is_laid_aside_with_its_story",
    ),
    ("orchestrator/journal/postgres_errors.py", ("--state",)): (
        "tests/cli/test_closed_doors.py::test_a_server_that_refuses_is_a_sentence"
    ),
    **dict.fromkeys(
        (
            (f"{CLI}commands/work.py", ("--hold",)),
            (f"{CLI}commands/work.py", ("orchestrator work --hold 60s",)),
            (f"{CLI}commands/work.py", ("--until-done",)),
            (f"{CLI}commands/work.py", ("--fail-if-stopped", "--until-done")),
            (f"{CLI}commands/work.py", ("orchestrator work --until-done --fail-if-stopped",)),
            (f"{CLI}work/work.py", ("orchestrator work -j 2", "-j")),
            ("orchestrator/fleet/requirements.py", ("--state",)),
        ),
        f"{_FLEET}::test_what_a_worker_cannot_do_is_refused_with_what_it_can",
    ),
    **dict.fromkeys(
        (
            (f"{CLI}work/enqueue.py", ("orchestrator status {}",)),
            ("orchestrator/fleet/requirements.py", ("orchestrator fleet install",)),
        ),
        f"{_FLEET}::test_what_is_queued_is_uploaded_by_a_worker",
    ),
    **dict.fromkeys(
        (
            ("orchestrator/fleet/enqueueing.py", ("orchestrator fleet release",)),
            ("orchestrator/fleet/worker.py", ("orchestrator fleet release",)),
            (f"{CLI}work/fleet.py", ("orchestrator fleet release",)),
        ),
        "tests/cli/test_fleet_workers.py::test_a_brake_stops_all_workers_until_it_is_released",
    ),
    ("orchestrator/fleet/parking.py", ("orchestrator retry {} --entry {}",)): (
        f"{_FLEET}::test_an_entry_that_ends_its_workers_is_laid_aside"
    ),
    **dict.fromkeys(
        (
            ("orchestrator/report/document.py", ("orchestrator retry {} --entry {}{}",)),
            ("orchestrator/report/document.py", ("orchestrator status {} --entry {}{}",)),
            ("orchestrator/report/document.py", ("orchestrator status {}{}",)),
            ("orchestrator/report/document.py", ("orchestrator plan {}{}",)),
            (f"{CLI}work/report.py", ("--state",)),
        ),
        "tests/cli/test_report.py::test_every_command_of_a_page_works_as_it_is_pasted",
    ),
    (f"{CLI}work/report.py", ("--live", "-o")): (
        "tests/cli/test_report.py::test_without_a_place_for_the_page_there_is_none"
    ),
    (f"{CLI}work/report_live.py", ("--host", "--port")): (
        "tests/cli/test_report.py::test_a_port_that_is_taken_is_a_sentence"
    ),
    ("orchestrator/engine/drain.py", ("--max-transfer",)): (
        "tests/cli/test_limits.py::test_a_run_that_reaches_its_limit_finishes_what_is_on_its_way_and_ends_with_5"
    ),
    ("orchestrator/engine/drain.py", ("--max-duration",)): (
        "tests/cli/test_limits.py::test_a_run_that_reaches_its_limit_finishes_what_is_on_its_way_and_ends_with_5"
    ),
    (f"{CLI}work/doctor.py", ("--state",)): _DOCTOR,
    (f"{CLI}work/doctor.py", ("-j", "-p")): _DOCTOR,
    (f"{CLI}work/doctor.py", ("orchestrator config show",)): _DOCTOR,
    (f"{CLI}work/doctor.py", ("--project-id",)): _DOCTOR,
    (f"{CLI}work/doctor.py", ("--endpoint", "--region")): _DOCTOR,
    (f"{CLI}commands/init.py", ("--sample", "--scan")): (
        f"{_INIT}test_what_cannot_be_scanned_is_a_usage_error_and_nothing_is_written"
    ),
    (
        f"{CLI}work/init.py",
        ("orchestrator validate {}",),
    ): f"{_INIT}test_a_sample_validates_plans_and_runs",
    (f"{CLI}work/doctor.py", ("orchestrator validate {}",)): _DOCTOR,
    (f"{CLI}commands/status.py", ("--reviews",)): "tests/cli/test_documents.py",
    (f"{CLI}work/status.py", ("orchestrator watch BATCH",)): "tests/engine/test_after_upload.py",
    (f"{CLI}work/validate.py", ("--look", "--report")): "tests/cli/test_look.py",
    (f"{CLI}work/validate.py", ("--look",)): "tests/cli/test_look.py",
    (f"{CLI}commands/validate.py", ("--look",)): "tests/cli/test_look.py",
    (f"{CLI}work/validate.py", ("--report",)): "tests/cli/test_look.py",
    ("orchestrator/engine/steps/submit.py", ("--submit-anyway",)): "tests/engine/test_gate.py",
    (
        "orchestrator/engine/steps/submit.py",
        ("orchestrator validate MANIFEST --look quick",),
    ): "tests/engine/test_gate.py",
    ("orchestrator/manifest/validation.py", ("--look",)): "tests/cli/test_look.py",
    (
        "orchestrator/engine/outage.py",
        ("--max-outage",),
    ): "tests/faults/test_outages.py::test_an_outage_that_is_not_waited_for_ends_the_run_with_five",
    (
        "orchestrator/metastudio/rate_limit.py",
        ("--endpoint", "--region"),
    ): "tests/metastudio/test_retries.py::"
    "test_a_closed_port_ends_as_unreachable_after_all_attempts_even_for_a_create",
    (
        f"{CLI}work/clean.py",
        ("--yes",),
    ): "tests/cli/test_clean.py::test_an_orphan_is_listed_and_deleted_only_with_yes",
    (
        f"{CLI}work/simulate.py",
        ("--data", "--port"),
    ): "tests/cli/test_commands.py::test_simulate_says_that_its_port_is_taken",
    (f"{CLI}work/simulate.py", ("--object-store",)): (
        "tests/cli/test_commands.py::test_simulate_says_what_an_object_store_needs"
    ),
    (f"{CLI}work/simulate.py", ("--bucket", "--data", "--object-store")): (
        "tests/cli/test_commands.py::test_simulate_says_that_its_object_store_is_no_good"
    ),
    (f"{CLI}work/simulate.py", ("orchestrator run MANIFEST",)): (
        "tests/cli/test_commands.py::test_simulate_serves_until_it_is_stopped"
    ),
    (
        f"{CLI}main.py",
        ("--log-file", "-v"),
    ): "tests/faults/test_secrets.py::test_an_error_of_our_own_tells_no_secret",
    ("orchestrator/engine/lifecycle.py", ("--log-file", "-v")): (
        "tests/faults/test_secrets.py::test_an_error_of_our_own_tells_no_secret"
    ),
    ("orchestrator/engine/steps/create.py", ("--on-expired",)): (
        "tests/faults/test_expiry.py::test_expired_urls_fail_the_entry_where_that_is_wanted"
    ),
    ("orchestrator/engine/lifecycle.py", ("-j", "-p")): (
        "tests/faults/test_expiry.py::test_a_link_too_slow_for_any_url_is_given_up"
    ),
    (
        "orchestrator/engine/entry.py",
        ("orchestrator cancel {} --entry {} --yes", "orchestrator retry {} --entry {}"),
    ): "tests/faults/test_evidence.py::test_only_evidence_that_contradicts_itself_is_put_to_a_person",
    ("orchestrator/engine/steps/inquiry.py", ("--verify-object",)): (
        "tests/cli/test_submit_and_retry.py::test_verify_object_insists_on_proof_of_delivery"
    ),
    ("orchestrator/journal/sqlite.py", ("--state",)): (
        "tests/journal/test_failing_database.py tests/journal/test_lock.py"
    ),
    ("orchestrator/settings/sources.py", ("orchestrator config show",)): (
        "tests/api/test_batch.py tests/cli/test_settings.py"
    ),
    ("orchestrator/settings/sources.py", ("--config", "--on-finish")): (
        "tests/notifications/test_run.py::test_a_command_is_not_taken_from_a_folder_of_footage"
    ),
    ("orchestrator/settings/sources.py", ("--state",)): (
        "tests/cli/test_server_journal.py::test_a_password_on_the_command_line_is_refused_and_leads_on_without_it"
    ),
    ("orchestrator/metastudio/client.py", ("--endpoint",)): "tests/metastudio/test_bounds.py",
    ("orchestrator/metastudio/iam.py", ("--project-id",)): (
        "tests/metastudio/test_auth.py::test_a_token_without_a_project_asks_for_the_project_id"
    ),
    ("orchestrator/metastudio/iam.py", ("--project-id", "--region")): (
        "tests/metastudio/test_auth.py::test_an_account_without_project_and_region_is_a_configuration_error"
    ),
    ("orchestrator/metastudio/answers.py", ("--endpoint",)): (
        "tests/faults/test_misconfiguration.py::test_a_wrong_setting_ends_the_run_at_the_first_entry"
    ),
    ("orchestrator/metastudio/answers.py", ("--endpoint", "--region")): (
        "tests/faults/test_misconfiguration.py::test_a_wrong_setting_ends_the_run_at_the_first_entry"
    ),
    ("orchestrator/transfer/sender.py", ("--insecure-http",)): "tests/transfer/test_put.py",
}

#: Texts that repeat what was given, or are help themselves, and how many there are.
NO_ADVICE: dict[tuple[str, tuple[str, ...]], int] = {
    (f"{CLI}commands/report.py", ("--live",)): 2,
    (f"{CLI}commands/simulate.py", ("--world",)): 1,
    (f"{CLI}commands/status.py", ("--json",)): 1,
    (f"{CLI}commands/watch.py", ("--interval",)): 1,
    ("orchestrator/settings/options.py", ("-v",)): 1,
    ("orchestrator/settings/options.py", ("--json",)): 1,
    ("orchestrator/notifications/sending.py", ("--notify",)): 2,
    ("orchestrator/notifications/notifier.py", ("--on-finish",)): 1,
    (f"{CLI}work/plan.py", ("--rate",)): 2,
    (f"{CLI}work/simulate.py", ("--bucket", "--object-store")): 1,
    ("orchestrator/engine/batch.py", ("--fail-fast",)): 1,
    ("orchestrator/preflight/rules/rule.py", ("orchestrator explain P10", "orchestrator explain --all")): 1,
    ("orchestrator/metastudio/answers.py", ("--project-id",)): 1,
}


def shown_text(result: Result) -> str:
    """All that a command printed, as people see it: what JSON escapes is plain."""
    try:
        document = json.dumps(json.loads(result.stdout), ensure_ascii=False).replace('\\"', '"')
    except ValueError:
        document = result.stdout
    return f"{document}\n{result.stderr}"
