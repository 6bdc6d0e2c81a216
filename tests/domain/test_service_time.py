"""Whose clock says that a URL's time is over."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from orchestrator.domain.errors import ConfigurationError, EntryError
from orchestrator.domain.presigned import ServiceTime

NOW = 1_800_000_000.0
DAY = 86_400.0


def service_time(ahead: float | None) -> ServiceTime:
    """Of a machine whose clock is *ahead* of the service's; None when nothing was heard."""
    time = ServiceTime(lambda: NOW)
    time.note(None if ahead is None else formatdate(NOW - ahead, usegmt=True))
    return time


@pytest.mark.parametrize("ahead", [None, 0.0, 30.0, -59.0])
def test_a_clock_that_is_right_is_believed(ahead: float | None) -> None:
    """Answers take their time, and a Date has whole seconds."""
    assert service_time(ahead).now() == NOW


@pytest.mark.parametrize("ahead", [90_000.0, 3600.0, 60.0, -60.0, -90_000.0])
def test_a_clock_that_is_far_off_is_corrected(ahead: float) -> None:
    """Ahead or behind."""
    assert service_time(ahead).now() == NOW - ahead


def test_a_clock_that_kills_urls_on_arrival_is_a_configuration_error() -> None:
    """By how much it is off is said."""
    time = service_time(90_000.0)

    for check in (time.check_fresh, time.check_alive):
        with pytest.raises(ConfigurationError, match=r"clock is 25:00:00 ahead"):
            check([NOW - 90_000.0 + DAY])


def test_without_a_date_the_clock_is_to_be_checked() -> None:
    """Whichever of the two is wrong, other URLs would not help."""
    with pytest.raises(ConfigurationError, match="1:00:00 ago by this machine's clock"):
        service_time(None).check_fresh([NOW - 3600.0])


def test_urls_that_were_dead_when_they_were_given_are_the_services_fault() -> None:
    """The next ones would be no better: the entry fails rather than ask for them."""
    with pytest.raises(EntryError, match="have already expired"):
        service_time(0.0).check_fresh([NOW - 3600.0])


@pytest.mark.parametrize("ahead", [None, 0.0, 7200.0, -90_000.0 + 7200.0])
def test_urls_that_live_by_both_clocks_pass(ahead: float | None) -> None:
    """And those that tell no time."""
    time = service_time(ahead)

    time.check_fresh([NOW + DAY, None])
    time.check_alive([NOW + DAY, None])
    time.check_fresh([None])


def test_a_date_by_which_fresh_urls_are_dead_is_not_the_services() -> None:
    """Something in between makes dates up: from then on the machine's clock counts."""
    time = service_time(-2 * DAY)

    time.check_fresh([NOW + DAY])

    assert time.now() == NOW


def test_a_clock_behind_does_not_make_urls_live_longer() -> None:
    """The service's time decides."""
    time = service_time(-90_000.0)
    time.check_fresh([NOW + 90_000.0 + DAY])

    assert time.now() == NOW + 90_000.0
