"""The measures of a film, and their findings under the rules P10 to P17.

Measures are plain values, which the cache stores. Thresholds were set on synthetic films (docs/preflight.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from statistics import median
from typing import Any, Self

from orchestrator.domain.assets import AssetKind, Fingerprint
from orchestrator.domain.avatar import AudioSourceType, Avatar
from orchestrator.preflight.cache import Cache
from orchestrator.preflight.rulebook import Finding, likely_refused, look_first
from orchestrator.preflight.rules.rule import Extra

#: A picture is blank when at least this share of it is dark, or bright.
_ALL_OF_IT = 0.97
_MODULES = {Extra.PREFLIGHT: ("av", "numpy"), Extra.FACES: ("cv2",)}
_DEPTHS = ("quick", "deep")
_GREEN_LIKELY, _GREEN_LOOK = 0.6, 0.85
_UNEVEN = 12.0
_DARK_FILM = 45.0
#: The share of the border, and the step of its brightness, above which a change is a new scene.
_SCENE_SHARE, _SCENE_STEP = 0.6, 30.0
#: A share of the border that hands and sleeves never cover; a larger change is one of the light or the camera.
_LIGHT_SHARE = 0.4
_SILENT, _QUIET = -60.0, -42.0
_NOISE_GAP = 15.0
_CLIPPED_SHARE = 5e-4
_LEAD_IN_SECONDS = 12.0
#: The lead-in in seconds during which a person may stand still, used for films without a sound track.
_ASKED_LEAD_IN = 15.0
#: A jump within this many seconds of another rule's finding is the same event.
_SAME_PLACE = 2.5
_FACE_HEIGHT, _FACE_SHARE_OF_SHOTS = 0.14, 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """The measures of one picture: shares from 0 to 1, brightness from 0 to 255.

    `green_spread` is the spread of L* over the green border. `changed` is the share of the border's blocks that
    differ from the previous shot, and `change` the median difference. `faces` are the heights of faces as shares of
    the picture's, negative for a face that lies on its side; None when faces were not counted.
    """

    seconds: float
    green: float
    green_spread: float
    mean: float
    dark: float
    bright: float
    changed: float = 0.0
    change: float = 0.0
    faces: Sequence[float] | None = None

    @property
    def is_blank(self) -> bool:
        """True for black and white pictures, which allow no other check."""
        return self.dark >= _ALL_OF_IT or self.bright >= _ALL_OF_IT


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """The levels of voice and noise floor in dB relative to full scale.

    `clipped` is the share of clipped samples; `voice_starts` is in seconds, None without a voice.
    """

    voice: float
    floor: float
    clipped: float
    voice_starts: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """The measures of a film; `sound` is None without a sound track. `curve` has heights of the sound, for drawing.

    `trouble` is the reason why nothing could be measured. A deep look also gives `freezes`, as (second, length), and
    `jumps`, as seconds.
    """

    seconds: float = 0.0
    shots: Sequence[Shot] = ()
    sound: Sound | None = None
    curve: Sequence[float] = ()
    freezes: Sequence[tuple[float, float]] = ()
    jumps: Sequence[float] = ()
    trouble: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the measures as a dictionary for the cache."""
        return asdict(self)

    @classmethod
    def from_dict(cls, known: dict[str, Any]) -> Measures:
        """Create the measures from a cached dictionary; raises TypeError or KeyError for one of another version."""
        sound = known["sound"]
        changed = {
            "shots": [Shot(**shot) for shot in known["shots"]],
            "sound": Sound(**sound) if sound else None,
            "freezes": [(start, length) for start, length in known["freezes"]],
        }
        return cls(**{**known, **changed})


def is_installed(extra: Extra) -> bool:
    """Return True when the modules of *extra* are installed; none is imported."""
    return all(find_spec(module) is not None for module in _MODULES[extra])


def kind_of_look(*, is_deep: bool) -> str:
    """Return the cache's kind for new measures; it depends on the depth and on the extra for faces."""
    return f"look-{_DEPTHS[is_deep]}{'-faces' if is_installed(Extra.FACES) else ''}"


def has_look(cache: Cache, fingerprint: Fingerprint) -> bool:
    """Return True when *cache* has quick or deep measures of the film with *fingerprint*."""
    kinds = (f"look-{depth}{faces}" for depth in _DEPTHS for faces in ("", "-faces"))
    return any(cache.find(kind, fingerprint) is not None for kind in kinds)


@dataclass(frozen=True, slots=True)
class Purpose:
    """The purpose of a film, as far as it determines the checks."""

    is_green_wanted: bool = True
    is_flexus: bool = False
    is_voice_wanted: bool = True
    is_training: bool = True

    @classmethod
    def of(cls, avatar: Avatar, kind: AssetKind) -> Self:
        """Return the purpose of an avatar's film of *kind*."""
        is_training = kind is AssetKind.TRAINING_VIDEO
        is_voice_elsewhere = avatar.audio_source_type is AudioSourceType.AUDIO or avatar.is_only_human_model
        return cls(
            is_green_wanted=avatar.is_background_replacement is not False,
            is_flexus=avatar.is_any_flexus,
            is_voice_wanted=is_training and not is_voice_elsewhere,
            is_training=is_training,
        )


def judge_look(measures: Measures, purpose: Purpose) -> Iterator[Finding]:
    """Yield the findings about *measures*."""
    if measures.trouble:
        yield look_first("P12", f"could not be looked at: {measures.trouble}")
        return
    shown = [shot for shot in measures.shots if not shot.is_blank]
    if purpose.is_green_wanted and not purpose.is_flexus:
        yield from judge_screen(shown)
    yield from judge_brightness(measures.shots, shown)
    if not purpose.is_flexus:
        yield from judge_take(shown)
    if measures.sound is not None:
        yield from judge_sound(measures.sound, purpose)
    yield from judge_faces(shown)
    # Ignore jumps at places where another rule has a finding.
    known = [shot.seconds for shot in measures.shots if shot.is_blank or shot.changed > _LIGHT_SHARE]
    yield from judge_moves(measures, known)


def clock(seconds: float) -> str:
    """Format a place in a film the way players do: `0:07`, `12:30`."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def _middle(shots: Sequence[Shot], of: Callable[[Shot], float]) -> float:
    return median(of(shot) for shot in shots)


def judge_screen(shown: Sequence[Shot]) -> Iterator[Finding]:
    """Check that the border is green (P10) and evenly lit (P11), by the median shot, as hands may cover some."""
    if not shown:
        return
    green = _middle(shown, lambda shot: shot.green)
    if green < _GREEN_LIKELY:
        message = f"has {green:.0%} of green at its border; is_background_replacement needs a green screen"
        yield likely_refused("P10", message)
    elif green < _GREEN_LOOK:
        yield look_first("P10", f"has {green:.0%} of green at its border; does the screen fill the picture?")
    spread = _middle(shown, lambda shot: shot.green_spread)
    if green >= _GREEN_LIKELY and spread > _UNEVEN:
        yield look_first(
            "P11", f"has a screen that is lit unevenly: its L* differs by {spread:.0f}, 3 is even"
        )


def judge_brightness(shots: Sequence[Shot], shown: Sequence[Shot]) -> Iterator[Finding]:
    """Check that none of *shots* is black or white, and that the *shown* ones are bright enough (P12)."""
    blank = [shot for shot in shots if shot.is_blank]
    if blank:
        what = "black" if blank[0].dark > blank[0].bright else "white"
        where = ", ".join(dict.fromkeys(clock(shot.seconds) for shot in blank[:3]))
        finding = likely_refused if blank[0] is shots[0] else look_first
        yield finding("P12", f"has a {what} picture at {where}")
    mean = _middle(shown, lambda shot: shot.mean) if shown else 255.0
    if mean < _DARK_FILM:
        yield look_first("P12", f"is dark: a mean brightness of {mean:.0f} of 255")


def judge_take(shown: Sequence[Shot]) -> Iterator[Finding]:
    """Check that scene, camera and light do not change (P13)."""
    cuts = [s for s in shown[1:] if s.changed > _SCENE_SHARE and s.change > _SCENE_STEP]
    lights = [s for s in shown[1:] if s.changed > _LIGHT_SHARE and s not in cuts]
    if cuts:
        where = ", ".join(clock(shot.seconds) for shot in cuts[:3])
        yield likely_refused("P13", f"shows another scene from {where} on: a film must be one unbroken take")
    elif lights:
        where = ", ".join(clock(shot.seconds) for shot in lights[:3])
        yield look_first("P13", f"has another light or camera position from {where} on")


def judge_sound(sound: Sound, purpose: Purpose) -> Iterator[Finding]:
    """Check that the voice is loud, clear and not clipped (P14), and starts after a silent lead-in (P15)."""
    gap = sound.voice - sound.floor
    is_silent = sound.voice < _SILENT
    if purpose.is_voice_wanted and is_silent:
        yield likely_refused("P14", "is silent: no voice is heard")
    elif purpose.is_voice_wanted:
        if sound.voice < _QUIET:
            yield look_first("P14", f"is very quiet: the voice is at {sound.voice:.0f} dB")
        if gap < _NOISE_GAP:
            yield look_first(
                "P14", f"is noisy: the voice is only {gap:.0f} dB above the room, 15 or more are usable"
            )
        if sound.clipped > _CLIPPED_SHARE:
            yield look_first("P14", f"is clipped: {sound.clipped:.1%} of its sound is cut off at full scale")
    starts = sound.voice_starts
    if purpose.is_training and not is_silent and starts is not None and starts < _LEAD_IN_SECONDS:
        yield look_first("P15", f"has voice from second {starts:.0f} on; 15 silent seconds are asked for")


def judge_faces(shown: Sequence[Shot]) -> Iterator[Finding]:
    """Check that enough shots with counted faces have one face, upright and large enough (P16)."""
    looked = [shot.faces for shot in shown if shot.faces is not None]
    if not looked:
        return
    most = max(2, round(len(looked) * _FACE_SHARE_OF_SHOTS))
    several = sum(len(faces) > 1 for faces in looked)
    upright = [max(faces) for faces in looked if faces and max(faces) > 0]
    lying = sum(bool(faces) and max(faces) < 0 for faces in looked)
    if several >= most:
        yield likely_refused("P16", f"shows two or more faces in {several} of {len(looked)} pictures")
    elif lying >= most:
        yield likely_refused("P16", "shows a face that lies on its side: turn the film")
    elif len(upright) < most:
        yield likely_refused("P16", f"shows a face in {len(upright)} of {len(looked)} pictures only")
    elif (height := median(upright)) < _FACE_HEIGHT:
        yield look_first(
            "P16", f"shows a small face: {height:.0%} of the picture's height, 20 % is asked for"
        )


def judge_moves(measures: Measures, known: Sequence[float]) -> Iterator[Finding]:
    """Check for freezes after the voice starts, and for jumps away from the *known* cuts and blank shots (P17)."""
    heard = measures.sound.voice_starts if measures.sound else None
    without_voice = math.inf if measures.sound else _ASKED_LEAD_IN  # for a silent film, P14 has a finding
    speaks_from = without_voice if heard is None else heard
    freezes = [(start, length) for start, length in measures.freezes if start >= speaks_from]
    if freezes:
        where = ", ".join(f"{clock(start)} for {length:.1f} s" for start, length in freezes[:3])
        yield look_first("P17", f"stands still at {where}")
    jumps = [s for s in measures.jumps if all(abs(s - other) > _SAME_PLACE for other in known)]
    if jumps:
        where = ", ".join(clock(second) for second in jumps[:3])
        yield look_first("P17", f"jumps at {where}: was something cut out?")
