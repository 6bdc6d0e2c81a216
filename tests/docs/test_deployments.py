"""The examples beside scripts/systemd: Kubernetes, compose and Slurm take them, and their commands make a fleet."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from compose_spec import PyCompose

from orchestrator import __version__
from orchestrator.domain.errors import ExitCode
from orchestrator.settings.values import Settings
from tests.cli.advice import complaint
from tests.docs.conftest import ROOT, Desk
from tests.docs.test_systemd_units import service
from tests.postgres import postgres, schema_of

__all__ = ["postgres"]

SCRIPTS = ROOT / "scripts"
KUBERNETES = sorted((SCRIPTS / "kubernetes").glob("*.yaml"))
COMPOSE = SCRIPTS / "compose/compose.yaml"
DOCKERFILE = SCRIPTS / "compose/Dockerfile"
SBATCH = SCRIPTS / "slurm/orchestrator-work.sbatch"
EXAMPLES = [*KUBERNETES, COMPOSE, DOCKERFILE, SBATCH]
#: The oldest version that has all the fields, and the newest whose schemas are known.
VERSIONS = ("1.29", kubernetes_validate.latest_version())
IMAGE = f"metastudio-orchestrator:{__version__}"
#: `${NAME:?why it must be set}`
_REQUIRED = re.compile(r"\$\{(\w+):\?[^}]*\}")


def documents(path: Path) -> list[dict[str, Any]]:
    """The objects of a file for Kubernetes."""
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def compose(given: Callable[[str], str] = lambda name: f"/{name}") -> dict[str, Any]:
    """The compose file, with what *given* says of each variable that a person sets."""
    text = COMPOSE.read_text(encoding="utf-8")
    return dict(yaml.safe_load(_REQUIRED.sub(lambda found: given(found[1]), text)))


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each pod that the files for Kubernetes start, with the name of its file."""
    for path in KUBERNETES:
        for each in documents(path):
            spec = each.get("spec", {})
            template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
            if template is not None:
                yield path.name, template


def commands() -> dict[str, list[str]]:
    """What containers of each example are started with, without the program, which is the image's entry point."""
    found = {
        f"{name}: {container['name']}": container["args"]
        for name, pod in pods()
        for container in pod["spec"]["containers"]
    }
    ours = {name: each for name, each in compose()["services"].items() if each["image"] == IMAGE}
    return found | {f"compose.yaml: {name}": each["command"] for name, each in ours.items()}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.name)
def test_kubernetes_takes_its_objects(path: Path, version: str) -> None:
    """By the published schemas, which refuse a field that there is not."""
    for each in documents(path):
        kubernetes_validate.validate(each, version, strict=True)


def test_a_field_that_kubernetes_does_not_know_is_noticed() -> None:
    """So that the test above can fail."""
    (job,) = documents(SCRIPTS / "kubernetes/batch.yaml")
    job["spec"]["template"]["spec"]["containers"][0]["argz"] = []

    with pytest.raises(kubernetes_validate.ValidationError, match="argz"):
        kubernetes_validate.validate(job, VERSIONS[-1], strict=True)


def test_compose_takes_its_file() -> None:
    """By the specification, once what a person sets is set; without it the file says what is missing."""
    document = compose()

    assert PyCompose.from_json(json.dumps(document)).service_names() == ["db", "install", "work", "enqueue"]
    assert set(_REQUIRED.findall(COMPOSE.read_text(encoding="utf-8"))) == {"FOOTAGE", "PGPASSWORD"}
    document["services"]["work"]["replicas"] = 2
    with pytest.raises(ValueError, match="replicas"):
        PyCompose.from_json(json.dumps(document))


@pytest.mark.parametrize("spoilt", [False, True], ids=["as it is", "with a word that docker does not know"])
def test_the_image_can_be_built_from_its_file_by_all_that_a_linter_sees(*, spoilt: bool) -> None:
    """The shell commands in it, too."""
    text = DOCKERFILE.read_text(encoding="utf-8")

    linted = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), "--no-color", "-"],
        input=text.replace("ENTRYPOINT", "ENTRYPONIT") if spoilt else text,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert (linted.returncode != 0) is spoilt, linted.stdout


def test_the_image_is_the_one_that_the_examples_start() -> None:
    """Its version, its user, its home and its program."""
    said = dict(re.findall(r"^(USER|ENTRYPOINT|ENV|WORKDIR) (.*)$", DOCKERFILE.read_text(), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (program,) = json.loads(said["ENTRYPOINT"])

    assert program in project["scripts"]
    assert f"HOME={said['WORKDIR']}" in said["ENV"]
    assert f"--tag {IMAGE} " in DOCKERFILE.read_text(encoding="utf-8")
    for name, pod in pods():
        security, (container,) = pod["spec"]["securityContext"], pod["spec"]["containers"]
        assert f"{security['runAsUser']}:{security['runAsGroup']}" == said["USER"], name
        assert container["image"].endswith(f"/{IMAGE}"), name
        assert said["WORKDIR"] in {each["mountPath"] for each in container["volumeMounts"]}, name
    for name in ("install", "work", "enqueue"):
        each = compose()["services"][name]
        assert each["user"] == said["USER"]
        assert f"cache:{said['WORKDIR']}" in each["volumes"]


def test_the_image_gets_all_that_the_program_is_built_from() -> None:
    """What the project's own file names, and the file itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    copies = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)
    copied = {source for sources in copies for source in sources.split()}

    assert {
        "pyproject.toml",
        "setup.py",
        "orchestrator",
        project["readme"],
        *project["license-files"],
    } <= copied
    # Tests run beside the wheel, where the source is not.
    assert [name for name in copied - {"orchestrator"} if not (ROOT / name).exists()] == []


def test_every_command_of_an_example_is_one() -> None:
    """Those in their comments, too."""
    texts = {path: path.read_text(encoding="utf-8") for path in EXAMPLES}
    found = [
        *(shlex.join(["orchestrator", *words]) for words in commands().values()),
        *(
            line
            for text in texts.values()
            for line in re.findall(r"^#? *(?:exec )?(orchestrator .*)$", text, re.MULTILINE)
        ),
        *(
            f"orchestrator {words}"
            for words in re.findall(r"docker compose run --rm enqueue (\w.*)$", texts[COMPOSE], re.MULTILINE)
        ),
    ]

    assert len(found) >= 11
    assert [said for command in found if (said := complaint(command.replace('"$batch"', "studio")))] == []


def test_every_file_that_an_example_names_is_there() -> None:
    """In the commands that its comments give, and in the pages on fleets."""
    texts = [path.read_text(encoding="utf-8") for path in (*EXAMPLES, ROOT / "docs/fleet.md")]
    named = {name for text in texts for name in re.findall(r"(?:scripts|docs)/[\w./@-]*\w", text)}

    assert {str(path.relative_to(ROOT)) for path in EXAMPLES} - named <= {str(COMPOSE.relative_to(ROOT))}
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_a_worker_has_the_time_to_return_what_it_has() -> None:
    """Before it is killed, wherever it runs."""
    needed = 2 * Settings().grace
    seconds = {name: pod["spec"].get("terminationGracePeriodSeconds", 30) for name, pod in pods()}
    script = SBATCH.read_text(encoding="utf-8")

    assert {name for name, each in seconds.items() if each >= needed} == {"fleet.yaml", "batch.yaml"}
    assert compose()["services"]["work"]["stop_grace_period"] == "2m"
    assert int(re.findall(r"--signal=B:TERM@(\d+)", script)[0]) >= needed


def test_pods_may_do_nothing_but_their_work() -> None:
    """Read footage, write to volumes of their own, and send; what is secret is in none of the files."""
    for name, pod in pods():
        spec, (container,) = pod["spec"], pod["spec"]["containers"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["automountServiceAccountToken"] is False, name
        assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
        assert container["securityContext"]["allowPrivilegeEscalation"] is False, name
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
        assert container["resources"]["limits"]["memory"], name
        assert {"secretRef": {"name": "orchestrator"}} in container["envFrom"], name
        mounts = {each["name"]: each for each in container["volumeMounts"]}
        assert mounts.get("footage", {"readOnly": True})["readOnly"] is True, name
        assert {each["name"] for each in spec["volumes"]} == {*mounts}, name
    objects = {each["kind"]: each for path in KUBERNETES for each in documents(path)}
    assert objects["PersistentVolumeClaim"]["spec"]["accessModes"] == ["ReadOnlyMany"]
    assert "Secret" not in objects
    assert not [name for name in objects["ConfigMap"]["data"] if re.search("PASSWORD|_AK|_SK|TOKEN", name)]


def test_pods_of_one_kind_are_no_others() -> None:
    """A Deployment counts all that have its label."""
    labels = [json.dumps(pod["metadata"]["labels"]) for _, pod in pods() if "metadata" in pod]
    (deployment,) = (each for path in KUBERNETES for each in documents(path) if each["kind"] == "Deployment")

    assert len(set(labels)) == len(labels) == 2
    assert json.dumps(deployment["spec"]["selector"]["matchLabels"]) in labels
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}, (
        "workers of two versions never work at once"
    )


@pytest.mark.parametrize(
    ("file", "unit"), [("batch.yaml", "orchestrator-work@.service"), ("nightly.yaml", None)]
)
def test_a_job_is_given_up_where_only_a_person_can_help(file: str, unit: str | None) -> None:
    """As systemd does it; a host that is drained counts for nothing, all else is tried again."""
    (job,) = documents(SCRIPTS / "kubernetes" / file)
    spec = job["spec"].get("jobTemplate", job)["spec"]
    drained, given_up = spec["podFailurePolicy"]["rules"]
    codes = {*given_up["onExitCodes"]["values"]}

    assert drained == {
        "action": "Ignore",
        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
    }
    assert given_up["action"] == "FailJob"
    assert given_up["onExitCodes"]["containerName"] == spec["template"]["spec"]["containers"][0]["name"]
    reported = service(unit or "orchestrator.service")["RestartPreventExitStatus"]
    assert codes == {int(code) for code in reported.split()}
    assert {ExitCode.TEMPORARY, ExitCode.TERMINATED} & codes == set()


@pytest.fixture
def fleet(desk: Desk, postgres: str) -> Iterator[str]:
    """The URL of an empty database, which the environment of the desk names, beside what it says of the service."""
    with schema_of(postgres) as state:
        desk.shell.environment = {**desk.shell.environment, "ORCHESTRATOR_STATE": state}
        yield state


def assert_all_sent_once(desk: Desk, *names: str) -> None:
    """One job each, with its files, of which no byte was sent twice."""
    jobs = desk.simulator.jobs
    assert sorted(job.name for job in jobs) == sorted(names)
    for job in jobs:
        film = desk.batch.folder / f"{job.name}.mp4"
        assert job.objects["training_video"].read_bytes() == film.read_bytes()
    stats = desk.simulator.stats
    assert stats.put_bytes_received == sum(sum(sizes) for sizes in stats.stored.values())
    assert all(len(sizes) == 1 for sizes in stats.stored.values())


@pytest.mark.long
@pytest.mark.timeout(180)
@pytest.mark.parametrize("example", ["kubernetes", "compose"])
def test_the_commands_of_containers_make_a_fleet(desk: Desk, fleet: str, example: str) -> None:
    """Those of the files as they stand, a process in the place of each container; then the workers are stopped."""
    del fleet

    def words(name: str) -> str:
        return shlex.join(found[name]).replace("/footage", str(desk.batch.folder))

    hour_ago = time.time() - 3600
    for path in desk.batch.folder.iterdir():
        os.utime(path, (hour_ago, hour_ago))
    found = {name.partition(": ")[2]: each for name, each in commands().items() if example in _family(name)}
    desk.type(f"orchestrator {words('install')}")
    workers = [desk.start(f"orchestrator {words('work')}") for _ in range(2)]
    try:
        desk.type(f"orchestrator {words('enqueue')}")
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        assert [worker.wait(60) for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()

    assert_all_sent_once(desk, "anna", "bo")


def _family(name: str) -> str:
    """The example that a container is of; a batch's own workers have a test of their own."""
    file = name.partition(":")[0]
    return {"compose.yaml": "compose", "batch.yaml": "batch"}.get(file, "kubernetes")


@pytest.mark.long
@pytest.mark.timeout(180)
def test_tasks_of_slurm_end_with_the_batch_and_one_that_is_stopped_is_no_success(
    desk: Desk, fleet: str
) -> None:
    """The script in a shell with Slurm's variables: SIGTERM before the end of its time, then two tasks at once."""
    desk.batch.write(*(desk.batch.entry(name, size=4_000_000) for name in ("anna", "bo")))
    settings = desk.home / ".config/metastudio-orchestrator/environment"
    settings.parent.mkdir(parents=True)
    given: Mapping[str, str] = {
        **desk.running.environment,
        "ORCHESTRATOR_STATE": fleet,
        "ORCHESTRATOR_BWLIMIT": "2M",
    }
    settings.write_text("".join(f"{name}='{value}'\n" for name, value in given.items()))
    desk.type("orchestrator fleet install && orchestrator enqueue studio.yaml --part-size 1MiB")

    first = _task(desk, 1)
    try:
        deadline = time.monotonic() + 60
        while desk.simulator.stats.put_bytes_stored < 1_000_000:
            assert time.monotonic() < deadline, (desk.home / "task-1.log").read_text()
            time.sleep(0.02)
        first.send_signal(signal.SIGTERM)
        assert first.wait(60) == ExitCode.TERMINATED
    finally:
        first.kill()
    for each in [_task(desk, 2), _task(desk, 3)]:
        try:
            assert each.wait(60) == 0
        finally:
            each.kill()

    assert_all_sent_once(desk, "anna", "bo")


def _task(desk: Desk, number: int) -> subprocess.Popen[bytes]:
    """Start the script as Slurm does, with nothing of the shell that submitted it; a log has what it prints."""
    variables = {"SLURM_ARRAY_JOB_ID": "41", "SLURM_ARRAY_TASK_ID": str(number)}
    with (desk.home / f"task-{number}.log").open("wb") as log:
        return subprocess.Popen(
            ["/bin/bash", SBATCH, "studio"],
            env={"HOME": str(desk.home), "PATH": "/usr/bin:/bin", **variables},
            stdout=log,
            stderr=log,
        )


def test_slurm_takes_the_script_and_what_it_says_of_itself() -> None:
    """Its shell reads it; its directives stand before the first command, where Slurm looks for them."""
    lines = SBATCH.read_text(encoding="utf-8").splitlines()
    places = [place for place, line in enumerate(lines) if line.startswith("#SBATCH")]
    first_command = next(place for place, line in enumerate(lines) if not line.startswith("#"))

    subprocess.run(["/bin/bash", "-n", SBATCH], timeout=50, check=True)
    assert lines[0] == "#!/bin/bash"
    assert len(places) >= 8
    assert max(places) < first_command
    assert all(re.fullmatch(r"#SBATCH --[a-z-]+(=\S+)?", lines[place]) for place in places)
