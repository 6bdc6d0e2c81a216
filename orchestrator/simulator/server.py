"""The simulator as one HTTP server on loopback."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import shutil
import ssl
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack
from email.utils import formatdate
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from orchestrator.simulator.api import TrainingJobApi
from orchestrator.simulator.auth import Credentials
from orchestrator.simulator.bucket import Bucket, Signer
from orchestrator.simulator.connections import STRANGER, Holder
from orchestrator.simulator.faults import Faults
from orchestrator.simulator.gate import Gate
from orchestrator.simulator.iam import IamApi
from orchestrator.simulator.inspection import InspectionApi, JobView, view
from orchestrator.simulator.links import Links
from orchestrator.simulator.objects import ObjectStore
from orchestrator.simulator.options import SimulatorOptions
from orchestrator.simulator.persistence import Records
from orchestrator.simulator.put import UsedUrls
from orchestrator.simulator.requests import StoreError
from orchestrator.simulator.review import Reviewer
from orchestrator.simulator.service import TrainingService
from orchestrator.simulator.stats import Stats
from orchestrator.simulator.store import StoreApi
from orchestrator.simulator.urls import StoreKeys, V2Signer

_MAX_API_BODY_BYTES = 12 << 20
_READ_BUFFER_BYTES = 1 << 19
_SHUTDOWN_SECONDS = 1.0


class _JunkFilter(logging.Filter):
    """A log filter that drops errors about invalid HTTP, sent by scanners and wrong clients, which get a 400."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True for a record to log."""
        return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


class Simulator:
    """A MetaStudio and its object store; an async context manager that listens inside the block.

    State is stored in *data*, or by default in a temporary folder that is deleted with the simulator.
    """

    def __init__(
        self,
        options: SimulatorOptions | None = None,
        *,
        data: Path | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Callable[[], float] = time.time,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        _check_loopback(host)
        self.options = options or SimulatorOptions()
        self.faults = Faults(self.options.fault_rates, self.options.seed)
        self.stats = Stats()
        self.endpoint = ""
        self._data = data
        self._host = host
        self._port = port
        self._clock = clock
        self._tls = tls
        self._holder = Holder(self.options.stall_seconds)
        self._runner: web.AppRunner | None = None
        self._exits = AsyncExitStack()

    async def start(self) -> None:
        """Load the state and listen; raise OSError if the port is taken or the object store cannot be used."""
        self.folder = self._data or Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="simulator-"))
        await asyncio.to_thread(self.folder.mkdir, parents=True, exist_ok=True)
        self._records = Records(self.folder / "state.db")
        await self._records.open()
        try:
            self._runner = await self._prepare()
            await self._listen(self._runner)
        except StoreError as error:
            await self.stop()
            raise OSError(f"the object store says {error.code}: {error.message.rstrip('.')}") from None
        except BaseException:
            await self.stop()
            raise

    async def _prepare(self) -> web.AppRunner:
        self.store = ObjectStore(self.folder, self._records, min_part_bytes=self.options.min_part_bytes)
        await self.store.open()
        bucket, signer = await self._open_bucket()
        self.service = TrainingService(
            self.options,
            records=self._records,
            bucket=bucket,
            links=Links(self.options, bucket=bucket, signer=signer, clock=self._clock),
            reviewer=Reviewer(self.options, bucket, self.faults),
            clock=self._clock,
        )
        used = UsedUrls(self._records)
        for part in (self.service, used):
            await part.open()
        application = web.Application(client_max_size=_MAX_API_BODY_BYTES)
        application.on_response_prepare.append(self._add_headers)
        application.add_routes(self._routes(used))
        # The server's own failures go to stderr if no handler is set.
        log = logging.getLogger(__name__)
        if not any(isinstance(known, _JunkFilter) for known in log.filters):
            log.addFilter(_JunkFilter())
        return web.AppRunner(
            application,
            logger=log,
            access_log=None,
            shutdown_timeout=_SHUTDOWN_SECONDS,
            read_bufsize=_READ_BUFFER_BYTES,
        )

    async def _open_bucket(self) -> tuple[Bucket, Signer]:
        """Return the bucket and its signer; the built-in store stays behind the endpoint in any case."""
        remote = self.options.object_store
        if remote is None:
            keys = StoreKeys(self.options.store_ak, self.options.store_sk)
            return self.store, V2Signer(keys, lambda: self.endpoint, self.options.bucket)
        # Its client is an extra.
        from orchestrator.simulator.s3 import S3Bucket, signer_of  # noqa: PLC0415

        bucket = S3Bucket(remote, scratch=self.folder / "incoming")
        return await self._exits.enter_async_context(bucket), signer_of(remote)

    def _routes(self, used: UsedUrls) -> list[web.RouteDef]:
        credentials = Credentials(
            ak=self.options.ak,
            sk=self.options.sk,
            security_token=self.options.security_token,
            static_token=self.options.token,
            token_lifetime_seconds=self.options.token_lifetime_seconds,
            max_clock_skew_seconds=self.options.max_clock_skew_seconds,
        )
        gate = Gate(
            self.options,
            credentials=credentials,
            faults=self.faults,
            stats=self.stats,
            holder=self._holder,
            clock=self._clock,
        )
        iam = IamApi(self.options, credentials=credentials, gate=gate, stats=self.stats, clock=self._clock)
        store = StoreApi(
            self.options,
            store=self.store,
            used=used,
            faults=self.faults,
            stats=self.stats,
            holder=self._holder,
            clock=self._clock,
        )
        inspection = InspectionApi(self.stats, self.faults, lambda: self.jobs)
        apis = (inspection, iam, TrainingJobApi(self.options, self.service, gate), store)
        return [route for api in apis for route in api.routes()]

    async def _listen(self, runner: web.AppRunner) -> None:
        await runner.setup()
        site = web.TCPSite(runner, self._host, self._port, ssl_context=self._tls)
        await site.start()
        host, port = runner.addresses[0][:2]
        shown = f"[{host}]" if ":" in host else host
        self.endpoint = f"{'https' if self._tls else 'http'}://{shown}:{port}"

    async def stop(self) -> None:
        """Abort exchanges in flight and close; acknowledged state stays in *data*."""
        self._holder.stop()
        # A cancelled simulator must still clean up; the runner's shutdown timeout bounds it.
        with anyio.CancelScope(shield=True):
            if self._runner is not None:
                await self._runner.cleanup()
                self._runner = None
            await self._exits.aclose()
            await self._records.close()
            if self._data is None:
                await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def _add_headers(self, _: web.Request, response: web.StreamResponse) -> None:
        if response.get(STRANGER):
            return
        response.headers["Server"] = "OBS"
        response.headers["Date"] = formatdate(self._clock(), usegmt=True)
        request_id = response.headers.pop("x-obs-request-id", None) or uuid.uuid4().hex.upper()
        if self.options.world.request_id == "present":
            response.headers["X-Request-Id"] = response.headers["x-obs-request-id"] = request_id

    @property
    def jobs(self) -> list[JobView]:
        """The existing jobs, oldest first, in their current state."""
        return [job for job in self.all_jobs if not job.is_deleted]

    @property
    def all_jobs(self) -> list[JobView]:
        """The existing and deleted jobs, oldest first."""
        now = self._clock()
        for job in self.service.jobs.values():
            job.advance(now, self.options.speed)
        return [view(job, self.store) for job in self.service.jobs.values()]


async def serve(
    options: SimulatorOptions,
    *,
    host: str = "127.0.0.1",
    port: int,
    data: Path | None,
    on_listening: Callable[[Simulator], None],
) -> None:
    """Run a simulator until cancelled; raise ValueError if *host* is not loopback, OSError for a taken port."""
    async with Simulator(options, data=data, host=host, port=port) as simulator:
        on_listening(simulator)
        await asyncio.Event().wait()


def _check_loopback(host: str) -> None:
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise ValueError(
            f"The simulator only listens on loopback addresses such as 127.0.0.1, not on {host!r}."
        )
