"""The benchmark's modules, which are no part of the package."""

from __future__ import annotations

import sys
from pathlib import Path

SCRIPTS = str(Path(__file__).parent.parent.parent / "scripts")
if SCRIPTS not in sys.path:
    sys.path.append(SCRIPTS)
