"""The HTTP sessions of a run and their sockets."""

from __future__ import annotations

import socket
import ssl
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

import aiohttp
from aiohttp import AddrInfoType, ClientHandlerType, ClientRequest, ClientResponse
from yarl import URL

from orchestrator.domain.errors import ConfigurationError
from orchestrator.domain.presigned import is_loopback

_DNS_CACHE_SECONDS = 300
_KEEP_ALIVE_SECONDS = 15.0
CONNECT_TIMEOUT = 30.0


def open_http_session(
    *,
    connect_timeout: float = CONNECT_TIMEOUT,
    ssl_context: ssl.SSLContext | None = None,
    keep_alive_seconds: float = _KEEP_ALIVE_SECONDS,
    silence_seconds: float | None = None,
) -> aiohttp.ClientSession:
    """Open a session for the requests of a run; *ssl_context* replaces the usual TLS checks.

    A connection that was idle for *keep_alive_seconds* is not used again: a request on a connection that the other
    side is closing is lost without an error.

    Data that the other side's system has not acknowledged within *silence_seconds* is dropped with its connection;
    with None this system decides, and retransmits for minutes (see `open_socket`).

    Connecting, with DNS and TLS, may take *connect_timeout* seconds. There is no other timeout here, and callers
    limit the number of connections. Proxies come from the environment; raises ConfigurationError for one that is not
    a URL.
    """
    proxies = getproxies_environment()
    _check_proxies(proxies)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0,  # slots and workers bound the connections
            ttl_dns_cache=_DNS_CACHE_SECONDS,
            ssl=True if ssl_context is None else ssl_context,
            keepalive_timeout=keep_alive_seconds,
            socket_factory=partial(open_socket, silence_seconds=silence_seconds),
        ),
        timeout=aiohttp.ClientTimeout(
            total=None, connect=connect_timeout, sock_connect=connect_timeout, sock_read=None
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        middlewares=(EnvironmentProxies(proxies),) if proxies else (),
    )


def forget_addresses(session: aiohttp.ClientSession) -> None:
    """Clear the DNS cache: without this, a host that moved would be sought at its old address for minutes."""
    if isinstance(session.connector, aiohttp.TCPConnector):
        session.connector.clear_dns_cache()


def _check_proxies(proxies: Mapping[str, str]) -> None:
    """Raise ConfigurationError for a proxy that is not a URL; the message omits it, as it may hold a password."""
    for scheme in ("http", "https", "all"):
        try:
            is_usable = scheme not in proxies or bool(_proxy_url(proxies[scheme]).host)
        except ValueError:
            is_usable = False
        if not is_usable:
            raise ConfigurationError(
                f"the proxy in the environment variable {scheme}_proxy is not a URL",
                hint="write it as http://HOST:PORT, or unset it",
            )


def _proxy_url(proxy: str) -> URL:
    return URL(proxy if "://" in proxy else f"http://{proxy}")


def tls_proxy_names() -> frozenset[str]:
    """Return the host names of the environment's proxies that are themselves reached by TLS."""
    proxies = [urlsplit(proxy) for proxy in getproxies_environment().values()]
    return frozenset(proxy.hostname for proxy in proxies if proxy.scheme == "https" and proxy.hostname)


class EnvironmentProxies:
    """Sends requests through the proxies of `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`.

    aiohttp's own `trust_env` also adds credentials from `~/.netrc` to requests, which breaks signed ones.

    *proxies* maps schemes to URLs, as returned by `urllib.request.getproxies_environment`.
    """

    def __init__(self, proxies: Mapping[str, str]) -> None:
        self._proxies = dict(proxies)

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Send *request* through its proxy, if it has one."""
        proxy = self.proxy_for(request.url)
        if proxy is not None:
            authorization: dict[str, str] = {}
            if proxy.user:
                credentials = b64encode(f"{proxy.user}:{proxy.password or ''}".encode()).decode()
                authorization["Proxy-Authorization"] = f"Basic {credentials}"
            request.update_proxy(proxy.with_user(None), None, authorization)
            if not request.is_ssl():
                request.headers.update(authorization)
        return await handler(request)

    def proxy_for(self, url: URL) -> URL | None:
        """Return the proxy for *url*; None for a direct connection, which loopback always gets."""
        host = url.host or ""
        proxy = self._proxies.get(url.scheme) or self._proxies.get("all")
        if proxy is None or is_loopback(host) or proxy_bypass(host):
            return None
        return _proxy_url(proxy)


#: The congestion control that every Linux has and that does not pace.
_UNPACED = b"reno"


def open_socket(address: AddrInfoType, silence_seconds: float | None = None) -> socket.socket:
    """Return a socket for connecting to *address*; on loopback, its congestion control does not pace.

    A pacing congestion control, such as BBR, delays sending by timers even where nothing limits the path. If it is
    the system's default, a store, gateway or proxy on this machine would get half of the data it can take, and data
    that leaves late is no longer in any cache.

    When a network drops packets, a request outlives the call that timed out and closed the connection: the system
    retransmits it at doubling intervals. A create could then reach the service long after it was searched for in vain
    and repeated. So the system drops data that the other side has not acknowledged within *silence_seconds*.
    """
    family, kind, protocol, _, peer = address
    connection = socket.socket(family, kind, protocol)
    if is_loopback(str(peer[0])):
        set_tcp_option(connection, "TCP_CONGESTION", _UNPACED)
    if silence_seconds is not None:
        set_tcp_option(connection, "TCP_USER_TIMEOUT", max(1, round(silence_seconds * 1000)))
    return connection


def set_tcp_option(connection: socket.socket, name: str, value: int | bytes) -> None:
    """Set a TCP option if the system has it; ignore the error of a closed connection."""
    option = getattr(socket, name, None)
    if option is not None:
        with suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
