"""Answers from something in between, and answers that are far too long."""

import asyncio
import gzip

from aiohttp import web

STRANGER = web.ResponseKey("stranger", bool)
"""On an answer that neither the service nor the store gave: it gets none of their headers."""

_PORTAL = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in.</body></html>"
_PADDING_BYTES = 16 << 20


def intercepted_response(turn: int) -> web.Response:
    """Return a 200 of a portal or proxy: in turns HTML, JSON, and without a body."""
    body, content_type = (
        (_PORTAL, "text/html"),
        ('{"status": "ok"}', "application/json"),
        ("", "application/octet-stream"),
    )[turn % 3]
    response = web.Response(text=body, content_type=content_type)
    response[STRANGER] = True
    return response


def missing_page() -> web.Response:
    """Return a 404 of a portal or proxy, as HTML."""
    response = web.Response(status=404, text=_PORTAL, content_type="text/html")
    response[STRANGER] = True
    return response


async def oversized(body: bytes) -> bytes:
    """Return *body* with 16 MiB of spaces after it, compressed with gzip to some 16 KiB."""
    return await asyncio.to_thread(gzip.compress, body + b" " * _PADDING_BYTES)
