"""A bucket of a real S3-compatible server as a simulator's store; the extra object-store brings the client."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from yarl import URL

from orchestrator.simulator.bucket import Signer
from orchestrator.simulator.objects import check_complete
from orchestrator.simulator.options import ObjectStoreOptions
from orchestrator.simulator.requests import StoreError
from orchestrator.simulator.sigv4 import SigningKeys, V4Signer
from orchestrator.simulator.urls import AWS_ACCESS_KEY, StoreKeys, V2Signer

_CONNECT_SECONDS = 10.0
#: A completion may have to copy every part before it answers.
_ANSWER_SECONDS = 300.0
_COPY_BYTES = 1 << 20
_MAX_PAGE_ENTRIES = 1000


class ListedPart(NamedTuple):
    """One line of a list of parts."""

    number: int
    etag: str
    modified: datetime


def latest_etags(parts: Iterable[ListedPart]) -> dict[int, str]:
    """Return the ETag of each part number.

    SeaweedFS lists a part once for each PUT, in no order: the youngest counts, of one second the last listed.
    """
    youngest: dict[int, ListedPart] = {}
    for part in parts:
        if part.number not in youngest or part.modified >= youngest[part.number].modified:
            youngest[part.number] = part
    return {number: part.etag for number, part in youngest.items()}


def signer_of(options: ObjectStoreOptions) -> Signer:
    """Return the signer of the URLs that the server's clients get."""
    if options.signature == "v2":
        keys = StoreKeys(options.ak, options.sk)
        return V2Signer(keys, lambda: options.url, options.bucket, access_key=AWS_ACCESS_KEY)
    host = URL(options.url).host_port_subcomponent or ""
    keys_of_region = SigningKeys(options.ak, options.sk, options.region)
    return V4Signer(keys_of_region, url=options.url, host=host, bucket=options.bucket)


class S3Bucket:
    """An existing bucket; an async context manager that is connected while inside.

    Objects are lent as files in the folder *scratch*. Lists have at most *page_entries* lines each.
    """

    def __init__(
        self, options: ObjectStoreOptions, scratch: Path, *, page_entries: int = _MAX_PAGE_ENTRIES
    ) -> None:
        self._options = options
        self._scratch = scratch
        self._page_entries = page_entries
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Connect; OSError when the server, the keys or the bucket are no good."""
        try:
            with self._translated():
                self._client = await self._exits.enter_async_context(self._connection())
                await self._client.list_objects_v2(Bucket=self._options.bucket, MaxKeys=1)
        except StoreError as error:
            await self._exits.aclose()
            raise OSError(
                f"the bucket {self._options.bucket!r} at {self._options.url} cannot be used:"
                f" {error.message.rstrip('.')} ({error.code})"
            ) from None
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exits.aclose()

    async def initiate(self, key: str) -> str:
        """Open a multipart upload and return its id."""
        answer = await self._call("create_multipart_upload", Key=key)
        return str(answer["UploadId"])

    async def parts(self, upload_id: str, key: str) -> dict[int, str]:
        """Return the ETags by part number of an open upload or raise StoreError NoSuchUpload."""
        return latest_etags([part async for part in self.listed(upload_id, key)])

    async def listed(self, upload_id: str, key: str) -> AsyncIterator[ListedPart]:
        """Yield every line of the list, over all its pages; a part may have several."""
        marker, is_more = 0, True
        while is_more:
            place = {"MaxParts": self._page_entries, "PartNumberMarker": marker}
            page = await self._call("list_parts", Key=key, UploadId=upload_id, **place)
            parts = [
                ListedPart(part["PartNumber"], part["ETag"].strip('"').lower(), part["LastModified"])
                for part in page.get("Parts", ())
            ]
            for part in parts:
                yield part
            is_more = bool(page.get("IsTruncated")) and bool(parts)
            if is_more:
                # A page may end between two PUTs of one part, and a marker skips both: that part is asked for again.
                marker = max(marker + 1, parts[-1].number - 1)

    async def complete(self, upload_id: str, key: str, count: int) -> None:
        """Join parts 1 to *count* into the object or raise StoreError; the upload no longer exists afterwards."""
        held = await self.parts(upload_id, key)
        check_complete(held, count)
        parts = [{"PartNumber": number, "ETag": f'"{held[number]}"'} for number in range(1, count + 1)]
        await self._call(
            "complete_multipart_upload", Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts}
        )

    async def abort(self, upload_id: str, key: str) -> None:
        """Drop an upload with its parts; nothing happens when it no longer exists."""
        await self._drop("abort_multipart_upload", Key=key, UploadId=upload_id)

    async def delete(self, key: str) -> None:
        """Drop an object; nothing happens when there is none."""
        await self._drop("delete_object", Key=key)

    async def held(self, keys: Collection[str]) -> set[str]:
        """Return those *keys* of which there is an object.

        One list by common prefix is ten times faster than one request per key.
        """
        if not keys:
            return set()
        prefix = os.path.commonprefix([*keys])  # noqa: RUF071 - keys are no paths
        found: set[str] = set()
        place: dict[str, str] = {}
        while True:
            page = await self._call("list_objects_v2", Prefix=prefix, MaxKeys=self._page_entries, **place)
            found.update(entry["Key"] for entry in page.get("Contents", ()))
            if not page.get("IsTruncated"):
                return found.intersection(keys)
            place = {"ContinuationToken": page["NextContinuationToken"]}

    @asynccontextmanager
    async def file(self, key: str) -> AsyncIterator[Path]:
        """Lend a copy of the object."""
        path = self._scratch / uuid.uuid4().hex
        try:
            with self._translated():
                answer = await self._client.get_object(Bucket=self._options.bucket, Key=key)
                with await asyncio.to_thread(path.open, "wb") as file:
                    async for chunk in answer["Body"].iter_chunks(_COPY_BYTES):
                        await asyncio.to_thread(file.write, chunk)
            yield path
        finally:
            await asyncio.to_thread(path.unlink, missing_ok=True)

    async def _drop(self, operation: str, **arguments: Any) -> None:
        try:
            await self._call(operation, **arguments)
        except StoreError as error:
            if error.status != 404:
                raise

    async def _call(self, operation: str, **arguments: Any) -> Mapping[str, Any]:
        with self._translated():
            answer: Mapping[str, Any] = await getattr(self._client, operation)(
                Bucket=self._options.bucket, **arguments
            )
            return answer

    def _connection(self) -> Any:
        return get_session().create_client(
            "s3",
            endpoint_url=self._options.url,
            region_name=self._options.region,
            aws_access_key_id=self._options.ak,
            aws_secret_access_key=self._options.sk,
            config=AioConfig(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                connect_timeout=_CONNECT_SECONDS,
                read_timeout=_ANSWER_SECONDS,
                # What a store answers is passed on: its clients are there to be tested.
                retries={"total_max_attempts": 1},
                # The store may be an old one, and is on this machine or beside it.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                proxies={},
            ),
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Raise StoreError for what the client raises in the block."""
        try:
            yield
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            details = error.response["Error"]
            raise StoreError(
                status if status >= 400 else 500,
                details.get("Code") or "InternalError",
                details.get("Message") or "the object store refuses without saying why",
            ) from None
        except ResponseParserError:
            raise StoreError(502, "MalformedXML", "the answer of the object store is no XML") from None
        except (BotoCoreError, aiohttp.ClientError, TimeoutError):
            host = URL(self._options.url).host_port_subcomponent
            message = f"the object store at {host} cannot be reached"
            raise StoreError(503, "ServiceUnavailable", message) from None
