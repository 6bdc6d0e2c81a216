"""Labelled films: good ones of each style, and one or more for each fault that a review is known to refuse."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

RATE = 25
SECONDS, LEAD_IN = 18.0, 15.0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One film. `finds` are the rules that should find something; `deep` those that only a deep look can."""

    name: str
    seed: int = 0
    finds: tuple[str, ...] = ()
    deep: tuple[str, ...] = ()
    scene: str = "green"  # green, uneven, shadow, half, partial, office
    is_flexus: bool = False
    is_green_wanted: bool = True
    width: int = 1920
    height: int = 1080
    rate: int = RATE
    seconds: float = SECONDS
    lead_in: float = LEAD_IN
    noise: float = 2.0
    gain: float = 1.0
    gop: int = 50
    codec: str = "libx264"
    pixels: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)
    #: What happens: (what, from second, to second).
    events: tuple[tuple[str, float, float], ...] = ()
    place: float = 0.5  # of the presenter, across the picture
    others: tuple[float, ...] = ()  # the places of more people
    size: float = 1.0  # of people
    is_turned_away: bool = False
    is_lying: bool = False
    has_moving_hands: bool = False
    voice_db: float | None = -18.0
    floor_db: float = -62.0
    has_sound: bool = True
    vfr: str = ""
    turned: int = 0
    shape: tuple[int, int] = (1, 1)
    cut: str = ""


def recipes() -> list[Recipe]:
    """All films."""
    good = Recipe(name="good-green")
    portrait: dict[str, Any] = {"width": 1080, "height": 1920}
    flexus: dict[str, Any] = {
        "scene": "office",
        "is_flexus": True,
        "is_green_wanted": False,
        "lead_in": LEAD_IN,
    }
    return [
        good,
        replace(good, name="good-green-left", seed=2, place=0.42),
        replace(good, name="good-green-hands", seed=3, has_moving_hands=True),
        replace(good, name="good-green-noisy-sensor", seed=4, noise=6.0),
        replace(good, name="good-green-clean-export", seed=5, noise=0.0),
        replace(good, name="good-green-dim-screen", seed=6, gain=0.75),
        replace(good, name="good-green-short-gop", seed=7, gop=12),
        replace(good, name="good-green-long-gop", seed=8, gop=250),
        replace(good, name="good-green-one-keyframe", seed=9, gop=9999),
        replace(good, name="good-green-b-frames", seed=10, options={"preset": "veryfast", "bf": "3"}),
        replace(good, name="good-green-open-gop", seed=11,
                options={"preset": "veryfast", "x264-params": "open-gop=1"}),
        replace(good, name="good-green-30", seed=12, rate=30),
        replace(good, name="good-green-50", seed=13, rate=50, seconds=17.0, lead_in=14.0),
        replace(good, name="good-portrait", seed=14, **portrait),
        replace(good, name="good-4k", seed=15, width=3840, height=2160, seconds=16.0, lead_in=13.0),
        replace(good, name="good-soft-voice", seed=16, voice_db=-30.0, floor_db=-70.0),
        replace(good, name="good-loud-voice", seed=17, voice_db=-10.0),
        replace(good, name="good-some-room-noise", seed=18, floor_db=-48.0),
        replace(good, name="good-long-lead-in", seed=19, seconds=22.0, lead_in=18.0),
        replace(good, name="good-office-kept", seed=20, scene="office", is_green_wanted=False),
        replace(good, name="good-flexus", seed=21, **flexus),
        replace(good, name="good-flexus-walking", seed=22, has_moving_hands=True, **flexus),
        replace(good, name="good-flexus-portrait", seed=23, **flexus, **portrait),
        replace(good, name="good-phone-jitter", seed=24, vfr="jitter"),
        replace(good, name="good-green-high-bitrate", seed=25, options={"preset": "ultrafast", "crf": "12"}),
        # P10, P11: the screen
        *(replace(good, name=f"office-as-green-{n}", seed=30 + n, scene="office", finds=("P10",)) for n in range(3)),
        *(replace(good, name=f"partial-{n}", seed=34 + n, scene="partial", finds=("P10",)) for n in range(3)),
        replace(good, name="partial-portrait", seed=37, scene="partial", finds=("P10",), **portrait),
        replace(good, name="uneven-vignette", seed=38, scene="uneven", finds=("P11",)),
        replace(good, name="uneven-shadow", seed=39, scene="shadow", finds=("P11",)),
        replace(good, name="uneven-half", seed=40, scene="half", finds=("P11",)),
        # P12: brightness
        replace(good, name="black-start", seed=41, events=(("black", 0, 1.5),), finds=("P12",)),
        replace(good, name="black-start-short", seed=42, events=(("black", 0, 0.6),), finds=("P12",)),
        replace(good, name="fade-in-long-gop", seed=43, gop=250, events=(("fade", 0, 2.0),), finds=("P12",)),
        replace(good, name="flash", seed=44, events=(("white", 8.0, 8.2),), finds=("P12",)),
        replace(good, name="flash-long-gop", seed=45, gop=250, events=(("white", 7.0, 7.2),), finds=("P12",)),
        replace(good, name="black-middle", seed=46, events=(("black", 9.0, 9.6),), finds=("P12",)),
        replace(good, name="dark", seed=47, gain=0.22, finds=("P12",)),
        replace(good, name="dark-office", seed=48, scene="office", is_green_wanted=False, gain=0.2, finds=("P12",)),
        # P13: one take
        replace(good, name="cut", seed=50, events=(("scene", 9.0, 99),), finds=("P13",)),
        replace(good, name="cut-long-gop", seed=51, gop=250, events=(("scene", 7.3, 99),), finds=("P13",)),
        replace(good, name="cut-one-keyframe", seed=52, gop=9999, events=(("scene", 8.1, 99),), finds=("P13",)),
        replace(good, name="cut-and-back", seed=53, events=(("scene", 6.0, 12.0),), finds=("P13",)),
        replace(good, name="light-change", seed=54, events=(("dim", 9.0, 99),), finds=("P13",)),
        replace(good, name="light-change-office", seed=55, scene="office", is_green_wanted=False,
                events=(("dim", 10.0, 99),), finds=("P13",)),
        replace(good, name="camera-moved", seed=56, scene="office", is_green_wanted=False,
                events=(("moved", 9.0, 99),), finds=("P13",)),
        # P14, P15: sound
        replace(good, name="silent", seed=60, voice_db=None, floor_db=-90.0, finds=("P14",)),
        replace(good, name="silent-noise-only", seed=61, voice_db=None, floor_db=-66.0, finds=("P14",)),
        replace(good, name="quiet", seed=62, voice_db=-50.0, floor_db=-80.0, finds=("P14",)),
        replace(good, name="noisy", seed=63, floor_db=-26.0, finds=("P14",)),
        replace(good, name="noisy-fan", seed=64, voice_db=-22.0, floor_db=-33.0, finds=("P14",)),
        replace(good, name="clipped", seed=65, voice_db=2.0, finds=("P14",)),
        replace(good, name="clipped-hard", seed=66, voice_db=9.0, finds=("P14",)),
        replace(good, name="talks-at-once", seed=67, lead_in=0.0, finds=("P15",)),
        replace(good, name="talks-after-4", seed=68, lead_in=4.0, finds=("P15",)),
        replace(good, name="talks-after-9", seed=69, lead_in=9.0, finds=("P15",)),
        replace(good, name="no-sound", seed=70, has_sound=False, finds=("P04",)),
        # P01: cut, in five ways
        *(replace(good, name=f"truncated-{cut}", seed=71, cut=cut, finds=("P01",), seconds=16.5, lead_in=14.0)
          for cut in ("index-last", "index-first", "header-only", "one-byte", "zeros")),
        # P02 to P05, P09: how it was made
        replace(good, name="vfr", seed=76, vfr="drops", finds=("P02",)),
        replace(good, name="vfr-pauses", seed=77, vfr="pauses", finds=("P02",)),
        replace(good, name="24-a-second", seed=78, rate=24, finds=("P02",)),
        replace(good, name="rotated-90", seed=79, turned=90, finds=("P03",)),
        replace(good, name="rotated-270", seed=80, turned=270, finds=("P03",), **portrait),
        replace(good, name="10-bit", seed=81, pixels="yuv420p10le", finds=("P05",)),
        replace(good, name="422", seed=82, pixels="yuv422p", finds=("P05",)),
        replace(good, name="interlaced", seed=83,
                options={"preset": "ultrafast", "x264-params": "tff=1:interlaced=1"}, finds=("P05",)),
        replace(good, name="pixels-not-square", seed=84, shape=(4, 3), finds=("P05",)),
        replace(good, name="hdr", seed=85, pixels="yuv420p10le", finds=("P05",),
                options={"preset": "ultrafast",
                         "x264-params": "transfer=arib-std-b67:colorprim=bt2020:colormatrix=bt2020nc"}),
        replace(good, name="hevc", seed=86, codec="libx265", finds=("P09",),
                options={"preset": "ultrafast", "x265-params": "log-level=none"}),
        # P16: faces
        replace(good, name="two-people", seed=100, place=0.34, others=(0.66,), finds=("P16",)),
        replace(good, name="two-people-office", seed=101, scene="office", is_green_wanted=False, place=0.32,
                others=(0.7,), finds=("P16",)),
        replace(good, name="three-people", seed=102, place=0.28, others=(0.5, 0.72), size=0.7, finds=("P16",)),
        replace(good, name="small-face", seed=103, size=0.35, finds=("P16",)),
        replace(good, name="small-face-office", seed=104, scene="office", is_green_wanted=False, size=0.4,
                finds=("P16",)),
        replace(good, name="small-face-portrait", seed=105, size=0.45, finds=("P16",), **portrait),
        # Their shoulders cover one side of the screen.
        replace(good, name="lying-face", seed=106, is_lying=True, finds=("P10", "P16")),
        replace(good, name="no-face", seed=107, is_turned_away=True, finds=("P16",)),
        # P17: needs every picture
        replace(good, name="jump-cut", seed=90, events=(("jump", 16.0, 99),), deep=("P17",)),
        replace(good, name="jump-cut-office", seed=91, scene="office", is_green_wanted=False,
                events=(("jump", 16.2, 99),), deep=("P17",)),
        replace(good, name="freeze", seed=92, events=(("freeze", 15.6, 17.0),), deep=("P17",)),
        replace(good, name="freeze-noiseless", seed=93, noise=0.0, has_moving_hands=True,
                events=(("freeze", 15.6, 17.0),), deep=("P17",)),
    ]  # fmt: skip
