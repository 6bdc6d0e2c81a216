"""Signed requests to one bucket of an S3-compatible server."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import aiohttp
from yarl import URL

from orchestrator.simulator.errors import StoreError
from orchestrator.simulator.s3_documents import error_of
from orchestrator.simulator.sigv4 import SigningKeys, Target, encoded_path, encoded_query, signed_headers

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 300.0
"""A completion may have to copy every part before it answers."""
_COPY_BYTES = 1 << 20


class S3Client:
    """Calls path-style URLs with V4 signatures in the headers; an async context manager."""

    def __init__(
        self, url: str, bucket: str, keys: SigningKeys, *, clock: Callable[[], float] = time.time
    ) -> None:
        """Reach *bucket* at *url*, a scheme with a host; *clock* must be right, for the server compares."""
        self._url = url
        self._host = URL(url).host_port_subcomponent or ""
        self._bucket = bucket
        self._keys = keys
        self._clock = clock

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_ANSWER_SECONDS)
        self._session = aiohttp.ClientSession(timeout=timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def call(
        self, method: str, key: str = "", query: Mapping[str, str] | None = None, body: bytes = b""
    ) -> bytes:
        """Return the body of a good answer or raise StoreError; without a *key*, about the bucket."""
        async with self._answer(method, key, query or {}, body) as answer:
            content = await answer.read()
            error = error_of(answer.status, content)
        if error is not None:
            raise error
        return content

    async def download(self, key: str, path: Path) -> None:
        """Write the object to *path* or raise StoreError."""
        async with self._answer("GET", key, {}, b"") as answer:
            if answer.status != 200:
                raise error_of(answer.status, await answer.read()) or _unreachable(self._host)
            file = await asyncio.to_thread(path.open, "wb")
            try:
                async for chunk in answer.content.iter_chunked(_COPY_BYTES):
                    await asyncio.to_thread(file.write, chunk)
            finally:
                await asyncio.to_thread(file.close)

    @asynccontextmanager
    async def _answer(
        self, method: str, key: str, query: Mapping[str, str], body: bytes
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        target = Target(method, self._host, encoded_path(self._bucket, key), encoded_query(query))
        headers = signed_headers(self._keys, target, body, self._clock())
        url = URL(f"{self._url}{target.path}?{target.query}", encoded=True)
        try:
            async with self._session.request(
                method, url, headers=headers, data=body or None, allow_redirects=False
            ) as answer:
                yield answer
        except (aiohttp.ClientError, TimeoutError):
            raise _unreachable(self._host) from None


def _unreachable(host: str) -> StoreError:
    return StoreError(503, "ServiceUnavailable", f"the object store at {host} cannot be reached")
