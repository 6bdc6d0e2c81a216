"""A bucket of a real S3-compatible server as the place where a simulator's files lie."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import aiohttp
from yarl import URL

from orchestrator.simulator.bucket import Signer
from orchestrator.simulator.objects import check_complete
from orchestrator.simulator.options import ObjectStoreOptions
from orchestrator.simulator.requests import StoreError
from orchestrator.simulator.s3_documents import (
    KeysPage,
    ListedPart,
    completion,
    error_of,
    keys_page_of,
    parts_page_of,
    upload_id_of,
    youngest_etags,
)
from orchestrator.simulator.sigv4 import (
    SigningKeys,
    Target,
    V4Signer,
    encoded_path,
    encoded_query,
    signed_headers,
)
from orchestrator.simulator.urls import AWS_ACCESS_KEY, StoreKeys, V2Signer

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


_MAX_PAGE_ENTRIES = 1000


def signer_of(options: ObjectStoreOptions) -> Signer:
    """Return the signer of the URLs that the server's clients get."""
    if options.signature == "v2":
        keys = StoreKeys(options.ak, options.sk)
        return V2Signer(keys, lambda: options.url, options.bucket, access_key=AWS_ACCESS_KEY)
    host = URL(options.url).host_port_subcomponent or ""
    return V4Signer(_signing_keys(options), url=options.url, host=host, bucket=options.bucket)


class S3Bucket:
    """An existing bucket; an async context manager that is connected while inside."""

    def __init__(
        self,
        options: ObjectStoreOptions,
        scratch: Path,
        *,
        clock: Callable[[], float] = time.time,
        page_entries: int = _MAX_PAGE_ENTRIES,
    ) -> None:
        """Lend objects as files in the folder *scratch*, and list at most *page_entries* at once."""
        self._options = options
        self._client = S3Client(options.url, options.bucket, _signing_keys(options), clock=clock)
        self._scratch = scratch
        self._page_entries = page_entries

    async def __aenter__(self) -> Self:
        """Connect; OSError when the server, the keys or the bucket are no good."""
        await self._client.__aenter__()
        try:
            await self._client.call("GET", query={"list-type": "2", "max-keys": "1"})
        except StoreError as error:
            await self._client.__aexit__()
            raise OSError(
                f"the bucket {self._options.bucket!r} at {self._options.url} cannot be used:"
                f" {error.message.rstrip('.')} ({error.code})"
            ) from None
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.__aexit__()

    async def initiate(self, key: str) -> str:
        """Open a multipart upload and return its id."""
        return upload_id_of(await self._client.call("POST", key, {"uploads": ""}))

    async def parts(self, upload_id: str, key: str) -> dict[int, str]:
        """Return the ETags by part number of an open upload or raise StoreError NoSuchUpload."""
        return youngest_etags([part async for part in self.listed(upload_id, key)])

    async def listed(self, upload_id: str, key: str) -> AsyncIterator[ListedPart]:
        """Yield every line of the list, over all its pages; a part may have several."""
        marker, is_more = 0, True
        while is_more:
            query = {"uploadId": upload_id, "max-parts": str(self._page_entries)}
            page = parts_page_of(
                await self._client.call("GET", key, {**query, "part-number-marker": str(marker)})
            )
            for part in page.parts:
                yield part
            is_more = page.is_truncated and bool(page.parts)
            if is_more:
                # A page may end between two PUTs of one part, and a marker skips both: that part is asked for again.
                marker = max(marker + 1, page.parts[-1].number - 1)

    async def complete(self, upload_id: str, key: str, count: int) -> None:
        """Join parts 1 to *count* into the object or raise StoreError; the upload is gone afterwards."""
        held = await self.parts(upload_id, key)
        check_complete(held, count)
        body = completion({number: held[number] for number in range(1, count + 1)})
        await self._client.call("POST", key, {"uploadId": upload_id}, body)

    async def abort(self, upload_id: str, key: str) -> None:
        """Drop an upload with its parts; nothing happens when it is gone already."""
        await self._delete(key, {"uploadId": upload_id})

    async def delete(self, key: str) -> None:
        """Drop an object; nothing happens when there is none."""
        await self._delete(key, {})

    async def _delete(self, key: str, query: Mapping[str, str]) -> None:
        try:
            await self._client.call("DELETE", key, query)
        except StoreError as error:
            if error.status != 404:
                raise

    async def held(self, keys: Collection[str]) -> set[str]:
        """Return those *keys* of which there is an object.

        One list of all that begins like them takes a tenth of what a request for each of a job's takes.
        """
        if not keys:
            return set()
        query = {
            "list-type": "2",
            "prefix": os.path.commonprefix([*keys]),  # noqa: RUF071 - keys are no paths
            "max-keys": str(self._page_entries),
        }
        found: set[str] = set()
        page: KeysPage | None = None
        while page is None or page.next_page:
            place = {"continuation-token": page.next_page} if page else {}
            page = keys_page_of(await self._client.call("GET", query={**query, **place}))
            found.update(page.keys)
        return found.intersection(keys)

    @asynccontextmanager
    async def file(self, key: str) -> AsyncIterator[Path]:
        """Lend a copy of the object."""
        path = self._scratch / uuid.uuid4().hex
        try:
            await self._client.download(key, path)
            yield path
        finally:
            await asyncio.to_thread(path.unlink, missing_ok=True)


def _signing_keys(options: ObjectStoreOptions) -> SigningKeys:
    return SigningKeys(options.ak, options.sk, options.region)
