"""What the rules say of the facts of a film: P02 to P05, P08, P09."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.preflight.films.film import Film, FilmRequirements, exact_minutes, judge_film
from orchestrator.preflight.rulebook import Finding
from orchestrator.preflight.rules.rule import Verdict

GOOD = Film(
    bytes=10**9,
    seconds=200,
    width=1920,
    height=1080,
    codec="H.264 (AVC)",
    bit_depth=8,
    chroma="4:2:0",
    is_interlaced=False,
    pixel=(1, 1),
    pictures_per_second=25.0,
    longest_step=0.04,
    sound_seconds=200.1,
)


def found(wanted: FilmRequirements | None = None, **facts: Any) -> list[Finding]:
    return list(judge_film(replace(GOOD, **facts), wanted or FilmRequirements()))


def test_a_good_film_has_nothing_to_find() -> None:
    """Also where little is known of it."""
    assert found() == []
    assert found(bit_depth=None, chroma=None, is_interlaced=None, pixel=None) == []


@pytest.mark.parametrize(
    ("seconds", "is_flexus", "is_right"),
    [
        (179.97, False, True),
        (179.6, False, False),
        (600.04, False, True),
        (600.4, False, False),
        (60, True, True),
        (59.4, True, False),
        (300, True, True),
        (301, True, False),
        (301, False, True),
    ],
)
def test_a_film_has_the_length_its_edition_asks_for(seconds: float, is_flexus: bool, is_right: bool) -> None:
    """3 to 10 minutes, for flexus 1 to 5; two pictures may be missing, half a second not."""
    findings = found(FilmRequirements(is_flexus=is_flexus), seconds=seconds, sound_seconds=seconds)

    assert [(f.rule, f.verdict) for f in findings] == ([] if is_right else [("P08", Verdict.REFUSED)])


@pytest.mark.parametrize(
    ("seconds", "text"), [(179.6, "2:59.6"), (180, "3:00"), (600.4, "10:00.4"), (59.96, "1:00")]
)
def test_a_length_is_shown_to_the_tenth(seconds: float, text: str) -> None:
    """A film of 2:59.6 that is said to be 3:00 long is a riddle."""
    assert exact_minutes(seconds) == text


@pytest.mark.parametrize(
    ("width", "height", "is_right"),
    [(1920, 1080, True), (1080, 1920, True), (3840, 2160, True), (2160, 3840, True), (1280, 720, False)],
)
def test_a_film_has_one_of_four_picture_sizes(width: int, height: int, is_right: bool) -> None:
    """metastudio-protocol section 6."""
    rules = [finding.rule for finding in found(width=width, height=height)]

    assert rules == ([] if is_right else ["P09"])


@pytest.mark.parametrize(
    ("facts", "rule", "verdict"),
    [
        ({"codec": "H.265 (HEVC)"}, "P09", Verdict.LIKELY_REFUSED),
        ({"uneven": 0.3, "longest_step": 0.24}, "P02", Verdict.LOOK_FIRST),
        ({"pictures_per_second": 23.976}, "P02", Verdict.LOOK_FIRST),
        ({"turned": 90}, "P03", Verdict.LIKELY_REFUSED),
        ({"sound_seconds": None}, "P04", Verdict.LIKELY_REFUSED),
        ({"bit_depth": 10}, "P05", Verdict.LIKELY_REFUSED),
        ({"chroma": "4:2:2"}, "P05", Verdict.LIKELY_REFUSED),
        ({"is_interlaced": True}, "P05", Verdict.LIKELY_REFUSED),
        ({"pixel": (4, 3)}, "P05", Verdict.LIKELY_REFUSED),
        ({"is_hdr": True}, "P05", Verdict.LIKELY_REFUSED),
        ({"bytes": 6 * 1024**3}, "P05", Verdict.LOOK_FIRST),
        ({"sound_seconds": 190.0}, "P05", Verdict.LOOK_FIRST),
    ],
)
def test_what_reviews_are_known_to_refuse_is_a_warning(
    facts: dict[str, Any], rule: str, verdict: Verdict
) -> None:
    """One finding of one rule, and never an error."""
    assert [(f.rule, f.verdict, f.is_error) for f in found(**facts)] == [(rule, verdict, False)]


@pytest.mark.parametrize(
    "facts", [{"uneven": 0.02}, {"pictures_per_second": 24.98}, {"sound_seconds": 200.9}]
)
def test_what_every_camera_does_is_no_finding(facts: dict[str, Any]) -> None:
    """Jitter of a phone, a short last picture, the last piece of sound."""
    assert found(**facts) == []


def test_a_film_without_sound_is_right_where_the_voice_comes_from_elsewhere() -> None:
    """An audio zip, an action video, an avatar without a voice."""
    assert found(FilmRequirements(is_sound_needed=False), sound_seconds=None) == []


def test_an_encrypted_film_is_an_error() -> None:
    """Nothing can play it; but no published rule says so, so it is no refusal."""
    (finding,) = found(is_encrypted=True)

    assert (finding.rule, finding.verdict, finding.is_error) == ("P05", None, True)


def test_of_a_film_that_is_not_whole_only_that_is_said() -> None:
    """What else its index says is of no use."""
    assert [f.rule for f in found(damage="is cut", seconds=3)] == ["P01"]
