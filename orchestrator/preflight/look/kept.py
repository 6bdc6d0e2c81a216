"""What the cache keeps of looks, and under which name."""

from __future__ import annotations

from orchestrator.domain.assets import Fingerprint
from orchestrator.preflight.cache import Cache
from orchestrator.preflight.look.extras import is_installed
from orchestrator.preflight.rules import Extra

_DEPTHS = ("quick", "deep")


def kind_of_look(*, is_deep: bool) -> str:
    """The kind under which a look made now is kept; with faces it is another."""
    return f"look-{_DEPTHS[is_deep]}{'-faces' if is_installed(Extra.FACES) else ''}"


def has_look(cache: Cache, fingerprint: Fingerprint) -> bool:
    """True when the film with *fingerprint* was looked at, however deep."""
    kinds = (f"look-{depth}{faces}" for depth in _DEPTHS for faces in ("", "-faces"))
    return any(cache.find(kind, fingerprint) is not None for kind in kinds)
