"""The translation of aiohttp's exceptions into this program's errors, shared by both clients.

Callers raise the result `from None`: the text of several of aiohttp's exceptions contains the URL, which is a secret.
"""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Final

import aiohttp

from orchestrator.domain.errors import (
    ConfigurationError,
    InterruptedTransferError,
    NotSentError,
    OrchestratorError,
)

#: The errors of a request: aiohttp's own, timeouts, and system errors that aiohttp passes through.
CONNECTION_ERRORS: Final = (aiohttp.ClientError, OSError)


#: The errors raised before any byte of a request was sent.
_UNSENT: Final = (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError, aiohttp.ConnectionTimeoutError)


class TimeoutCode(StrEnum):
    """The codes of errors which mean that the other side does not keep up."""

    IDLE = "IdleTimeout"
    CONNECT = "ConnectTimeout"


class BrokenConnectionError(InterruptedTransferError):
    """The connection broke during the request, without an answer."""


def connection_error(
    error: Exception, host: str, *, timeout_seconds: float | None = None
) -> OrchestratorError:
    """Translate *error*, one of CONNECTION_ERRORS, of a request to *host*.

    Returns NotSentError when the request was not sent, InterruptedTransferError (BrokenConnectionError for a plain
    break) when it may have arrived, and ConfigurationError when retrying cannot help. *timeout_seconds* is the total
    timeout of the request.
    """
    match error:
        case aiohttp.ClientConnectorCertificateError():
            reason = getattr(error.certificate_error, "verify_message", "") or "it does not fit the name"
            return ConfigurationError(
                f"the TLS certificate of {host} is not trusted: {reason}",
                hint="check the host's name, this machine's clock and CA certificates (SSL_CERT_FILE), "
                "and any proxy that opens TLS",
            )
        case aiohttp.InvalidURL():
            return ConfigurationError(f"no request can be sent to {host}: its address is not a valid URL")
        case aiohttp.ClientHttpProxyError() if error.status < 500:
            return ConfigurationError(
                f"the proxy refuses connections to {host} (HTTP {error.status})",
                hint="check HTTPS_PROXY, its user and password, and NO_PROXY",
                status=error.status,
            )
    return _unsent_error(error, host) or _interruption(error, host, timeout_seconds)


def _unsent_error(error: Exception, host: str) -> NotSentError | None:
    if not isinstance(error, _UNSENT):
        return None
    place = f"the proxy for {host}" if isinstance(error, aiohttp.ClientProxyConnectionError) else host
    code = TimeoutCode.CONNECT if isinstance(error, aiohttp.ConnectionTimeoutError) else None
    return NotSentError(
        f"no connection to {place}: {_reason(error)}", code=code, status=getattr(error, "status", None)
    )


def _reason(error: Exception) -> str:
    match error:
        case aiohttp.ConnectionTimeoutError():
            return "it took too long"
        case aiohttp.ClientHttpProxyError():
            return f"the proxy answered HTTP {error.status}"
        case aiohttp.ClientConnectorDNSError():
            return "the name cannot be resolved"
        case aiohttp.ClientSSLError():
            return f"TLS failed ({error.os_error.strerror or 'the handshake broke off'})"
        case _:
            return _system_reason(error)


def _interruption(error: Exception, host: str, timeout_seconds: float | None) -> InterruptedTransferError:
    match error:
        # A timeout of the operating system has an errno and counts as a broken connection.
        case TimeoutError() if error.errno is None and timeout_seconds is not None:
            return InterruptedTransferError(f"no answer from {host} within {timeout_seconds:g} s")
        case aiohttp.ServerDisconnectedError():
            return InterruptedTransferError(f"{host} closed the connection before the answer was complete")
        case aiohttp.ClientResponseError():
            return InterruptedTransferError(f"{host} answered something that is not HTTP")
        case _:
            sentence = (
                f"the connection to {host} broke before the answer was complete: {_system_reason(error)}"
            )
            return BrokenConnectionError(sentence)


def _system_reason(error: Exception) -> str:
    """Return the operating system's reason; the text of aiohttp's own errors may repeat the URL."""
    number = getattr(error, "errno", None)
    return os.strerror(number).lower() if number else "connection lost"
