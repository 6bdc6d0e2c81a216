"""The service's time, by the `Date` of its answers: whether a URL is alive is judged by it, not by a wrong clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from orchestrator.domain.errors import ConfigurationError, EntryError
from orchestrator.domain.retry import http_date_seconds

#: A Date has whole seconds and takes a while to arrive; less than that is no wrong clock.
SKEW_SECONDS: Final = 60.0


class ServiceTime:
    """This machine's clock, and how far it is ahead of the service's; all times in epoch seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ahead: float | None = None
        self._is_trusted = True

    def hear(self, date: str | None) -> None:
        """Take note of the `Date` header of an answer that has just come."""
        served_at = http_date_seconds(date)
        if served_at is not None:
            self._ahead = self._clock() - served_at

    @property
    def is_heard(self) -> bool:
        """True when an answer has said what time it is there."""
        return self._ahead is not None

    @property
    def ahead_seconds(self) -> float:
        """How far this machine's clock is ahead (behind, when negative); 0 when not by more than answers take."""
        if self._ahead is None or not self._is_trusted or abs(self._ahead) < SKEW_SECONDS:
            return 0.0
        return self._ahead

    def now(self) -> float:
        """The service's time as far as it is known, else this machine's."""
        return self._clock() - self.ahead_seconds

    def check_alive(self, expiries: Iterable[float | None]) -> None:
        """Raise ConfigurationError where only this machine's clock says that a URL's time is over."""
        earliest = min((each for each in expiries if each is not None), default=None)
        if earliest is not None and self.now() < earliest <= self._clock():
            raise ConfigurationError(
                f"this machine's clock is {_span(self.ahead_seconds)} ahead of the service's, "
                "so that upload URLs look expired",
                hint=_HINT,
            )

    def check_fresh(self, expiries: Iterable[float | None]) -> None:
        """Judge URLs that the service has just given: were they replaced for being dead, so would the next ones.

        Raises ConfigurationError when this machine's clock is what says so, EntryError when the service's own does.
        """
        known = [each for each in expiries if each is not None]
        earliest, now = min(known, default=None), self._clock()
        if earliest is None:
            return
        if earliest > now:
            # A Date by which they are dead all the same is not the service's.
            self._is_trusted &= earliest > self.now()
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
