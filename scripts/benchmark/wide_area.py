"""`scripts/bench-wide-area NETLAB`: what comes through a long, lossy link with this program and with curl.

NETLAB is a command with the verbs `up DELAY_MS RATE_MBIT LOSS_PERCENT`, `in client|server COMMAND...` and `down`: a
link between two network namespaces. What is measured is what the store receives.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import mean

from benchmark.cases import MIB, Case, Files
from benchmark.contenders import Contender, Job, peers, run_command
from benchmark.measuring import measured
from benchmark.metering import Meter
from benchmark.testbed import (
    Testbed,
    process,
    read_once,
    service_settings,
    simulator_command,
    sink_command,
    store_settings,
)

STORE_HOST = "10.77.0.2"
#: The beginning is measured for itself, and so is the end, where fewer and fewer connections are left.
STEADY_FROM, STEADY_SHARE = 30, 0.9


@dataclass(frozen=True)
class Outcome:
    """One contender's run: Mbit/s of each second, and the decisions it took."""

    name: str
    rates: list[float]
    decisions: list[str]

    @property
    def steady(self) -> list[float]:
        """The seconds from the thirtieth until nine tenths of the bytes were there."""
        total, passed = sum(self.rates), 0.0
        for second, rate in enumerate(self.rates):
            passed += rate
            if passed > total * STEADY_SHARE:
                return self.rates[STEADY_FROM:second]
        return []

    def first_second_at(self, rate: float) -> int | None:
        """When the mean of five seconds first reached *rate*."""
        windows = [(second, self.rates[second - 5 : second]) for second in range(5, len(self.rates))]
        return next((second for second, window in windows if mean(window) >= rate), None)


def main() -> None:
    """Measure, tell and write down."""
    arguments = _arguments()
    work = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        with _link(arguments):
            chosen = [contender for contender in _contenders() if arguments.only in contender.name]
            outcomes = [_outcome(contender, arguments, work) for contender in chosen]
    finally:
        shutil.rmtree(work, ignore_errors=True)
    text = _report(outcomes, arguments)
    sys.stdout.write(text)
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench-wide-area", description=__doc__)
    parser.add_argument(
        "netlab", nargs="?", default=os.environ.get("NETLAB"), help="or the environment's NETLAB"
    )
    parser.add_argument("--delay", type=float, default=25, help="milliseconds one way (25)")
    parser.add_argument("--rate", type=float, default=100, help="Mbit/s (100)")
    parser.add_argument("--loss", type=float, default=0.1, help="percent of packets (0.1)")
    parser.add_argument("--mib", type=int, default=800, help="how much each client sends (800)")
    parser.add_argument("--only", default="", help="only clients whose name holds this text")
    parser.add_argument("--output", type=Path, help="write the report here as well")
    arguments = parser.parse_args()
    if not arguments.netlab or shutil.which(arguments.netlab) is None:
        parser.error("a netlab command that can be run is needed, as an argument or in NETLAB")
    return arguments


@contextmanager
def _link(arguments: argparse.Namespace) -> Iterator[None]:
    shape = [f"{value:g}" for value in (arguments.delay, arguments.rate, arguments.loss)]
    # Its relay stays in the background and must not keep our pipes.
    subprocess.run([arguments.netlab, "up", *shape], check=True, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        subprocess.run([arguments.netlab, "down"], check=True)


def _contenders() -> list[Contender]:
    curl = [peer for peer in peers(None) if peer.name == "curl"]
    return [*curl, _ours("16"), _ours("auto")]


def _ours(parallel: str) -> Contender:
    def command(job: Job) -> list[str]:
        flags = ["--insecure-http", "--log-file", str(job.scratch / "run.log")]
        return [*run_command(job), *flags, "--parallel", parallel]

    return Contender(f"orchestrator -p {parallel}", checks="", resumes="", command=command)


def _outcome(contender: Contender, arguments: argparse.Namespace, work: Path) -> Outcome:
    case = Case("wide area", 4, arguments.mib // 4 * MIB, 4 * MIB, has_digest=True)
    files = Files.make(case, work)
    read_once([*files.videos, *files.parts()])
    scratch = Path(tempfile.mkdtemp(dir=work))
    with _testbed(arguments.netlab) as (testbed, meter):
        command = [arguments.netlab, "in", "client", *contender.command(Job(files, testbed, scratch))]
        began, began_at = time.monotonic(), time.time()
        measured(command, testbed.environment, scratch)
        rates = meter.megabits_since(began)
    return Outcome(contender.name, rates, _decisions(scratch / "run.log", began_at))


@contextmanager
def _testbed(netlab: str) -> Iterator[tuple[Testbed, Meter]]:
    """A store at the far end of the link, and a simulator at the near one."""
    environment = {**os.environ, **store_settings(None)}
    sink = [netlab, "in", "server", *sink_command(None, has_digest=True, host=STORE_HOST), "--meter"]
    meter = Meter()
    with process(sink, environment, rest=meter.listen) as store:
        store_url = f"http://{STORE_HOST}:{store['port']}"
        with process([netlab, "in", "client", *simulator_command(store_url)], environment) as service:
            yield Testbed(store_url, service, {**environment, **service_settings(service)}), meter


def _decisions(log: Path, began: float) -> list[str]:
    if not log.exists():
        return []
    events = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return [
        f"second {datetime.fromisoformat(event['timestamp']).timestamp() - began:3.0f}:"
        f" {event['before']} -> {event['after']}, {event['reason']} at {event['goodput'] * 8e-6:.1f} Mbit/s"
        for event in events
        if event["event"] == "parallelism.adjusted"
    ]


def _report(outcomes: Sequence[Outcome], arguments: argparse.Namespace) -> str:
    link = (
        f"{arguments.rate:g} Mbit/s, {2 * arguments.delay:g} ms round trip, {arguments.loss:g} % loss, reno"
    )
    lines = [
        "# A wide-area link",
        "",
        f"{link}; {arguments.mib} MiB in parts of 4 MiB over HTTP with MD5 ETags. Mbit/s of payload as the store",
        f"received it; steady is from second {STEADY_FROM} until {STEADY_SHARE:.0%} of the bytes were there.",
        "",
        "| client | seconds 5-30 | steady | share of the link | at 90 % after s | all s |",
        "|---|---|---|---|---|---|",
    ]
    for outcome in outcomes:
        steady = mean(outcome.steady or [0.0])
        reached = outcome.first_second_at(0.9 * arguments.rate)
        cells = [
            outcome.name,
            f"{mean(outcome.rates[5:STEADY_FROM] or [0.0]):.1f}",
            f"{steady:.1f}",
            f"{steady / arguments.rate:.0%}",
            "never" if reached is None else str(reached),
            str(len(outcome.rates)),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    for outcome in outcomes:
        if outcome.decisions:
            lines += ["", f"What {outcome.name} decided:", "", "```", *outcome.decisions, "```"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
