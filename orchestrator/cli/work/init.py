"""`init --scan` and `init --sample`: write a manifest from a folder of footage, or with generated footage."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from shlex import quote

import yaml

from orchestrator.cli.output import SCHEMA, Output, print_table
from orchestrator.domain.assets import AssetKind
from orchestrator.domain.entries import slug
from orchestrator.domain.errors import ConfigurationError, UsageError
from orchestrator.manifest.paths import escaped_path
from orchestrator.manifest.scanning import MAX_FILES, Person, Scan, TooManyFilesError, scan_folder
from orchestrator.simulator.footage import write_footage, write_letter, write_picture

_SAMPLE_NAMES = ("Anna", "Bai Lin", "Carla")
_SAMPLE_BYTES = 2_000_000


def scan_to_manifest(output: Output, manifest: Path, folder: Path, *, is_forced: bool) -> None:
    """Write *manifest* from the files in *folder* and print the guesses; raises UsageError, ConfigurationError."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    try:
        scan = scan_folder(folder)
    except TooManyFilesError:
        raise UsageError(f"{folder} has over {MAX_FILES} files; name the folder of one handover") from None
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be read: {error.strerror}") from None
    if not scan.people and not scan.unclear:
        raise UsageError(f"{folder} has no films, pictures or letters")
    prefix = os.path.relpath(folder, manifest.parent)
    lines = [
        f"# Guessed from the names in {_one_line(str(folder))}. Check every line: nothing was sent.",
        "# Fields for all avatars, for example a contact, go under defaults:",
        "# defaults:",
        "#   contact: ops@example.com",
        "avatars:" if scan.people else "avatars: []",
    ]
    for person in scan.people:
        fields = {"id": slug(person.name), "name": person.name}
        fields |= {
            kind.value: escaped_path(str(PurePosixPath(prefix, path))) for kind, path in _ordered(person)
        }
        text = yaml.safe_dump([fields], sort_keys=False, allow_unicode=True, width=10_000)
        first, *others = text.rstrip("\n").splitlines()
        lines += [
            f"  {first}{f'  # film: {person.film}' if person.film else ''}",
            *(f"  {line}" for line in others),
        ]
    if scan.unclear:
        lines += ["", "# Not used, because each could be read in two ways or belongs to no film:"]
        lines += [
            f"#   {_one_line(str(path))}: {_one_line(why)}" for path, why in sorted(scan.unclear.items())
        ]
    write_new(manifest, "\n".join(lines) + "\n", is_forced=is_forced)
    _print_result(output, scan, manifest)


def write_new(path: Path, text: str, *, is_forced: bool) -> None:
    """Write *text* to *path*, which must not exist unless *is_forced*; raises UsageError, ConfigurationError."""
    from orchestrator.observe.streams import open_at_once  # noqa: PLC0415 - keeps --help quick

    try:
        with open(path, "w" if is_forced else "x", encoding="utf-8", opener=open_at_once) as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path} already exists", hint="use --force to overwrite it") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None


def _ordered(person: Person) -> list[tuple[AssetKind, PurePosixPath]]:
    """Return the person's files in the order of `AssetKind`."""
    return [(kind, person.files[kind]) for kind in AssetKind if kind in person.files]


def _one_line(text: str) -> str:
    return " ".join(text.split()) if text.isprintable() else ascii(text)


def _print_result(output: Output, scan: Scan, manifest: Path) -> None:
    if output.is_json:
        people = [
            {"entry": slug(person.name), "files": {str(kind): str(path) for kind, path in _ordered(person)}}
            for person in scan.people
        ]
        unclear = [{"path": str(path), "reason": why} for path, why in sorted(scan.unclear.items())]
        output.document({"schema": SCHEMA, "manifest": str(manifest), "avatars": people, "unclear": unclear})
    rows = [
        (person.name, person.film or "-", ", ".join(f"{kind}: {path}" for kind, path in _ordered(person)))
        for person in scan.people
    ]
    if rows:
        print_table(output, ("avatar", "film", "files"), rows)
    for path, why in sorted(scan.unclear.items()):
        output.say(f"unclear: {path}: {why}")
    output.say(f"wrote {manifest}: {len(scan.people)} avatars, {len(scan.unclear)} files left as comments")
    output.say(f"check it, then: orchestrator validate {quote(str(manifest))}")


def write_sample(output: Output, folder: Path, *, is_forced: bool) -> None:
    """Write a manifest and valid footage for it into *folder*; raises UsageError, ConfigurationError."""
    manifest = folder / "sample.yaml"
    try:
        (folder / "footage").mkdir(parents=True, exist_ok=True)
        avatars = [_sample_avatar(folder / "footage", name, seed) for seed, name in enumerate(_SAMPLE_NAMES)]
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be written: {error.strerror}") from None
    batch = {"batch_name": "sample", "defaults": {"contact": "ops@example.com"}, "avatars": avatars}
    write_new(manifest, yaml.safe_dump(batch, sort_keys=False, allow_unicode=True), is_forced=is_forced)
    if output.is_json:
        output.document({"schema": SCHEMA, "manifest": str(manifest)})
    output.say(f"wrote {manifest} and its footage; next: orchestrator validate {quote(str(manifest))}")


def _sample_avatar(footage: Path, name: str, seed: int) -> dict[str, str]:
    stem = slug(name)
    write_footage(footage / f"{stem}.mp4", size=_SAMPLE_BYTES, seed=seed)
    write_picture(footage / f"{stem}-front.png", 2 * seed)
    write_picture(footage / f"{stem}-back.png", 2 * seed + 1)
    write_letter(footage / f"{stem}.pdf", seed)
    return {
        "id": stem,
        "name": name,
        "training_video": f"footage/{stem}.mp4",
        "id_card_image1": f"footage/{stem}-front.png",
        "id_card_image2": f"footage/{stem}-back.png",
        "grant_file": f"footage/{stem}.pdf",
    }
