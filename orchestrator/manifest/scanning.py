"""Finding avatars in a folder of footage by its file names; ambiguous files are left to the user."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from orchestrator.domain.assets import AssetKind
from orchestrator.domain.entries import slug
from orchestrator.manifest.naming import (
    KNOWN_ENDINGS,
    NamedFile,
    Words,
    named_file,
    person_folders,
    untrusted_words,
)
from orchestrator.preflight.films.film import read_film

#: A folder with more files is probably a whole disk, not a delivery of footage.
MAX_FILES = 50_000
#: A training video is at least three minutes long (rule P11); a much shorter film is of another kind.
_SHORTEST_TRAINING_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Person:
    """The files of one person in a folder; `film` describes the training video for display."""

    name: str
    files: Mapping[AssetKind, PurePosixPath]
    film: str = ""


@dataclass(slots=True)
class Scan:
    """The people who have a training video, and by path the reason why each other file is left out."""

    people: list[Person] = field(default_factory=list)
    unclear: dict[PurePosixPath, str] = field(default_factory=dict)


class TooManyFilesError(Exception):
    """The folder has more than MAX_FILES files."""


def scan_folder(folder: Path) -> Scan:
    """Scan *folder* without hidden files and links to folders; raises OSError or TooManyFilesError."""
    files = [named_file(path) for path in _files_in(folder)]
    scan = Scan()
    by_person: dict[tuple[str, ...], list[tuple[NamedFile, Words]]] = defaultdict(list)
    doubted, about_one = untrusted_words(files), person_folders(files)
    for file in files:
        reason = unclear_kind(file, doubted)
        owner = None if reason else owner_of(file, is_person_folder=file.path.parent in about_one)
        if isinstance(owner, Words):
            # Anna of one studio is not Anna of another. Folders named only after kinds do not separate people.
            around = (words.key for words in file.folders if words.rest and words is not owner)
            by_person[owner.key, *around].append((file, owner))
        else:
            scan.unclear[file.path] = reason or owner or "it names no person"
    for found in by_person.values():
        _add_person(scan, folder, found)
    _set_namesakes_aside(scan)
    scan.people.sort(key=lambda person: person.name.casefold())
    return scan


def _set_namesakes_aside(scan: Scan) -> None:
    """Move people whose names produce the same id, or no id, to the unclear files."""
    by_id: dict[str, list[Person]] = defaultdict(list)
    for person in scan.people:
        by_id[slug(person.name)].append(person)
    for entry_id, people in by_id.items():
        if len(people) > 1 or not entry_id:
            reason = (
                f"{len(people)} people are called {people[0].name}" if entry_id else "its name makes no id"
            )
            for person in people:
                scan.unclear |= dict.fromkeys(person.files.values(), reason)
                scan.people.remove(person)


def _files_in(folder: Path) -> Iterator[PurePosixPath]:
    def fail(error: OSError) -> None:
        raise error  # an unreadable folder is an error: skipping it would silently omit the people in it

    count = 0
    for root, folders, names in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        for name in sorted(names):
            count += 1
            if count > MAX_FILES:
                raise TooManyFilesError
            if not name.startswith((".", "~$")) and PurePosixPath(name).suffix.lower() in KNOWN_ENDINGS:
                yield PurePosixPath(Path(root, name).relative_to(folder).as_posix())


def unclear_kind(file: NamedFile, doubted: frozenset[str]) -> str | None:
    """Return the reason why the kind of *file* is unclear; None when it is clear."""
    if len(file.kinds) > 1:
        return f"its name is that of several kinds: {', '.join(sorted(file.kinds))}"
    if not file.kinds:
        return "a picture of which kind? Its name should say cover, front or back"
    if not file.can_be_its_kind:
        return f"its name says {next(iter(file.kinds))}, but not its ending"
    if words := sorted(doubted & file.kind_words):
        return f"{words[0]} may be a person's name"
    return None


def owner_of(file: NamedFile, *, is_person_folder: bool) -> Words | str:
    """Return the words that name the person, or as text the reason why the person is unclear."""
    own, folder = file.own, file.folders[-1] if file.folders else None
    around = folder if is_person_folder else file.person_folder
    doubt = f"of {' '.join(around.rest if around else ())}, as its folder says, or of {' '.join(own.rest)}?"
    if around is not None and around.kinds and (is_person_folder or not own.rest):
        return f"{' '.join(sorted(around.kind_words))} may be a part of its folder's name"
    if is_person_folder and folder is not None:
        return folder if own.key in {"", folder.key} or own.is_of_device else doubt
    if own.is_of_device:
        return "named by a camera: whose is it?"
    if own.is_number and around is not None:
        return doubt
    return own if own.rest else around or "it names no person"


def _add_person(scan: Scan, folder: Path, found: Sequence[tuple[NamedFile, Words]]) -> None:
    by_kind: dict[AssetKind, list[NamedFile]] = defaultdict(list)
    for file, _ in found:
        by_kind[next(iter(file.kinds))].append(file)
    clear = {kind: files[0].path for kind, files in by_kind.items() if len(files) == 1}
    for kind, files in by_kind.items():
        if len(files) > 1:
            scan.unclear |= {file.path: f"one of {len(files)} files that could be {kind}" for file in files}
    name = " ".join(found[0][1].rest)
    training = clear.get(AssetKind.TRAINING_VIDEO)
    if training is None:
        scan.unclear |= dict.fromkeys(clear.values(), f"no training video of {name}")
        return
    seconds, shape = film_facts(folder / training)
    if seconds is not None and seconds < _SHORTEST_TRAINING_SECONDS:
        scan.unclear |= dict.fromkeys(clear.values(), f"the training video has only {seconds:.0f} s")
        return
    scan.people.append(Person(name, clear, shape))


def film_facts(path: Path) -> tuple[float | None, str]:
    """Return the length in seconds and a summary such as `3:10 landscape`; (None, '') for an unreadable film.

    `validate` reports why a film cannot be read.
    """
    try:
        film = read_film(str(path))
    except OSError:
        return None, ""
    if film.seconds is None or film.width is None or film.height is None:
        return film.seconds, ""
    is_turned = film.turned % 180 != 0
    is_portrait = (film.height > film.width) is not is_turned
    minutes, rest = divmod(round(film.seconds), 60)
    return film.seconds, f"{minutes}:{rest:02} {'portrait' if is_portrait else 'landscape'}"
