"""The interface between the service and its file storage, for every kind of storage."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Bucket(Protocol):
    """A store of objects and multipart uploads by key; every call may raise StoreError."""

    async def initiate(self, key: str) -> str:
        """Open a multipart upload and return its id."""

    async def parts(self, upload_id: str, key: str) -> dict[int, str]:
        """Return the ETags by part number of an open upload or raise StoreError NoSuchUpload."""

    async def complete(self, upload_id: str, key: str, count: int) -> None:
        """Join parts 1 to *count* into the object or raise StoreError; this closes the upload."""

    async def abort(self, upload_id: str, key: str) -> None:
        """Delete an upload with its parts; do nothing if it does not exist."""

    async def held(self, keys: Collection[str]) -> set[str]:
        """Return those of *keys* that have an object; *keys* share a common prefix."""

    async def delete(self, key: str) -> None:
        """Delete an object; do nothing if there is none."""

    def file(self, key: str) -> AbstractAsyncContextManager[Path]:
        """Provide the object as a read-only file for the block."""


@dataclass(frozen=True)
class Validity:
    """The validity of a URL: its start in seconds since the epoch, and its duration in seconds."""

    since: float
    seconds: float

    @property
    def until(self) -> int:
        """The epoch second at which the URL expires."""
        return int(self.since + self.seconds)


class Signer(Protocol):
    """A signer of presigned URLs of one bucket."""

    def sign(
        self,
        method: str,
        key: str,
        validity: Validity,
        *,
        content_type: str = "",
        parameters: Mapping[str, str] | None = None,
    ) -> str:
        """Return a URL for one method on one object; *parameters* are sub-resources such as partNumber."""
