"""What a look at a film measured: plain values, which the cache keeps and the rules judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any

from orchestrator.domain.assets import Fingerprint
from orchestrator.preflight.cache import Cache
from orchestrator.preflight.rules import Extra

#: A picture of which this share is dark, or bright, shows nothing else.
_ALL_OF_IT = 0.97
_MODULES = {Extra.PREFLIGHT: ("av", "numpy"), Extra.FACES: ("cv2",)}
_DEPTHS = ("quick", "deep")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One picture that was looked at: shares from 0 to 1, brightness from 0 to 255.

    `green_spread` is the spread of L* over the green border; `changed` the share of the border's blocks that differ
    from the shot before, `change` by how much the middle one does. `faces` are the heights of faces as shares of the
    picture's, None where nothing looked for them; of a face that lies on its side the height is negative.
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
        """True for black and for white: nothing else can be judged by it."""
        return self.dark >= _ALL_OF_IT or self.bright >= _ALL_OF_IT


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """The sound in dB below full scale; `voice_starts` in seconds, None where no voice is heard."""

    voice: float
    floor: float
    clipped: float
    voice_starts: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What a look measured; `sound` is None without a sound track. `curve` are heights of the sound, for drawing.

    `trouble` says why nothing could be measured. Of a deep look there are `freezes`, as (second, length), and
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
        """For the cache."""
        return asdict(self)

    @classmethod
    def from_dict(cls, known: dict[str, Any]) -> Measures:
        """From the cache; raises TypeError or KeyError for what another version wrote."""
        sound = known["sound"]
        changed = {
            "shots": [Shot(**shot) for shot in known["shots"]],
            "sound": Sound(**sound) if sound else None,
            "freezes": [(start, length) for start, length in known["freezes"]],
        }
        return cls(**{**known, **changed})


def is_installed(extra: Extra) -> bool:
    """True when the modules of *extra* can be imported; none is loaded for it."""
    return all(find_spec(module) is not None for module in _MODULES[extra])


def kind_of_look(*, is_deep: bool) -> str:
    """The kind under which a look made now is kept; with faces it is another."""
    return f"look-{_DEPTHS[is_deep]}{'-faces' if is_installed(Extra.FACES) else ''}"


def has_look(cache: Cache, fingerprint: Fingerprint) -> bool:
    """True when the film with *fingerprint* was looked at, however deep."""
    kinds = (f"look-{depth}{faces}" for depth in _DEPTHS for faces in ("", "-faces"))
    return any(cache.find(kind, fingerprint) is not None for kind in kinds)
