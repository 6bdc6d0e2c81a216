"""Files that two avatars name (rule M08), known by device and inode, so that links count too.

50,000 avatars with five such files each take about 7 MB, however long their paths are.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Container, Mapping
from typing import Final

from orchestrator.domain.assets import Asset, AssetKind

#: Warnings about one file; a file that more avatars name was hardly forgotten in a copied row.
MAX_COPIES: Final = 10
_FIRST_SLOTS: Final = 64
#: Spreads neighbouring inodes over the slots: 2**64 divided by the golden ratio.
_SPREAD: Final = 0x9E3779B97F4A7C15
_BITS: Final = 64
_ALL_BITS: Final = 2**_BITS - 1


class Copies:
    """The files that the avatars so far have named; *shared* are paths that the manifest means for many of them."""

    def __init__(self, shared: Container[str] = ()) -> None:
        self._shared = shared
        self._devices: dict[int, _Owners] = {}
        self._copies: Counter[tuple[int, int]] = Counter()
        #: The line of each avatar by its number; there is no avatar 0.
        self._lines = array("Q", [0])

    def begin_avatar(self, line: int) -> None:
        """Take what follows as files of the avatar in *line*."""
        self._lines.append(line)

    def line_before(self, asset: Asset, device: int) -> int | None:
        """The line of the first avatar that names the file of *asset* too; None when none does, or too many do."""
        inode = asset.fingerprint.inode
        # Some network file systems give every file the inode 0.
        if not inode or not asset.kind.is_personal or asset.path in self._shared:
            return None
        owners = self._devices.get(device)
        if owners is None:
            owners = self._devices[device] = _Owners()
        avatar = len(self._lines) - 1
        first = owners.setdefault(inode & _ALL_BITS, avatar)
        if first == avatar:
            return None
        self._copies[device, inode] += 1
        return self._lines[first] if self._copies[device, inode] <= MAX_COPIES else None


def shared_paths(defaults: Mapping[str, object]) -> frozenset[str]:
    """The files among the *defaults* of a manifest."""
    return frozenset(str(defaults[kind]) for kind in AssetKind if defaults.get(kind))


class _Owners:
    """Which avatar named each inode of one device first: a table of fixed slots, doubled when half full."""

    def __init__(self) -> None:
        self._taken = 0
        self._make(_FIRST_SLOTS)

    def _make(self, slots: int) -> None:
        self._mask = slots - 1
        self._shift = _BITS - self._mask.bit_length()
        self._inodes = array("Q", bytes(8 * slots))
        self._avatars = array("I", bytes(4 * slots))

    def setdefault(self, inode: int, avatar: int) -> int:
        """The avatar that named *inode* first, which is *avatar* when no other did."""
        slot = self._slot_of(inode)
        if first := self._avatars[slot]:
            return first
        self._inodes[slot], self._avatars[slot] = inode, avatar
        self._taken += 1
        if 2 * self._taken > self._mask:
            # Fuller tables cost more steps for each inode than the memory is worth.
            known = zip(self._inodes, self._avatars, strict=True)
            self._make(2 * (self._mask + 1))
            for old, owner in known:
                if owner:
                    slot = self._slot_of(old)
                    self._inodes[slot], self._avatars[slot] = old, owner
        return avatar

    def _slot_of(self, inode: int) -> int:
        """The slot that holds *inode*, or the free one, of avatar 0, where it belongs."""
        slot = (inode * _SPREAD & _ALL_BITS) >> self._shift
        while self._avatars[slot] and self._inodes[slot] != inode:
            slot = (slot + 1) & self._mask
        return slot
