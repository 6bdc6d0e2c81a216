"""What the service needs of the place where its files lie, whoever keeps them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Bucket(Protocol):
    """Objects and multipart uploads by key; every call may raise StoreError."""

    async def initiate(self, key: str) -> str:
        """Open a multipart upload and return its id."""

    async def parts(self, upload_id: str, key: str) -> dict[int, str]:
        """Return the ETags by part number of an open upload or raise StoreError NoSuchUpload."""

    async def complete(self, upload_id: str, key: str, count: int) -> None:
        """Join parts 1 to *count* into the object or raise StoreError; the upload is gone afterwards."""

    async def abort(self, upload_id: str, key: str) -> None:
        """Drop an upload with its parts; nothing happens when it is gone already."""

    async def held(self, keys: Collection[str]) -> set[str]:
        """Return those *keys*, which begin alike, of which there is an object."""

    async def delete(self, key: str) -> None:
        """Drop an object; nothing happens when there is none."""

    def file(self, key: str) -> AbstractAsyncContextManager[Path]:
        """Lend the object as a file that is only read, while inside."""


@dataclass(frozen=True)
class Validity:
    """From when and for how long a URL is good, in seconds since the epoch and seconds."""

    since: float
    seconds: float

    @property
    def until(self) -> int:
        """The second from which on it is expired."""
        return int(self.since + self.seconds)


class Signer(Protocol):
    """Presigns URLs of one bucket."""

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
