"""The files of an entry: what each is by itself, and whether they go together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from typing import Final

from orchestrator.domain.assets import (
    MAX_AUTO_PARTS,
    MAX_PART_BYTES,
    Asset,
    AssetKind,
    SegmentError,
    auto_part_count,
    explicit_part_count,
    largest_part_count,
)
from orchestrator.domain.avatar import AudioSourceType, Avatar
from orchestrator.domain.entries import Entry
from orchestrator.manifest.inspection import LocalFiles, Look, access_complaint
from orchestrator.manifest.problems import Problem, Severity, without_ignored
from orchestrator.preflight.films.film import Wanted, judge_film
from orchestrator.preflight.papers import contact_complaint
from orchestrator.preflight.rulebook import Finding

_URL_CAP = "MetaStudio's definitions cap them at 50, so the service may not give them all"
_AUTO = (None, "auto")
#: Up to here `auto` gives no more parts than MAX_AUTO_PARTS.
_FEW_PARTS_BYTES = MAX_AUTO_PARTS * MAX_PART_BYTES
#: Without these the review fails, unless the account is on the vendor's list.
_REVIEW_NEEDS = (AssetKind.ID_CARD_IMAGE1, AssetKind.ID_CARD_IMAGE2, AssetKind.GRANT_FILE)
#: Warnings about one file; a file that more avatars name was hardly forgotten in a copied row.
MAX_COPIES: Final = 10


def inspect_files(
    entry: Entry,
    local: LocalFiles,
    copies: Copies | None = None,
    *,
    with_media: bool,
    manifest_file: str,
    is_repeated: bool = False,
) -> tuple[tuple[Asset, ...], list[Problem]]:
    """Look at the files of *entry*: the assets that can be sent, and the problems of all.

    *copies* knows the files of the entries before.
    *with_media* also reads the index of each film, which takes about a millisecond where the cache does not know it.
    An inspection that *is_repeated* leaves out warnings that take more than the file itself.
    """
    inspection = _Inspection(entry, manifest_file)
    files = entry.avatar.files()
    inspection.take(map(local.look, files.keys(), files.values()))
    inspection.check_twins()
    if not is_repeated:
        if copies is not None:
            inspection.check_copies(copies)
        inspection.check_review_needs(files)
    if with_media:
        inspection.check_films(local)
    problems = without_ignored(inspection.problems, entry.ignored) if entry.ignored else inspection.problems
    return tuple(inspection.assets), problems


def finding_problem(entry: Entry, kind: AssetKind, finding: Finding, manifest_file: str) -> Problem:
    """What a rule found about the file of *kind*, at its place in the manifest."""
    line, column = entry.place_of(kind.value)
    return Problem(
        file=manifest_file,
        line=line,
        column=column,
        entry=entry.entry_id,
        field=kind.value,
        message=finding.message,
        severity=Severity.ERROR if finding.is_error else _WARNING,
        rule=finding.rule,
        judged=finding.verdict,
    )


class _Inspection:
    """Collects the assets and problems of one entry."""

    def __init__(self, entry: Entry, manifest_file: str) -> None:
        self._entry = entry
        self._manifest_file = manifest_file
        avatar = entry.avatar
        self._is_auto = (
            avatar.video_multipart_count == "auto" and avatar.action_video_multipart_count in _AUTO
        )
        self.assets: list[Asset] = []
        #: The number of the file of each.
        self._files: list[int] = []
        self.problems: list[Problem] = []

    def _report(
        self,
        rule: str,
        field: str,
        message: str,
        severity: Severity = Severity.ERROR,
    ) -> None:
        line, column = self._entry.place_of(field)
        problem = Problem(
            file=self._manifest_file,
            line=line,
            column=column,
            entry=self._entry.entry_id,
            field=field,
            message=message,
            severity=severity,
            rule=rule,
        )
        self.problems.append(problem)

    def _report_finding(self, kind: AssetKind, finding: Finding) -> None:
        self.problems.append(finding_problem(self._entry, kind, finding, self._manifest_file))

    def take(self, looks: Iterable[Look]) -> None:
        """Record the findings about each file."""
        for kind, asset, file, findings in looks:
            for finding in findings:
                self._report_finding(kind, finding)
            if asset is None:
                continue
            self.assets.append(asset)
            self._files.append(file)
            # `auto` gives no number of parts that something is to be said of, up to very large films.
            if kind.is_multipart and not (self._is_auto and asset.fingerprint.size <= _FEW_PARTS_BYTES):
                try:
                    self._check_part_count(kind, asset.fingerprint.size)
                except SegmentError as error:
                    self._report("M07", kind, str(error))

    def _check_part_count(self, kind: AssetKind, size: int) -> None:
        """Raise SegmentError where a film cannot be cut into the parts that its own field asks for."""
        avatar = self._entry.avatar
        own = avatar.action_video_multipart_count if kind is AssetKind.ACTION_VIDEO else None
        count = own or avatar.video_multipart_count
        is_inherited = kind is AssetKind.ACTION_VIDEO and own is None
        if count == "auto":
            count = auto_part_count(size)
        elif is_inherited and count > (largest := largest_part_count(size)):
            message = f"is too small for the {count} parts it inherits from video_multipart_count"
            self._report("M07", kind, f"{message}; {largest} will be used", _WARNING)
            count = largest
        else:
            explicit_part_count(size, count)
        if count > MAX_AUTO_PARTS:
            self._report("M07", kind, f"needs {count} upload URLs; {_URL_CAP}", _WARNING)

    def check_twins(self) -> None:
        """Report a file that is given for two kinds; only the cover is often one of the pictures."""
        if len(set(self._files)) == len(self._files):
            return
        first: dict[int, AssetKind] = {}
        for asset, file in zip(self.assets, self._files, strict=True):
            other = first.setdefault(file, asset.kind)
            if file and other is not asset.kind:
                severity = _WARNING if AssetKind.COVER in {other, asset.kind} else Severity.ERROR
                self._report("M08", asset.kind, f"{asset.path}: is the same file as {other}", severity)

    def check_copies(self, copies: Copies) -> None:
        """Warn of a file that an earlier avatar names too."""
        for asset, line in copies.named_before(self._entry.line, zip(self.assets, self._files, strict=True)):
            message = f"{asset.path}: the avatar in line {line} names the same file; was a row copied?"
            self._report("M08", asset.kind, message, _WARNING)

    def check_review_needs(self, given: Container[AssetKind]) -> None:
        """Warn of what the review asks of most accounts."""
        absent = [kind for kind in _REVIEW_NEEDS if kind not in given]
        if absent:
            names = ", ".join(absent)
            message = f"{names} not given; without them most accounts fail the review"
            self._report("M09", absent[0], message, _WARNING)
        contact = self._entry.avatar.contact
        if complaint := contact_complaint(contact):
            self._report("P07", "contact", complaint, _WARNING)

    def check_films(self, local: LocalFiles) -> None:
        """Check what the service's review would of the training video and the action video."""
        faulty = {problem.field for problem in self.problems if problem.is_error}
        for asset in self.assets:
            if not asset.kind.is_multipart or asset.kind in faulty:
                continue
            try:
                film = local.film(asset.path)
            except OSError as error:
                self._report("M05", asset.kind, f"{asset.path}: {access_complaint(asset.path, error)}")
                continue
            for finding in judge_film(film, wanted_of(self._entry.avatar, asset.kind)):
                message = f"{asset.path}: {finding.message}"
                self._report_finding(asset.kind, replace(finding, message=message))


def wanted_of(avatar: Avatar, kind: AssetKind) -> Wanted:
    """What the film of *kind* is for."""
    is_voice_elsewhere = avatar.audio_source_type is AudioSourceType.AUDIO or avatar.is_only_human_model
    return Wanted(
        is_flexus=avatar.is_any_flexus,
        is_sound_needed=kind is AssetKind.TRAINING_VIDEO and not is_voice_elsewhere,
    )


_WARNING = Severity.WARNING


class Copies:
    """The files that the avatars so far have named (rule M08), known by device and inode, so that links count too.

    *shared* are paths that the manifest means for many avatars. A file is one number, not its path: 50,000 avatars
    with five such files each take about 30 MB, however long their paths are.
    """

    def __init__(self, shared: Container[str] = ()) -> None:
        self._shared = shared
        #: The line of the first avatar that names a file.
        self._lines: dict[int, int] = {}
        self._copies: Counter[int] = Counter()

    def named_before(self, line: int, files: Iterable[tuple[Asset, int]]) -> list[tuple[Asset, int]]:
        """Take the *files*, each with its `file_number`, of the avatar in *line*.

        Returns those that an avatar before names too, with the first one's line; none of a file that too many name.
        """
        found, new, lines = [], [], self._lines
        for asset, file in files:
            if not (asset.kind.is_personal and file) or asset.path in self._shared:
                continue
            first = lines.get(file)
            if first is None:
                new.append(file)
                continue
            if (told := self._copies[file]) < MAX_COPIES:
                self._copies[file] = told + 1
                found.append((asset, first))
        # Only now: a file that one avatar names twice is no copied row.
        for file in new:
            lines[file] = line
        return found


def shared_paths(defaults: Mapping[str, object]) -> frozenset[str]:
    """The files among the *defaults* of a manifest."""
    return frozenset(str(defaults[kind]) for kind in AssetKind if defaults.get(kind))
