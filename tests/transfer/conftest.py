"""Films to send, a session, and senders with short patience."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import ssl
import stat
import subprocess
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from blockbuster import blockbuster_ctx

from orchestrator.domain.assets import Asset, AssetKind, Fingerprint
from orchestrator.domain.errors import OrchestratorError
from orchestrator.network.http_session import open_http_session
from orchestrator.network.tls import TransferLoop
from orchestrator.transfer.hashing import HASHLIB, best_md5
from orchestrator.transfer.reader import SegmentReader
from orchestrator.transfer.sender import SegmentSender
from tests.transfer.store import SECRET

MakeAsset = Callable[..., Asset]
MakeSender = Callable[..., SegmentSender]
_RANDOM_BYTES = 6 * 1024 * 1024
Failure = Callable[[Awaitable[object]], Awaitable[OrchestratorError]]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Everything here runs in the loop of a run."""
    return {"transfer": TransferLoop}


@pytest.fixture(autouse=True)
def _blocking_calls_of_ours_are_errors() -> Iterator[None]:
    with blockbuster_ctx("orchestrator.transfer") as blockbuster:
        # On a socket that does not block it waits for nothing but the disk, and the outlet looks there first.
        blockbuster.functions["os.sendfile"].can_block_in("transfer/reader.py", "send")
        yield


def content_of(asset: Asset) -> bytes:
    """The file's bytes now."""
    return Path(asset.path).read_bytes()


def ignore(_count: int) -> None:
    """Take no notice of progress."""


def asset_at(path: Path, kind: AssetKind = AssetKind.TRAINING_VIDEO) -> Asset:
    """The asset a plan would hold for the file as it is now."""
    status = path.stat()
    return Asset(kind, str(path), Fingerprint.of(status))


@pytest.fixture
def make_asset(tmp_path: Path) -> MakeAsset:
    """Write a file of so many bytes, random but for the tail of large ones, and plan it."""

    def make(size: int, kind: AssetKind = AssetKind.TRAINING_VIDEO) -> Asset:
        path = tmp_path / f"film-{size}.mp4"
        path.write_bytes(random.Random(size).randbytes(min(size, _RANDOM_BYTES)))
        os.truncate(path, size)
        return asset_at(path, kind)

    return make


@pytest.fixture
def readers() -> Iterator[ThreadPoolExecutor]:
    """The reader threads of a run."""
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """The session of a run, impatient when connecting."""
    async with open_http_session(connect_timeout=0.4) as opened:
        yield opened


@pytest.fixture
def warnings_heard() -> list[str]:
    """What the senders of a test warned of."""
    return []


class Body(StrEnum):
    """The ways of a segment's bytes, by where they come from and what they are written to."""

    SENDFILE = "sendfile"
    COLD_SENDFILE = "sendfile-of-a-cold-file"
    COPY = "copy"
    COPY_UNTOLD = "copy-of-a-file-that-may-be-cold"
    HASHED = "hashed-and-sendfile"
    HASHED_COPY = "hashed-and-copy"
    LONE_HASHED_SENDFILE = "hashed-one-by-one-and-sendfile"
    LONE_HASHED_COPY = "hashed-one-by-one-and-copy"

    @property
    def is_hashed(self) -> bool:
        """True for the ways of a segment whose MD5 is computed."""
        return self in {Body.HASHED, Body.HASHED_COPY} or self.is_hashed_alone

    @property
    def is_hashed_alone(self) -> bool:
        """True for the ways where there is no lock-step."""
        return self in {Body.LONE_HASHED_SENDFILE, Body.LONE_HASHED_COPY}

    @property
    def is_copied(self) -> bool:
        """True for the ways through the transport that a plain connection could do without."""
        return self in {Body.COPY, Body.HASHED_COPY, Body.LONE_HASHED_COPY}


@pytest.fixture
def body() -> Body:
    """The way that is usual for a plain connection; EVERY_BODY goes through all of them."""
    return Body.HASHED


EVERY_BODY = pytest.mark.parametrize("body", list(Body), ids=str)


@pytest.fixture
def _disk(body: Body, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system say, of what is in memory, what it would say on such a disk."""
    reason = {Body.COLD_SENDFILE: errno.EAGAIN, Body.COPY_UNTOLD: errno.EOPNOTSUPP}.get(body)
    really_read = os.preadv

    def read(descriptor: int, buffers: list[memoryview], offset: int, flags: int = 0) -> int:
        if flags and reason is not None:
            raise OSError(reason, os.strerror(reason))
        return really_read(descriptor, buffers, offset, flags)

    monkeypatch.setattr(os, "preadv", read)


@pytest.fixture
def _md5(body: Body, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash in lock-step, or one by one, whatever this machine has."""
    lock_step = replace(best_md5(), lanes=max(best_md5().lanes, 2))
    found = HASHLIB if body.is_hashed_alone else lock_step
    monkeypatch.setattr("orchestrator.transfer.sender.best_md5", lambda: found)


@pytest.fixture
def _kernel(body: Body, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files be such that the kernel cannot copy them to a socket, for the ways through the transport."""
    if body.is_copied:
        monkeypatch.setattr(SegmentReader, "can_send", False)


@pytest.fixture
def make_sender(
    session: aiohttp.ClientSession,
    readers: ThreadPoolExecutor,
    warnings_heard: list[str],
    body: Body,
    _disk: None,
    _md5: None,
    _kernel: None,
) -> MakeSender:
    """Make a sender, verifying where the body is hashed and with an idle timeout of 0.3 s unless told otherwise."""

    def make(**settings: Any) -> SegmentSender:
        defaults = {
            "readers": readers,
            "idle_timeout": 0.3,
            "is_verifying": body.is_hashed,
            "on_warning": warnings_heard.append,
        }
        return SegmentSender(settings.pop("session", session), **{**defaults, **settings})

    return make


@pytest.fixture
def failure() -> Failure:
    """Await what must fail with one of our errors, and see that no text of it shows a secret."""

    async def fail(attempt: Awaitable[object]) -> OrchestratorError:
        with pytest.raises(OrchestratorError) as caught:
            await attempt
        error = caught.value
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=False).format())
        for text in (shown, str(error), repr(error), repr(error.args), repr(vars(error))):
            assert SECRET not in text
            assert "Signature=" not in text
        assert error.__cause__ is None
        assert error.__suppress_context__ or error.__context__ is None
        return error

    return fail


class Leaks:
    """Counts what this process keeps open."""

    def begin(self) -> None:
        """Count sockets from here on."""
        self._sockets = self._count_sockets()

    def new_sockets(self) -> int:
        """How many more sockets are open than at the beginning."""
        return self._count_sockets() - self._sockets

    def open_files(self, asset: Asset) -> int:
        """How many descriptors an asset's file has, renamed or deleted though it may be."""
        return sum(status.st_ino == asset.fingerprint.inode for status in self._descriptors())

    def _count_sockets(self) -> int:
        return sum(stat.S_ISSOCK(status.st_mode) for status in self._descriptors())

    def _descriptors(self) -> Iterator[os.stat_result]:
        for link in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                yield os.fstat(int(link.name))


@pytest.fixture
def leaks() -> Leaks:
    """A fresh count."""
    return Leaks()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A throw-away certificate for localhost and store.test that is its own authority, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    paths = folder / "certificate.pem", folder / "key.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        f"-subj /CN=localhost -addext subjectAltName=DNS:localhost,DNS:store.test -out {paths[0]} -keyout {paths[1]}"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    return paths


@pytest.fixture
def server_tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    """TLS for a store."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


@pytest.fixture
def client_tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    """TLS for a client that trusts the throw-away authority."""
    return ssl.create_default_context(cafile=str(certificate[0]))
