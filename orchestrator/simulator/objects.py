"""Storage of objects and parts on disk, with OBS's rules for multipart uploads (metastudio-protocol section 5.2)."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Container
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from orchestrator.simulator.persistence import Document, Records
from orchestrator.simulator.requests import StoreError

_WRITE_BYTES = 1 << 20
_COPY_BYTES = 1 << 30


@dataclass(frozen=True)
class Received:
    """A complete body, stored on disk until it is moved to its final place."""

    path: Path
    etag: str
    size: int


@dataclass
class Upload:
    """An open multipart upload."""

    upload_id: str
    key: str
    parts: dict[int, tuple[str, int]] = field(default_factory=dict)
    """ETag and bytes by part number."""


@dataclass(frozen=True)
class StoredObject:
    """A complete, readable object."""

    key: str
    etag: str
    size: int


class Receiver:
    """A writer that stores and hashes a body in worker threads, about one mebibyte per call."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.taken = 0
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._digest = hashlib.md5(usedforsecurity=False)
        self._file: BinaryIO | None = None

    async def write(self, chunk: bytes) -> None:
        """Add a chunk of the body."""
        self.taken += len(chunk)
        self._pending.append(chunk)
        self._pending_bytes += len(chunk)
        if self._pending_bytes >= _WRITE_BYTES:
            await self._flush()

    async def finish(self) -> Received:
        """Write the rest and return the complete body."""
        await self._flush()
        await self._close()
        return Received(self.path, self._digest.hexdigest(), self.size)

    async def discard(self) -> None:
        """Delete an incomplete body."""
        await self._close()
        await asyncio.to_thread(self.path.unlink, missing_ok=True)

    async def _flush(self) -> None:
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        await asyncio.to_thread(self._append, pending)

    def _append(self, pending: list[bytes]) -> None:
        if self._file is None:
            # `write` has already collected the chunks; another buffer would copy them once more.
            self._file = self.path.open("wb", buffering=0)
        for chunk in pending:
            self._file.write(chunk)
            self._digest.update(chunk)
            self.size += len(chunk)

    async def _close(self) -> None:
        if self._file is not None:
            await asyncio.to_thread(self._file.close)


class ObjectStore:
    """A bucket in a folder, with the subfolders objects/, uploads/ID/NUMBER and incoming/."""

    def __init__(self, folder: Path, records: Records, *, min_part_bytes: int) -> None:
        self.uploads: dict[str, Upload] = {}
        self.objects: dict[str, StoredObject] = {}
        self._folder = folder
        self._records = records
        self._min_part_bytes = min_part_bytes
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def open(self) -> None:
        """Create the folders and load the state of an earlier process."""
        await asyncio.to_thread(self._make_folders)
        for key, document in await self._records.load("object"):
            self.objects[key] = StoredObject(**document)
        for upload_id, document in await self._records.load("upload"):
            self.uploads[upload_id] = Upload(upload_id, document["key"])
        for name, document in await self._records.load("part"):
            upload_id, _, number = name.partition("/")
            if upload_id in self.uploads:
                self.uploads[upload_id].parts[int(number)] = (document["etag"], document["size"])

    def _make_folders(self) -> None:
        # Bodies that were in transfer when an earlier process died: no client got a response for them.
        shutil.rmtree(self._folder / "incoming", ignore_errors=True)
        for name in ("incoming", "objects", "uploads"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)

    def path(self, key: str) -> Path:
        """Return the path of the object with that key, whether it exists or not."""
        # Keys contain slashes: quoted file names need no folders to be created and removed with the objects.
        return self._folder / "objects" / quote(key, safe="")

    def receiver(self) -> Receiver:
        """Return a receiver for a new body."""
        return Receiver(self._folder / "incoming" / uuid.uuid4().hex)

    async def initiate(self, key: str) -> str:
        """Open a multipart upload and return its id of 32 characters."""
        upload = Upload(uuid.uuid4().hex.upper(), key)
        await asyncio.to_thread((self._folder / "uploads" / upload.upload_id).mkdir)
        await self._records.put("upload", upload.upload_id, {"key": key})
        self.uploads[upload.upload_id] = upload
        return upload.upload_id

    def open_upload(self, upload_id: str, key: str) -> Upload:
        """Return the open upload of that key or raise StoreError NoSuchUpload."""
        upload = self.uploads.get(upload_id)
        if upload is None or upload.key != key:
            raise StoreError(404, "NoSuchUpload", "The specified multipart upload does not exist")
        return upload

    async def parts(self, upload_id: str, key: str) -> dict[int, str]:
        """Return the ETags by part number of an open upload or raise StoreError NoSuchUpload."""
        return {number: etag for number, (etag, _) in self.open_upload(upload_id, key).parts.items()}

    async def keep_part(self, upload_id: str, key: str, number: int, received: Received) -> None:
        """Store a part; the last write of a number wins."""
        async with self._locks[upload_id]:
            upload = self.open_upload(upload_id, key)
            # First the file, then the records, then memory: a kill only loses writes that no client got a response
            # for.
            await asyncio.to_thread(received.path.replace, self._part_path(upload_id, number))
            document: Document = {"etag": received.etag, "size": received.size}
            await self._records.put("part", f"{upload_id}/{number}", document)
            upload.parts[number] = (received.etag, received.size)

    async def keep_object(self, key: str, received: Received) -> None:
        """Store a whole object; the last write wins."""
        async with self._locks[key]:
            await asyncio.to_thread(received.path.replace, self.path(key))
            await self._record_object(StoredObject(key, received.etag, received.size))

    async def complete(self, upload_id: str, key: str, count: int) -> None:
        """Join parts 1 to *count* into the object or raise StoreError; this closes the upload."""
        async with self._locks[upload_id]:
            upload = self.open_upload(upload_id, key)
            check_complete(upload.parts, count)
            # The last part may have any size.
            if any(upload.parts[number][1] < self._min_part_bytes for number in range(1, count)):
                raise StoreError(
                    400,
                    "EntityTooSmall",
                    "Your proposed upload is smaller than the minimum allowed object size",
                )
            await asyncio.to_thread(self._join, upload, count)
            parts = [upload.parts[number] for number in range(1, count + 1)]
            stored = StoredObject(
                upload.key, multipart_etag([etag for etag, _ in parts]), sum(size for _, size in parts)
            )
            # A kill between the two leaves the upload open, and completing it again creates the same object. In the
            # other order, a kill would leave bytes without a record.
            await self._record_object(stored)
            await self._forget_upload(upload_id)

    def _join(self, upload: Upload, count: int) -> None:
        joined = self._folder / "incoming" / upload.upload_id
        with joined.open("wb", buffering=0) as target:
            for number in range(1, count + 1):
                with self._part_path(upload.upload_id, number).open("rb", buffering=0) as source:
                    _append(source, target)
        joined.replace(self.path(upload.key))

    async def abort(self, upload_id: str, key: str) -> None:
        """Delete an upload with its parts; do nothing if it does not exist."""
        async with self._locks[upload_id]:
            upload = self.uploads.get(upload_id)
            if upload is not None and upload.key == key:
                await self._forget_upload(upload_id)

    async def held(self, keys: Collection[str]) -> set[str]:
        """Return those of *keys* that have an object."""
        return {key for key in keys if key in self.objects}

    @contextlib.asynccontextmanager
    async def file(self, key: str) -> AsyncIterator[Path]:
        """Provide the object's own file."""
        yield self.path(key)

    async def delete(self, key: str) -> None:
        """Delete an object; do nothing if there is none."""
        async with self._locks[key]:
            if self.objects.pop(key, None) is not None:
                await self._records.delete("object", key)
                with contextlib.suppress(FileNotFoundError):
                    await asyncio.to_thread(self.path(key).unlink)

    def _part_path(self, upload_id: str, number: int) -> Path:
        return self._folder / "uploads" / upload_id / str(number)

    async def _record_object(self, stored: StoredObject) -> None:
        document: Document = {"key": stored.key, "etag": stored.etag, "size": stored.size}
        await self._records.put("object", stored.key, document)
        self.objects[stored.key] = stored

    async def _forget_upload(self, upload_id: str) -> None:
        upload = self.uploads.pop(upload_id)
        # Tasks that wait for this lock already have a reference to it, and then find that the upload no longer
        # exists.
        self._locks.pop(upload_id, None)
        await self._records.delete("upload", upload_id)
        for number in upload.parts:
            await self._records.delete("part", f"{upload_id}/{number}")
        await asyncio.to_thread(shutil.rmtree, self._folder / "uploads" / upload_id, ignore_errors=True)


def _append(source: FileIO, target: FileIO) -> None:
    """Copy inside the kernel, which takes half the time, or copy the rest in Python if it fails."""
    try:
        while os.copy_file_range(source.fileno(), target.fileno(), _COPY_BYTES):
            pass
    except (AttributeError, OSError):
        shutil.copyfileobj(source, target, _WRITE_BYTES)


def multipart_etag(part_etags: list[str]) -> str:
    """Return md5hex-N: the MD5 of the parts' MD5s, and the number of parts."""
    digests = b"".join(bytes.fromhex(etag) for etag in part_etags)
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(part_etags)}"


def shown_etag(etag: str, kind: str) -> str:
    """Return *etag* as the store shows it, for its *kind* of ETags: "opaque" is not an MD5."""
    return hashlib.sha1(etag.encode(), usedforsecurity=False).hexdigest() if kind == "opaque" else etag


def check_complete(numbers: Container[int], count: int) -> None:
    """Raise StoreError unless all part numbers from 1 to *count* are in *numbers*."""
    missing = [number for number in range(1, count + 1) if number not in numbers]
    if missing:
        raise StoreError(
            400, "InvalidPart", f"{len(missing)} of {count} parts are missing, the first is {missing[0]}"
        )
