"""What every test starts from."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Under nohup SIGHUP is ignored, here and in every command a test starts, and a command that finds it ignored leaves
# it so. The tests are about commands from a terminal; those about nohup ignore the signal themselves.
signal.signal(signal.SIGHUP, signal.SIG_DFL)


# The pages that are made from the program are made by a package of the scripts, which is no part of the program.
sys.path.append(str(Path(__file__).parents[1] / "scripts"))


@pytest.fixture(autouse=True, scope="session")
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What the program finds out about files in tests is not kept in the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder
