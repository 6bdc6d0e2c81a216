"""Deriving the kind and the person of a file from its name and its folders, without guessing between two."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from orchestrator.domain.assets import AssetKind
from orchestrator.domain.entries import normal

_VIDEOS = frozenset({".mp4", ".mov", ".m4v"})
_PICTURES = frozenset({".png", ".jpg", ".jpeg"})
_ENDINGS: Mapping[AssetKind, frozenset[str]] = {
    AssetKind.TRAINING_VIDEO: _VIDEOS,
    AssetKind.ACTION_VIDEO: _VIDEOS,
    AssetKind.AUDIO: frozenset({".zip"}),
    AssetKind.COVER: _PICTURES,
    AssetKind.ID_CARD_IMAGE1: _PICTURES,
    AssetKind.ID_CARD_IMAGE2: _PICTURES,
    AssetKind.GRANT_FILE: _PICTURES | {".pdf"},
    AssetKind.PRE_BEAUTY_IMAGE: _PICTURES,
    AssetKind.POST_BEAUTY_IMAGE: _PICTURES,
}
#: The kind by ending, used when no name indicates one. Pictures are absent: they may be any of several kinds.
_BY_ENDING: Mapping[str, AssetKind] = {
    **dict.fromkeys(_VIDEOS, AssetKind.TRAINING_VIDEO),
    ".zip": AssetKind.AUDIO,
    ".pdf": AssetKind.GRANT_FILE,
}
KNOWN_ENDINGS = _VIDEOS | _PICTURES | {".zip", ".pdf"}

#: Names in Latin letters are matched by whole words.
_WORDS: Mapping[str, AssetKind] = {
    **dict.fromkeys(("training", "train"), AssetKind.TRAINING_VIDEO),
    **dict.fromkeys(("action", "actions", "gesture", "gestures"), AssetKind.ACTION_VIDEO),
    **dict.fromkeys(("audio", "audios", "voice", "voices"), AssetKind.AUDIO),
    **dict.fromkeys(("cover", "covers", "poster", "thumbnail"), AssetKind.COVER),
    **dict.fromkeys(("front", "idfront"), AssetKind.ID_CARD_IMAGE1),
    **dict.fromkeys(("back", "idback"), AssetKind.ID_CARD_IMAGE2),
    **dict.fromkeys(
        ("grant", "grants", "letter", "letters", "authorization", "authorisation", "consent"),
        AssetKind.GRANT_FILE,
    ),
}
#: Chinese has no spaces between words, so these are cut out anywhere in a name, the longest first.
_CHINESE: Mapping[str, AssetKind | None] = {
    "身份证人像面": AssetKind.ID_CARD_IMAGE1,
    "身份证国徽面": AssetKind.ID_CARD_IMAGE2,
    "身份证正面": AssetKind.ID_CARD_IMAGE1,
    "身份证反面": AssetKind.ID_CARD_IMAGE2,
    "身份证背面": AssetKind.ID_CARD_IMAGE2,
    "训练视频": AssetKind.TRAINING_VIDEO,
    "动作视频": AssetKind.ACTION_VIDEO,
    "授权文件": AssetKind.GRANT_FILE,
    "授权书": AssetKind.GRANT_FILE,
    "美颜前": AssetKind.PRE_BEAUTY_IMAGE,
    "美颜后": AssetKind.POST_BEAUTY_IMAGE,
    "身份证": None,
    "人像面": AssetKind.ID_CARD_IMAGE1,
    "国徽面": AssetKind.ID_CARD_IMAGE2,
    "正面": AssetKind.ID_CARD_IMAGE1,
    "反面": AssetKind.ID_CARD_IMAGE2,
    "背面": AssetKind.ID_CARD_IMAGE2,
    "训练": AssetKind.TRAINING_VIDEO,
    "动作": AssetKind.ACTION_VIDEO,
    "音频": AssetKind.AUDIO,
    "录音": AssetKind.AUDIO,
    "封面": AssetKind.COVER,
    "授权": AssetKind.GRANT_FILE,
    "视频": None,
}
#: Words that indicate neither a kind nor a person.
_FILLERS = frozenset({"video", "videos", "film", "films", "footage", "id", "ids", "idcard", "card", "cards"})
#: Words in the file names that cameras, phones and scanners generate; they identify no person.
_DEVICE_WORD = re.compile(r"(?:img|dsc|dscf|mvi|vid|mov|pxl|scan|clip|take|untitled|c(?=\d{3}))\d*|\d{8,}")
_SEPARATORS = re.compile(r"[\s_.()\uff08\uff09\[\]【】+-]+")
_CHINESE_WORDS = re.compile("|".join(sorted(_CHINESE, key=len, reverse=True)))


class Words(NamedTuple):
    """The words of one name: the kinds they stand for, and the remaining words, which may be a person's name."""

    kinds: frozenset[AssetKind]
    kind_words: frozenset[str]
    rest: tuple[str, ...]

    @property
    def key(self) -> str:
        """The remaining words, normalized so that different spellings compare equal; '' when there are none."""
        return normal(" ".join(self.rest)).casefold()

    @property
    def is_of_device(self) -> bool:
        """True for names such as IMG_0001, which identify no person."""
        first, *others = [word.casefold() for word in self.rest] or [""]
        return bool(_DEVICE_WORD.fullmatch(first)) and all(map(str.isdecimal, others))

    @property
    def is_number(self) -> bool:
        """True for names such as 001, which may be the number of a person or of a take."""
        return bool(self.rest) and all(map(str.isdecimal, self.rest))


class NamedFile(NamedTuple):
    """A file of a scanned folder, with its path relative to that folder."""

    path: PurePosixPath
    own: Words
    folders: tuple[Words, ...]

    @property
    def kind_words(self) -> frozenset[str]:
        """The words in its name and its folders that stand for a kind."""
        return self.own.kind_words.union(*(folder.kind_words for folder in self.folders))

    @property
    def kinds(self) -> frozenset[AssetKind]:
        """The kinds indicated by its name, else by the nearest folder, else by its ending."""
        for words in (self.own, *reversed(self.folders)):
            if words.kinds:
                return words.kinds
        kind = _BY_ENDING.get(self.ending)
        return frozenset() if kind is None else frozenset({kind})

    @property
    def ending(self) -> str:
        """The file name extension in lower case, with its dot."""
        return self.path.suffix.lower()

    @property
    def can_be_its_kind(self) -> bool:
        """True when a file with this ending can be of each of its kinds."""
        return all(self.ending in _ENDINGS[kind] for kind in self.kinds)

    @property
    def person_folder(self) -> Words | None:
        """The nearest folder whose name has words other than those for kinds."""
        return next((words for words in reversed(self.folders) if words.rest), None)


def named_file(path: PurePosixPath) -> NamedFile:
    """Split the names in *path* into words."""
    return NamedFile(path, words_of(path.stem), tuple(words_of(name) for name in path.parts[:-1]))


def words_of(name: str) -> Words:
    """Split *name* into the kinds it mentions and the remaining words."""
    kinds: set[AssetKind] = set()
    kind_words: set[str] = set()

    def cut(match: re.Match[str]) -> str:
        kind = _CHINESE[match[0]]
        if kind is not None:
            kinds.add(kind)
            kind_words.add(match[0])
        return " "

    rest = []
    for word in filter(None, _SEPARATORS.split(_CHINESE_WORDS.sub(cut, normal(name)))):
        plain = word.casefold()
        if plain in _WORDS:
            kinds.add(_WORDS[plain])
            kind_words.add(plain)
        elif plain not in _FILLERS:
            rest.append(word)
    return Words(frozenset(kinds), frozenset(kind_words), tuple(rest))


def untrusted_words(files: Iterable[NamedFile]) -> frozenset[str]:
    """Return the words for kinds that also appear in files that cannot be of that kind, as in `Grant Smith.mp4`."""
    return frozenset().union(*(file.kind_words for file in files if not file.can_be_its_kind))


def person_folders(files: Sequence[NamedFile]) -> frozenset[PurePosixPath]:
    """Return the folders of one person: at least one file in each has the folder's name, or names no person."""
    found = set()
    for file in files:
        folder = file.folders[-1] if file.folders else None
        if folder and folder.rest and (file.own.key in {"", folder.key} or file.own.is_of_device):
            found.add(file.path.parent)
    return frozenset(found)
