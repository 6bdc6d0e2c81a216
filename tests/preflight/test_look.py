"""What a look measures and what the rules make of it: P10 to P15, P17."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from orchestrator.preflight.look.measures import Measures, Purpose, Shot, Sound, judge_look
from orchestrator.preflight.look.measuring import SoundMeter, loudness_curve
from orchestrator.preflight.look.pictures import (
    Sample,
    border_blocks,
    changed_share,
    freezes_in,
    jumps_in,
    measure_picture,
    positions_in,
)
from orchestrator.preflight.rules.rule import Verdict

SHOT = Shot(seconds=0, green=0.95, green_spread=3.0, mean=110, dark=0.01, bright=0.0)
VOICE = Sound(voice=-20, floor=-60, clipped=0.0, voice_starts=15.5)
RATE = 16000


def measures(*changes: dict[str, Any], **others: Any) -> Measures:
    """A good film of ten shots; the last ones differ by *changes*."""
    facts = [{} for _ in range(10 - len(changes))] + list(changes)
    shots = [replace(SHOT, seconds=30.0 * place, **change) for place, change in enumerate(facts)]
    return Measures(**{"seconds": 300, "shots": shots, "sound": VOICE, **others})


def found(measured: Measures, **purpose: Any) -> list[tuple[str, Verdict | None]]:
    return [(finding.rule, finding.verdict) for finding in judge_look(measured, Purpose(**purpose))]


def test_a_good_film_has_nothing_to_find() -> None:
    """For every purpose."""
    assert found(measures()) == []
    assert found(measures(sound=None)) == []
    assert found(measures(), is_flexus=True, is_green_wanted=False) == []


@pytest.mark.parametrize(
    ("measured", "rule", "verdict"),
    [
        (measures(*[{"green": 0.2}] * 10), "P10", Verdict.LIKELY_REFUSED),
        (measures(*[{"green": 0.7}] * 10), "P10", Verdict.LOOK_FIRST),
        (measures(*[{"green_spread": 22.5}] * 10), "P11", Verdict.LOOK_FIRST),
        (measures({"dark": 0.99}), "P12", Verdict.LOOK_FIRST),
        (measures({"bright": 0.99}), "P12", Verdict.LOOK_FIRST),
        (measures(*[{"dark": 0.99}, *[{}] * 9]), "P12", Verdict.LIKELY_REFUSED),
        (measures(*[{"mean": 27}] * 10), "P12", Verdict.LOOK_FIRST),
        (measures({"changed": 0.9, "change": 60}), "P13", Verdict.LIKELY_REFUSED),
        (measures({"changed": 0.8, "change": 20}), "P13", Verdict.LOOK_FIRST),
        (measures(sound=replace(VOICE, voice=-80, voice_starts=None)), "P14", Verdict.LIKELY_REFUSED),
        (measures(sound=replace(VOICE, voice=-50, floor=-80)), "P14", Verdict.LOOK_FIRST),
        (measures(sound=replace(VOICE, floor=-30)), "P14", Verdict.LOOK_FIRST),
        (measures(sound=replace(VOICE, clipped=0.01)), "P14", Verdict.LOOK_FIRST),
        (measures(sound=replace(VOICE, voice_starts=3.9)), "P15", Verdict.LOOK_FIRST),
        (measures(*[{"faces": [0.3, 0.3]}] * 10), "P16", Verdict.LIKELY_REFUSED),
        (measures(*[{"faces": []}] * 10), "P16", Verdict.LIKELY_REFUSED),
        (measures(*[{"faces": [-0.3]}] * 10), "P16", Verdict.LIKELY_REFUSED),
        (measures(*[{"faces": [0.07]}] * 10), "P16", Verdict.LOOK_FIRST),
        (measures(freezes=[(100.0, 1.2)]), "P17", Verdict.LOOK_FIRST),
        (measures(jumps=[100.0]), "P17", Verdict.LOOK_FIRST),
        (Measures(trouble="no picture of it can be decoded"), "P12", Verdict.LOOK_FIRST),
    ],
)
def test_each_fault_is_found_by_its_rule_alone(measured: Measures, rule: str, verdict: Verdict) -> None:
    """And is never an error."""
    assert found(measured) == [(rule, verdict)]


def test_the_purpose_of_a_film_decides_what_is_asked_of_it() -> None:
    """No screen for flexus or a kept background, no voice where it comes from a zip, no lead-in for actions."""
    office = measures(*[{"green": 0.0}] * 10)
    walking = measures({"changed": 0.9, "change": 60})
    silent = measures(sound=replace(VOICE, voice=-80, voice_starts=None))
    at_once = measures(sound=replace(VOICE, voice_starts=0.0))

    assert found(office, is_green_wanted=False) == []
    assert found(office, is_flexus=True) == []
    assert found(walking, is_flexus=True) == []
    assert found(silent, is_voice_wanted=False) == []
    assert found(at_once, is_training=False) == []


def test_a_still_lead_in_is_no_freeze() -> None:
    """Without sensor noise a person who waits looks frozen."""
    assert found(measures(freezes=[(3.0, 9.0)])) == []


def picture(colour: tuple[int, int, int]) -> np.ndarray[Any, Any]:
    """A presenter in the middle of one colour."""
    pixels = np.full((360, 640, 3), colour, np.uint8)
    pixels[80:, 220:420] = (200, 160, 140)
    return pixels


@pytest.mark.parametrize(
    ("colour", "is_green"),
    [
        ((40, 175, 75), True),
        ((20, 90, 35), True),
        ((0, 255, 0), True),
        ((120, 120, 120), False),
        ((90, 100, 180), False),
        ((190, 185, 120), False),
        ((0, 0, 0), False),
    ],
)
def test_green_is_a_hue_however_dark(colour: tuple[int, int, int], is_green: bool) -> None:
    """Measured at the border, where the presenter is not."""
    assert measure_picture(picture(colour))["green"] == (1.0 if is_green else 0.0)


def test_a_shadow_on_the_screen_spreads_its_lightness() -> None:
    """An even one has nearly none."""
    even = picture((40, 175, 75))
    shadow = even.copy()
    shadow[:, :60] //= 2

    assert measure_picture(even)["green_spread"] < 1
    assert measure_picture(shadow)["green_spread"] > 20


def test_hands_at_the_border_are_no_other_scene() -> None:
    """Most of the border stays as it is."""
    before = picture((40, 175, 75))
    hands = before.copy()
    hands[100:250, :80] = (200, 160, 140)

    share, change = changed_share(border_blocks(before), border_blocks(hands))

    assert share < 0.4
    assert change < 1


def speech(start: float, seconds: float, level: float = 0.2, room: float = 0.0005) -> np.ndarray[Any, Any]:
    """Syllables from *start* on, over the noise of a room."""
    time = np.arange(round(seconds * RATE)) / RATE
    tone = np.sin(2 * np.pi * 180 * time) * np.clip(np.sin(2 * np.pi * 3.5 * time), 0, 1) * (time >= start)
    return (level * tone + np.random.default_rng(1).normal(0, room, len(time))).astype(np.float32)


def heard(sound: np.ndarray[Any, Any]) -> Sound:
    meter = SoundMeter(RATE)
    for start in range(0, len(sound), 1000):
        meter.take(sound[start : start + 1000])
    return meter.result()


@pytest.mark.parametrize("start", [0.0, 4.0, 15.0])
def test_the_first_word_is_found_where_it_is(start: float) -> None:
    """To a fifth of a second; clicks before it are none."""
    sound = speech(start, 25)
    if start > 2:
        sound[RATE : RATE + 400] = 0.3

    assert heard(sound).voice_starts == pytest.approx(start, abs=0.3)


def test_silence_and_a_room_have_no_voice_to_start() -> None:
    """Digital silence too."""
    assert heard(np.zeros(RATE, np.float32)).voice_starts is None
    assert heard(speech(99, 20)).voice < -60


def test_only_a_run_at_full_scale_is_clipped() -> None:
    """A single loud sample is music."""
    assert heard(np.clip(speech(0, 5, level=3.0), -1, 1)).clipped > 0.05
    assert heard(speech(0, 5, level=0.99)).clipped < 5e-4


def test_a_curve_has_as_many_heights_as_are_asked_for() -> None:
    """From 0 to 1, for no sound too."""
    assert len(loudness_curve([-90.0, -20.0], 300)) == 300
    assert loudness_curve([], 3) == [0.0, 0.0, 0.0]


def samples(seconds: float, gop: int, size: int = 2000, key: int = 40_000) -> list[Sample]:
    return [Sample(n / 25, size if n % gop else key, n % gop == 0) for n in range(round(seconds * 25))]


def test_positions_of_a_usual_film_are_keyframes_spread_over_it() -> None:
    """Each costs one decoded picture."""
    positions = positions_in(samples(300, gop=50), 1920 * 1080)

    assert 20 <= len(positions) <= 26
    assert all(position.key == position.seconds for position in positions)
    assert max(b.seconds - a.seconds for a, b in pairwise(positions)) < 20


def test_a_surprise_between_keyframes_is_looked_at() -> None:
    """The index shows a picture that needs far more bytes than the others."""
    film = samples(300, gop=250)
    film[3000 + 120] = Sample(3120 / 25, 60_000, False)

    assert 3120 / 25 in [position.seconds for position in positions_in(film, 1920 * 1080)]


def test_one_keyframe_in_all_does_not_make_a_look_decode_the_whole_film() -> None:
    """What cannot be reached within the budget is left out."""
    heavy = samples(600, gop=10**6, size=270_000)

    last = max(position.seconds for position in positions_in(heavy, 1920 * 1080))

    assert last < 60


def test_a_film_without_an_index_has_no_places() -> None:
    """Nothing to choose from."""
    assert positions_in([], 1) == []


def test_a_jump_stands_out_of_its_film() -> None:
    """Hands and sways do not, however many."""
    times = [n / 25 for n in range(1000)]
    steps = np.abs(np.random.default_rng(2).normal(0.4, 0.1, 1000))
    assert jumps_in(times, steps) == []

    steps[700] = 5.7
    assert jumps_in(times, steps) == [28.0]
    steps[::20] = 5.0
    assert jumps_in(times, steps) == []


def test_a_freeze_lasts() -> None:
    """Two like pictures are none; the whole of a long one is told."""
    times = [n / 25 for n in range(200)]
    steps = np.full(200, 40.0)
    steps[20:25] = 0
    assert freezes_in(times, steps) == []

    steps[100:150] = 0
    assert freezes_in(times, steps) == [(4.0, pytest.approx(1.96))]
