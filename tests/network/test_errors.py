"""Each of aiohttp's exceptions has one meaning, for the service's client and the store's alike, and no URL in it."""

from __future__ import annotations

import errno
import socket
import ssl
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from orchestrator.domain.errors import (
    ConfigurationError,
    InterruptedTransferError,
    NotSentError,
    OrchestratorError,
)
from orchestrator.network.errors import BrokenConnectionError, TimeoutCode, connection_error

SECRET = "Signature=FrLhTRdhMjpAFVbcGJQgvjlw"
URL_TEXT = f"https://obs.example.com/o?{SECRET}"
KEY = ConnectionKey("obs.example.com", 443, True, True, None, None, None)
REQUEST = aiohttp.RequestInfo(URL(URL_TEXT), "PUT", CIMultiDictProxy(CIMultiDict()), URL(URL_TEXT))
REFUSED = OSError(errno.ECONNREFUSED, "Connection refused")


def proxy_answer(status: int) -> aiohttp.ClientHttpProxyError:
    """What a proxy that does not connect raises."""
    return aiohttp.ClientHttpProxyError(REQUEST, (), status=status, message=URL_TEXT)


CASES: list[tuple[Exception, type[OrchestratorError], str]] = [
    (aiohttp.ClientConnectorError(KEY, REFUSED), NotSentError, "no connection to obs: connection refused"),
    (
        aiohttp.ClientProxyConnectionError(KEY, REFUSED),
        NotSentError,
        "no connection to the proxy for obs: connection refused",
    ),
    (
        aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(-2, "unknown")),
        NotSentError,
        "no connection to obs: the name cannot be resolved",
    ),
    (
        aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "WRONG_VERSION")),
        NotSentError,
        "no connection to obs: TLS failed (WRONG_VERSION)",
    ),
    (aiohttp.ConnectionTimeoutError(URL_TEXT), NotSentError, "no connection to obs: it took too long"),
    (proxy_answer(502), NotSentError, "no connection to obs: the proxy answered HTTP 502"),
    (proxy_answer(407), ConfigurationError, "the proxy refuses connections to obs (HTTP 407)"),
    (
        aiohttp.ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError("expired")),
        ConfigurationError,
        "the TLS certificate of obs is not trusted: it does not fit the name",
    ),
    (
        aiohttp.InvalidURL(URL_TEXT),
        ConfigurationError,
        "no request can be sent to obs: its address is not a valid URL",
    ),
    (
        aiohttp.ServerDisconnectedError(URL_TEXT),
        InterruptedTransferError,
        "obs closed the connection before the answer was complete",
    ),
    (
        aiohttp.ClientResponseError(REQUEST, (), status=400, message=URL_TEXT),
        InterruptedTransferError,
        "obs answered something that is not HTTP",
    ),
    (TimeoutError(), InterruptedTransferError, "no answer from obs within 7 s"),
    (
        ConnectionResetError(errno.ECONNRESET, URL_TEXT),
        BrokenConnectionError,
        "the connection to obs broke before the answer was complete: connection reset by peer",
    ),
    (
        TimeoutError(errno.ETIMEDOUT, URL_TEXT),
        BrokenConnectionError,
        "the connection to obs broke before the answer was complete: connection timed out",
    ),
    (
        aiohttp.ClientPayloadError(URL_TEXT),
        BrokenConnectionError,
        "the connection to obs broke before the answer was complete: connection lost",
    ),
]


@pytest.mark.parametrize(
    ("error", "kind", "sentence"), CASES, ids=[f"{type(case[0]).__name__}: {case[2]}" for case in CASES]
)
def test_what_a_request_raises_says_what_happened_and_whether_it_may_have_arrived(
    error: Exception, kind: type[OrchestratorError], sentence: str
) -> None:
    """By the type; what the other side or aiohttp says of it stays out."""
    translated = connection_error(error, "obs", timeout_seconds=7)

    assert type(translated) is kind
    assert translated.message == sentence
    assert SECRET not in repr(vars(translated))


def test_only_a_connection_that_is_not_made_in_time_has_the_code_of_one() -> None:
    """Parallelism goes by it."""
    codes: list[Any] = [
        connection_error(error, "obs").code for error in (aiohttp.ConnectionTimeoutError(), TimeoutError())
    ]

    assert codes == [TimeoutCode.CONNECT, None]
