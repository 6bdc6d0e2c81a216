"""The object store over HTTP: presigned PUT, GET and HEAD (metastudio-protocol section 5)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from aiohttp import web

from orchestrator.simulator.connections import Holder
from orchestrator.simulator.faults import Faults
from orchestrator.simulator.gate import error_response
from orchestrator.simulator.objects import ObjectStore, shown_etag
from orchestrator.simulator.options import SimulatorOptions
from orchestrator.simulator.put import Pace, PutExchange, UsedUrls, perform, store_error_response
from orchestrator.simulator.reading import read_object
from orchestrator.simulator.requests import ApiError, StoreError
from orchestrator.simulator.stats import Stats
from orchestrator.simulator.urls import SignedTarget, StoreKeys, verify

_MAX_PUT_BYTES = 5 << 30


class StoreApi:
    """The store's HTTP handlers, which check signature, expiry and headers, then store or read."""

    def __init__(
        self,
        options: SimulatorOptions,
        *,
        store: ObjectStore,
        used: UsedUrls,
        faults: Faults,
        stats: Stats,
        holder: Holder,
        clock: Callable[[], float],
    ) -> None:
        self._options = options
        self._keys = StoreKeys(options.store_ak, options.store_sk)
        self._store = store
        self._used = used
        self._faults = faults
        self._stats = stats
        self._holder = holder
        self._clock = clock
        self._pace = Pace(options.store_bytes_per_second)

    def routes(self) -> list[web.RouteDef]:
        """Return the store's routes: every path that is not an API's."""
        return [web.route("*", "/{bucket}/{key:.+}", self._handle)]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.match_info["bucket"] in ("v1", "v3"):
            return error_response(
                ApiError(404, "APIGW.0101", "The API does not exist or has not been published")
            )
        operation = request.method.lower()
        self._stats.requests[operation] += 1
        try:
            return await self._method(request)(request)
        except StoreError as error:
            self._stats.refusals[f"{operation} {error.code}"] += 1
            return store_error_response(request, error)

    def _method(self, request: web.Request) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        if request.match_info["bucket"] != self._options.bucket:
            raise StoreError(404, "NoSuchBucket", "The specified bucket does not exist")
        if request.method == "PUT":
            return self._put
        if request.method in ("GET", "HEAD"):
            return self._read
        raise StoreError(405, "MethodNotAllowed", "The specified method is not allowed against this resource")

    async def _put(self, request: web.Request) -> web.StreamResponse:
        with self._stats.puts_in_flight.held():
            target = self._verified(request)
            self._stats.puts[target.label] += 1
            self._check_put(request, target)
            exchange = PutExchange(
                request,
                target,
                store=self._store,
                stats=self._stats,
                pace=self._pace,
                used=self._used if self._is_one_time else None,
                etags=self._options.world.etag,
            )
            fault = self._faults.draw("put")
            turn = self._faults.counts[fault] if fault else 0
            return await perform(fault, exchange, self._holder, turn=turn)

    @property
    def _is_one_time(self) -> bool:
        return self._options.world.put_again == "refused"

    def _check_put(self, request: web.Request, target: SignedTarget) -> None:
        if request.content_length is None:
            raise StoreError(411, "MissingContentLength", "You must provide the Content-Length HTTP header")
        if request.content_length > _MAX_PUT_BYTES:
            raise StoreError(
                400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed object size"
            )
        if self._is_one_time:
            self._used.check(target)
        if target.part_number is not None:
            self._store.open_upload(target.upload_id or "", target.key)

    def _verified(self, request: web.Request) -> SignedTarget:
        # Show responses contain GET URLs. Accepting them for HEAD is more lenient than S3, which requires a URL
        # signed for HEAD.
        others = ("GET",) if request.method == "HEAD" else ()
        target = verify(
            self._keys,
            self._options.bucket,
            request.method,
            request.raw_path,
            request.headers,
            methods=others,
        )
        if self._clock() > target.expires:
            raise StoreError(self._options.expired_status, "AccessDenied", "Request has expired")
        return target

    async def _read(self, request: web.Request) -> web.StreamResponse:
        target = self._verified(request)
        stored = self._store.objects.get(target.key)
        if stored is None:
            raise StoreError(404, "NoSuchKey", "The specified key does not exist")
        etag = shown_etag(stored.etag, self._options.world.etag)
        return await read_object(request, replace(stored, etag=etag), self._store.path(target.key))
