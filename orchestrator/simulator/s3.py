"""A bucket of a real S3-compatible server as the place where a simulator's files lie."""

import asyncio
import os
import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from yarl import URL

from orchestrator.simulator.bucket import Signer
from orchestrator.simulator.errors import StoreError
from orchestrator.simulator.objects import check_complete
from orchestrator.simulator.options import ObjectStoreOptions
from orchestrator.simulator.s3_client import S3Client
from orchestrator.simulator.s3_documents import (
    KeysPage,
    ListedPart,
    completion,
    keys_page_of,
    parts_page_of,
    upload_id_of,
    youngest_etags,
)
from orchestrator.simulator.sigv4 import SigningKeys, V4Signer
from orchestrator.simulator.urls import AWS_ACCESS_KEY, StoreKeys, V2Signer

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
                marker = _next_marker(marker, page.parts[-1].number)

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


def _next_marker(marker: int, last_number: int) -> int:
    """Return after which part the next page begins.

    A page may end between two PUTs of one part, and a marker skips both: so that part is asked for again.
    """
    return max(marker + 1, last_number - 1)


def _signing_keys(options: ObjectStoreOptions) -> SigningKeys:
    return SigningKeys(options.ak, options.sk, options.region)
