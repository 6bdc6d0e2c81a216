"""Whether what a look needs is installed."""

from __future__ import annotations

from importlib.util import find_spec

from orchestrator.preflight.rules import Extra

_MODULES = {Extra.PREFLIGHT: ("av", "numpy"), Extra.FACES: ("cv2",)}


def is_installed(extra: Extra) -> bool:
    """True when the modules of *extra* can be imported; none is loaded for it."""
    return all(find_spec(module) is not None for module in _MODULES[extra])
