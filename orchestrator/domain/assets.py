"""What an entry sends: the kinds of assets and the local files behind them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol


class AssetKind(StrEnum):
    """The role a local file plays in a training job; also the manifest's field name for it."""

    TRAINING_VIDEO = "training_video"
    ACTION_VIDEO = "action_video"
    AUDIO = "audio"
    COVER = "cover"
    ID_CARD_IMAGE1 = "id_card_image1"
    ID_CARD_IMAGE2 = "id_card_image2"
    GRANT_FILE = "grant_file"
    PRE_BEAUTY_IMAGE = "pre_beauty_image"
    POST_BEAUTY_IMAGE = "post_beauty_image"

    #: True when the service hands out one URL per segment (metastudio-protocol section 1.1).
    is_multipart: bool
    #: True for what belongs to one person or one film; letters and covers may be shared.
    is_personal: bool
    #: The Content-Type that is part of the URL's signature (metastudio-protocol section 0, fact 6).
    content_type: str

    def __init__(self, field: str) -> None:
        """Decide once what is asked for every file: a property of a member costs a call each time."""
        self.is_multipart = field in {"training_video", "action_video"}
        self.is_personal = self.is_multipart or field in {"audio", "id_card_image1", "id_card_image2"}
        self.content_type = "application/zip" if field == "audio" else "application/octet-stream"


class FileStatus(Protocol):
    """What the system tells of a file, as far as it counts here."""

    @property
    def st_size(self) -> int:
        """Bytes."""

    @property
    def st_mtime_ns(self) -> int:
        """When it was last written, in nanoseconds."""

    @property
    def st_ino(self) -> int:
        """Its inode."""


class Fingerprint(NamedTuple):
    """What tells that a file is still the one that was planned: bytes, mtime in nanoseconds, inode.

    An inode of 0 is not known: hosts that share a journal need not see the same one, and some file systems have none.
    """

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, status: FileStatus) -> Fingerprint:
        """That of the file which the system tells *status* of."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)

    def fits(self, found: Fingerprint | None) -> bool:
        """True when *found*, None for no file, is that of the file which was planned with this one."""
        return self == found or (found is not None and not self.inode and self[:2] == found[:2])


@dataclass(frozen=True, slots=True)
class Asset:
    """One local file of an entry."""

    kind: AssetKind
    path: str
    fingerprint: Fingerprint

    @property
    def size(self) -> int:
        """The planned length in bytes."""
        return self.fingerprint.size
