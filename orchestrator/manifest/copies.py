"""Files that two avatars name (rule M08), known by device and inode, so that links count too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from typing import Final

from orchestrator.domain.assets import Asset, AssetKind

#: Warnings about one file; a file that more avatars name was hardly forgotten in a copied row.
MAX_COPIES: Final = 10
_INODE_BITS: Final = 64


class Copies:
    """The files that the avatars so far have named; *shared* are paths that the manifest means for many of them.

    A file is one number, not its path: 50,000 avatars with five such files each take about 30 MB, however long
    their paths are.
    """

    def __init__(self, shared: Container[str] = ()) -> None:
        self._shared = shared
        #: The line of the first avatar that names a file.
        self._lines: dict[int, int] = {}
        self._copies: Counter[int] = Counter()

    def named_before(self, line: int, files: Iterable[tuple[Asset, int]]) -> list[tuple[Asset, int]]:
        """Take the *files*, each with its device, of the avatar in *line*.

        Returns those that an avatar before names too, with the first one's line; none of a file that too many name.
        """
        found, new = [], []
        for asset, device in files:
            inode = asset.fingerprint.inode
            # Some network file systems give every file the inode 0.
            if not (asset.kind.is_personal and inode) or asset.path in self._shared:
                continue
            file = device << _INODE_BITS | inode
            first = self._lines.get(file)
            if first is None:
                new.append(file)
                continue
            self._copies[file] += 1
            if self._copies[file] <= MAX_COPIES:
                found.append((asset, first))
        # Only now: a file that one avatar names twice is no copied row.
        for file in new:
            self._lines[file] = line
        return found


def shared_paths(defaults: Mapping[str, object]) -> frozenset[str]:
    """The files among the *defaults* of a manifest."""
    return frozenset(str(defaults[kind]) for kind in AssetKind if defaults.get(kind))
