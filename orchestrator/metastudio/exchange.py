"""One request to the service and its answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp
from yarl import URL

from orchestrator.domain.errors import InterruptedTransferError
from orchestrator.domain.foreign import plain_name, repaired_json
from orchestrator.network.errors import CONNECTION_ERRORS, connection_error
from orchestrator.network.session import forget_addresses

#: Far more than any answer of the service, counted after inflating (design section 2.1).
MAX_ANSWER_BYTES = 8 * 1024**2
#: More than any refusal: its status decides, and what comes after these bytes is not read.
MAX_REFUSAL_BYTES = 256 * 1024
#: Values and members of a JSON text, each of which takes far more memory than its bytes.
MAX_JSON_ITEMS = 200_000


class OversizedAnswerError(InterruptedTransferError):
    """The answer goes on past every bound; the request may have been carried out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back; headers and body may hold secrets and stay out of its text form."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def request_id(self) -> str | None:
        """The service's id for this call, for its support."""
        return plain_name(self.headers.get("X-Request-Id"))

    def json(self) -> dict[str, object]:
        """The body as a JSON object; raises InterruptedTransferError when it is none."""
        decoded = read_object(self.body)
        if decoded is None:
            raise InterruptedTransferError(
                "the service's answer broke off, is not JSON, or has no end to its items",
                request_id=self.request_id,
                status=self.status,
            )
        return decoded


def read_object(body: bytes) -> dict[str, object] | None:
    """Return the JSON object in *body*, its texts without lone surrogates; None when there is none.

    What is nested too deeply, or has over MAX_JSON_ITEMS items, counts as none.
    """
    # Each takes a byte at least, and nearly every answer is far shorter.
    if len(body) > MAX_JSON_ITEMS and sum(map(body.count, (b",", b"[", b"{"))) > MAX_JSON_ITEMS:
        return None
    try:
        text = body.decode(json.detect_encoding(body), errors="replace")
        decoded = json.loads(repaired_json(text.removeprefix("\ufeff")))
    except (ValueError, RecursionError):
        return None
    return decoded if isinstance(decoded, dict) else None


async def exchange(
    session: aiohttp.ClientSession,
    method: str,
    url: URL,
    *,
    headers: Mapping[str, str],
    body: bytes,
    timeout_seconds: float,
) -> Answer:
    """Send one request and read the answer, whatever its status; redirects are not followed.

    Raises NotSentError when no connection was made, InterruptedTransferError when the request may have
    arrived (OversizedAnswerError when it was answered without end) and ConfigurationError when the server's
    certificate is not trusted.
    """
    # Nothing is gained by compressing a few kilobytes, and a megabyte can inflate to a thousand.
    headers = {**headers, "Accept-Encoding": "identity"}
    # Connecting gets half, so that a network that is silent is told apart from a service that does not answer.
    timeout = aiohttp.ClientTimeout(total=timeout_seconds, connect=timeout_seconds / 2)
    try:
        async with session.request(
            method, url, data=body or None, headers=headers, timeout=timeout, allow_redirects=False
        ) as response:
            return Answer(status=response.status, headers=response.headers, body=await _read(response))
    except CONNECTION_ERRORS as error:
        forget_addresses(session)
        host = url.host_port_subcomponent or "the service"
        failure = connection_error(error, host, timeout_seconds=timeout_seconds)
    # Raised out here so that the client's exception, whose text may hold the URL, is not even its context.
    raise failure


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Read the body chunk by chunk, which is also how it is inflated, up to the bound for its status."""
    is_success = 200 <= response.status < 300
    limit = MAX_ANSWER_BYTES if is_success else MAX_REFUSAL_BYTES
    if (response.content_length or limit) < limit and "Content-Encoding" not in response.headers:
        # As long as it says, for there is nothing to inflate; nearly every answer is such a one.
        return await response.read()
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            if is_success:
                raise OversizedAnswerError(
                    f"the answer of {response.url.host_port_subcomponent} is longer than {limit // 1024**2} MiB",
                    code="AnswerTooLarge",
                    status=response.status,
                    request_id=plain_name(response.headers.get("X-Request-Id")),
                )
            break
    return bytes(body[:limit])
