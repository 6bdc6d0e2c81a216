"""The other side of the benchmark, in processes of its own: stores, simulators, a throw-away certificate."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

from benchmark.metering import Meter
from benchmark.sink.answers import FLOW_PATH, Flow

BUCKET = "bench"
ACCESS_KEY, SECRET_KEY = "benchkey", "bench-secret"
_WRITE_BYTES = 1 << 20
#: A file type box, then one box of media data that lasts to the end.
_MP4_START = b"\0\0\0\x14ftypisom\0\0\2\0isom" + b"\0\0\0\0mdat"


@dataclass(frozen=True)
class Certificate:
    """A certificate for localhost that is its own authority."""

    path: Path
    key: Path

    @classmethod
    def make(cls, folder: Path) -> Certificate:
        """Write one into *folder*."""
        made = cls(folder / "certificate.pem", folder / "key.pem")
        command = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
            f" -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -out {made.path} -keyout {made.key}"
        )
        subprocess.run(command.split(), check=True, capture_output=True)
        return made


@dataclass(frozen=True)
class Testbed:
    """A store and the simulator that keeps its objects there; `environment` lets a client reach both."""

    store_url: str
    service: Mapping[str, str]
    environment: Mapping[str, str]
    has_sink: bool = True

    @property
    def is_encrypted(self) -> bool:
        """True when the store speaks TLS."""
        return self.store_url.startswith("https:")

    def next_flow(self) -> Flow:
        """What the sink was given since this was asked last."""
        tls = (
            ssl.create_default_context(cafile=self.environment["SSL_CERT_FILE"])
            if self.is_encrypted
            else None
        )
        opener = build_opener(ProxyHandler({}), HTTPSHandler(context=tls))
        with opener.open(f"{self.store_url}{FLOW_PATH}") as answer:
            return Flow(**json.load(answer))


@contextmanager
def serving(
    certificate: Certificate | None, *, has_digest: bool, meter: Meter | None = None
) -> Iterator[Testbed]:
    """Run a sink, over TLS where there is a *certificate*, and a simulator in front of it; *meter* is told."""
    environment = {**os.environ, **store_settings(certificate)}
    command = sink_command(certificate, has_digest=has_digest)
    if meter is not None:
        command += ["--meter", str(meter.interval_seconds)]
    with process(command, environment, rest=meter.listen if meter else None) as sink:
        scheme = "https" if certificate else "http"
        store_url = f"{scheme}://localhost:{sink['port']}"
        with process(simulator_command(store_url), environment) as service:
            yield Testbed(store_url, service, {**environment, **service_settings(service)})


@contextmanager
def simulating() -> Iterator[Testbed]:
    """Run a simulator with its built-in store."""
    with process(orchestrator("simulate", "--json"), os.environ) as service:
        yield Testbed(
            service["endpoint"], service, {**os.environ, **service_settings(service)}, has_sink=False
        )


def orchestrator(*arguments: str) -> list[str]:
    """The command line of this checkout's program."""
    return [sys.executable, "-m", "orchestrator", *arguments]


def sink_command(certificate: Certificate | None, *, has_digest: bool, host: str = "127.0.0.1") -> list[str]:
    """The command line of a store that is cheaper than any client."""
    command = [sys.executable, "-m", "benchmark.sink", "--host", host]
    if has_digest:
        command.append("--digest")
    if certificate:
        command += ["--certificate", str(certificate.path), "--key", str(certificate.key)]
    return command


def service_settings(service: Mapping[str, str]) -> dict[str, str]:
    """The environment that a simulator asks to be exported."""
    return {
        "ORCHESTRATOR_ENDPOINT": service["endpoint"],
        "HUAWEICLOUD_SDK_AK": service["ak"],
        "HUAWEICLOUD_SDK_SK": service["sk"],
        "HUAWEICLOUD_SDK_PROJECT_ID": service["project_id"],
    }


def store_settings(certificate: Certificate | None) -> dict[str, str]:
    """The environment that every client of the store is given."""
    settings = {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": "us-east-1",
    }
    if certificate:
        names = ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE")
        settings |= dict.fromkeys(names, str(certificate.path))
    return settings


def simulator_command(store_url: str) -> list[str]:
    """The command line of a simulator that keeps its objects at *store_url*."""
    return orchestrator("simulate", "--json", "--object-store", store_url, "--bucket", BUCKET)


@contextmanager
def process(
    command: Sequence[str],
    environment: Mapping[str, str],
    rest: Callable[[Iterator[str]], None] | None = None,
) -> Iterator[dict[str, str]]:
    """Run *command*, which prints one line of JSON once it serves, and end it afterwards.

    *rest* is given what else it prints, in a thread of its own.
    """
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=dict(environment), text=True) as child:
        try:
            line = child.stdout.readline() if child.stdout else ""
            if not line:
                raise RuntimeError(f"{command[0]} {command[1]} ended with {child.wait()} before it served")
            if rest is not None and child.stdout:
                threading.Thread(target=rest, args=(child.stdout,), daemon=True).start()
            yield json.loads(line)
        finally:
            child.kill()


def write_video(path: Path, size: int) -> None:
    """Write *size* bytes that begin as an MP4 does and that no compression makes smaller, unless they are there."""
    if path.exists() and path.stat().st_size == size:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(_MP4_START)
        for start in range(len(_MP4_START), size, _WRITE_BYTES):
            file.write(os.urandom(min(_WRITE_BYTES, size - start)))


def read_once(paths: Sequence[Path]) -> None:
    """Bring files into memory, so that no contender pays for the disk."""
    buffer = bytearray(_WRITE_BYTES)
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
