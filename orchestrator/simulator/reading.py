"""Reads of stored objects, whole or as a range."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiohttp import web

from orchestrator.simulator.objects import StoredObject
from orchestrator.simulator.requests import StoreError

_READ_BYTES = 1 << 20


async def read_object(request: web.Request, stored: StoredObject, path: Path) -> web.StreamResponse:
    """Respond to GET and HEAD with length, ETag and, for GET, the requested bytes."""
    start, length = _range(request, stored.size)
    response = web.StreamResponse(
        status=200 if length == stored.size else 206, headers={"ETag": f'"{stored.etag}"'}
    )
    response.content_type = "application/octet-stream"
    response.content_length = length
    response.headers["Accept-Ranges"] = "bytes"
    if response.status == 206:
        response.headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{stored.size}"
    await response.prepare(request)
    if request.method == "GET":
        await _send(response, path, start, length)
    await response.write_eof()
    return response


def _range(request: web.Request, size: int) -> tuple[int, int]:
    try:
        start, stop, _ = request.http_range.indices(size)
    except ValueError:
        start, stop = size, size
    # An empty object is always read whole: it has no range that could be invalid.
    if (start >= stop) and size:
        raise StoreError(416, "InvalidRange", "The requested range cannot be satisfied")
    return start, stop - start


async def _send(response: web.StreamResponse, path: Path, start: int, length: int) -> None:
    file = await asyncio.to_thread(path.open, "rb")
    try:
        await asyncio.to_thread(file.seek, start)
        while length:
            chunk = await asyncio.to_thread(file.read, min(length, _READ_BYTES))
            await response.write(chunk)
            length -= len(chunk)
    finally:
        await asyncio.to_thread(file.close)
