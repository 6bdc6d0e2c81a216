"""Presigned URLs as values that hide their secret, and the service's time, by which they are valid or expired."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from urllib.parse import unquote, urlsplit

from orchestrator.domain.errors import ConfigurationError, EntryError
from orchestrator.domain.retry import http_date_seconds

#: The parameters that are used; the others are long, secret, and not worth decoding.
_PARAMETER = re.compile(r"(?:^|&)(partNumber|Expires|X-Amz-Date|X-Amz-Expires)=([^&]+)")

#: The documented limit is 2048 characters; no server accepts a request line longer than this.
_LONGEST = 8192
#: The end of the year 9999, the last year that `datetime` supports.
_LATEST = 253_402_300_799.0


class PresignedUrl:
    """The destination of a segment; its text form is host and object name, and only `reveal()` returns the secret."""

    __slots__ = ("_url", "expires_at", "host", "hostname", "object_name", "part_number", "scheme")

    def __init__(self, url: str) -> None:
        """Parse *url*; raises ValueError, without the URL in its text, if it is invalid."""
        if len(url) > _LONGEST or " " in url or not url.isprintable():
            raise ValueError(
                "the service returned an upload URL that has blanks, control characters or no end"
            )
        # Split as urlsplit does, but with the common parts of URLs parsed only once: an answer has a dozen or more.
        place, _, query = url.partition("#")[0].partition("?")
        scheme, _, rest = place.partition("://")
        netloc, _, path = rest.partition("/")
        if scheme.lower() not in {"http", "https"}:
            raise ValueError("the service returned an upload URL that is not http or https")
        try:
            hostname, port = _host_and_port(netloc)
        except ValueError:
            raise ValueError("the service returned an upload URL that cannot be parsed") from None
        if not hostname:
            raise ValueError("the service returned an upload URL that has no host")
        # Reversed, so that the first value of a repeated parameter counts.
        told = dict(reversed(_PARAMETER.findall(query)))
        self._url = url
        self.scheme: str = scheme.lower()
        self.hostname: str = hostname
        self.host: str = f"{hostname}:{port}" if port else hostname
        self.object_name: str = path.rpartition("/")[2]
        self.part_number: int | None = _part_number(told.get("partNumber", ""))
        self.expires_at: float | None = _expires_at(
            told.get("Expires"), told.get("X-Amz-Date"), told.get("X-Amz-Expires")
        )

    def is_private(self, *, is_insecure_http_allowed: bool) -> bool:
        """True when a request to it stays private: https, this machine, or plain http that a person has allowed."""
        return self.scheme == "https" or is_insecure_http_allowed or is_loopback(self.hostname)

    def reveal(self) -> str:
        """Return the URL as issued; for the request and the journal only."""
        return self._url

    def __repr__(self) -> str:
        return f"<PresignedUrl {self.host}/{self.object_name}>"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PresignedUrl) and other.reveal() == self._url

    def __hash__(self) -> int:
        return hash(self._url)


@lru_cache(maxsize=64)  # every URL of a batch passes through here, and they name one or two stores
def _host_and_port(netloc: str) -> tuple[str | None, int | None]:
    parts = urlsplit(f"//{netloc}")
    return parts.hostname, parts.port


def in_part_order(urls: list[PresignedUrl]) -> list[PresignedUrl]:
    """Sort by `partNumber` if every URL has a different one, else keep the order of the list.

    The order of the arrays is not documented (metastudio-protocol section 7, step 2).
    """
    if len(urls) < 2:
        return urls
    numbers = [url.part_number for url in urls]
    if None in numbers or len(set(numbers)) != len(numbers):
        return urls
    return sorted(urls, key=lambda url: url.part_number or 0)


@lru_cache(maxsize=64)  # most films have a few parts, with the same numbers
def _part_number(text: str) -> int | None:
    number = unquote(text)
    return int(number) if number.isascii() and number.isdecimal() and len(number) <= 10 else None


@lru_cache(maxsize=64)  # the URLs of an answer expire together
def _expires_at(expires: str | None, signed_at: str | None, lifetime: str | None) -> float | None:
    """Return the seconds since the epoch from `Expires`, or from `X-Amz-Date` and `X-Amz-Expires` (section 5.1)."""
    try:
        if expires is not None:
            seconds = float(unquote(expires))
        elif signed_at is not None and lifetime is not None:
            begin = datetime.strptime(unquote(signed_at), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            seconds = begin.timestamp() + float(unquote(lifetime))
        else:
            return None
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds <= _LATEST else None


@lru_cache(maxsize=64)  # called for every upload URL, and a run has two or three hosts
def is_loopback(host: str) -> bool:
    """True for localhost and loopback addresses, whose traffic stays on this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


#: A Date has whole seconds and takes a while to arrive; a smaller difference is not a wrong clock.
SKEW_SECONDS: Final = 60.0


class ServiceTime:
    """The service's time, from this machine's clock and its lead over the `Date` of answers; in epoch seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ahead: float | None = None
        self._is_trusted = True
        #: How far this machine's clock is ahead (behind if negative); 0 when it is by less than SKEW_SECONDS.
        self.ahead_seconds = 0.0

    def note(self, date: str | None) -> None:
        """Record the `Date` header of an answer that has just arrived."""
        served_at = http_date_seconds(date)
        if served_at is not None:
            self._ahead = self._clock() - served_at
            self._judge()

    @property
    def is_known(self) -> bool:
        """True when an answer has given the service's time."""
        return self._ahead is not None

    def _judge(self) -> None:
        is_known = self._ahead is not None and self._is_trusted and abs(self._ahead) >= SKEW_SECONDS
        self.ahead_seconds = (self._ahead or 0.0) if is_known else 0.0

    def now(self) -> float:
        """Return the service's time as far as it is known, else this machine's."""
        return self._clock() - self.ahead_seconds

    def check_alive(self, expiries: Iterable[float | None]) -> None:
        """Raise ConfigurationError if a URL is expired by this machine's clock only."""
        if not self.ahead_seconds:
            # Called before every PUT, and most clocks are right.
            return
        earliest = min((each for each in expiries if each is not None), default=None)
        if earliest is not None and self.now() < earliest <= self._clock():
            raise ConfigurationError(
                f"this machine's clock is {_span(self.ahead_seconds)} ahead of the service's, "
                "so that upload URLs look expired",
                hint=_HINT,
            )

    def check_fresh(self, expiries: Iterable[float | None]) -> None:
        """Check URLs that the service has just issued: if they look expired, their replacements would, too.

        Raises ConfigurationError if they are expired by this machine's clock, EntryError if by the service's own.
        """
        known = [each for each in expiries if each is not None]
        earliest, now = min(known, default=None), self._clock()
        if earliest is None:
            return
        if earliest > now:
            # A Date by which they are expired nevertheless is not the service's.
            self._is_trusted &= earliest > self.now()
            self._judge()
            return
        self.check_alive(known)
        if self._ahead is None:
            raise ConfigurationError(
                f"new upload URLs ended {_span(now - earliest)} ago by this machine's clock", hint=_HINT
            )
        if earliest <= now - self._ahead:
            raise EntryError(
                "the service returned upload URLs that have already expired",
                code="UrlExpired",
                hint="send the vendor the job's id; the next run asks for other URLs",
            )


_HINT: Final = "set this machine's clock (timedatectl set-ntp true), then run again: the jobs are kept"


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
