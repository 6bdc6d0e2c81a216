"""The files of an entry: what each is by itself, and whether they go together."""

from __future__ import annotations

from collections.abc import Container, Sequence

from orchestrator.domain.assets import Asset, AssetKind
from orchestrator.domain.entries import Entry
from orchestrator.domain.segments import (
    SegmentError,
    auto_part_count,
    explicit_part_count,
    largest_part_count,
)
from orchestrator.manifest.looking import LocalFiles, Look, access_complaint
from orchestrator.manifest.media import MediaLibraryError, complaints, read_film
from orchestrator.manifest.problems import Problem, Severity, without_ignored
from orchestrator.preflight.contact import contact_complaint
from orchestrator.preflight.rules import Verdict

#: Without these the review fails, unless the account is on the vendor's list.
_REVIEW_NEEDS = (AssetKind.ID_CARD_IMAGE1, AssetKind.ID_CARD_IMAGE2, AssetKind.GRANT_FILE)


def inspect_files(
    entry: Entry, local: LocalFiles, *, with_media: bool, manifest_file: str
) -> tuple[tuple[Asset, ...], list[Problem]]:
    """Look at the files of *entry*: the assets that can be sent, and the problems of all.

    *with_media* also reads length and picture size of the training video, which takes some milliseconds.
    """
    inspection = _Inspection(entry, manifest_file)
    files = entry.avatar.files()
    for kind, path in files.items():
        inspection.take(kind, local.look(kind, path))
    inspection.check_twins()
    inspection.check_review_needs(files)
    if with_media:
        inspection.check_film()
    problems = without_ignored(inspection.problems, entry.ignored) if entry.ignored else inspection.problems
    return tuple([asset for asset, _ in inspection.found]), problems


class _Inspection:
    """Collects the assets and problems of one entry."""

    def __init__(self, entry: Entry, manifest_file: str) -> None:
        self._entry = entry
        self._manifest_file = manifest_file
        #: Assets with their device, which together with the inode tells a file from every other.
        self.found: list[tuple[Asset, int]] = []
        self.problems: list[Problem] = []

    def _report(
        self,
        rule: str,
        field: str,
        message: str,
        severity: Severity = Severity.ERROR,
        judged: Verdict | None = None,
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
            judged=judged,
        )
        self.problems.append(problem)

    def take(self, kind: AssetKind, look: Look) -> None:
        """Take what a look at one file told."""
        for message, severity in look.complaints:
            self._report(_look_rule(kind, look), kind, message, severity)
        if look.asset is None:
            return
        self.found.append((look.asset, look.device))
        if kind.is_multipart:
            self._check_parts(kind, look.asset.size)

    def _check_parts(self, kind: AssetKind, size: int) -> None:
        try:
            self._check_part_count(kind, size)
        except SegmentError as error:
            self._report("M07", kind, str(error))

    def _check_part_count(self, kind: AssetKind, size: int) -> None:
        avatar = self._entry.avatar
        own = avatar.action_video_multipart_count if kind is AssetKind.ACTION_VIDEO else None
        count = own or avatar.video_multipart_count
        is_inherited = kind is AssetKind.ACTION_VIDEO and own is None
        if count == "auto":
            auto_part_count(size)
        elif is_inherited and count > (largest := largest_part_count(size)):
            message = f"is too small for the {count} parts it inherits from video_multipart_count"
            self._report("M07", kind, f"{message}; {largest} will be used", _WARNING)
        else:
            explicit_part_count(size, count)

    def check_twins(self) -> None:
        """Report a file that is given for two kinds; only the cover is often one of the pictures."""
        first: dict[tuple[int, int], AssetKind] = {}
        for asset, device in self.found:
            other = first.setdefault((device, asset.fingerprint.inode), asset.kind)
            if other is not asset.kind:
                severity = _WARNING if AssetKind.COVER in {other, asset.kind} else Severity.ERROR
                self._report("M08", asset.kind, f"{asset.path}: is the same file as {other}", severity)

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

    def check_film(self) -> None:
        """Check what the service's review would of the training video."""
        assets = [asset for asset, _ in self.found if asset.kind is AssetKind.TRAINING_VIDEO]
        faulty = {problem.field for problem in self.problems if problem.severity is Severity.ERROR}
        if assets and AssetKind.TRAINING_VIDEO not in faulty:
            self._report_film(assets)

    def _report_film(self, assets: Sequence[Asset]) -> None:
        kind, path = assets[0].kind, assets[0].path
        try:
            film = read_film(path)
        except MediaLibraryError:
            hint = "libmediainfo is not installed; --no-media-check leaves this out"
            self._report("P08", kind, f"length and picture size cannot be checked: {hint}", _WARNING)
        except (OSError, RuntimeError) as error:
            self._report("M05", kind, f"{path}: {access_complaint(path, error)}")
        else:
            for rule, message, severity in complaints(film, is_flexus=self._entry.avatar.is_any_flexus):
                self._report(rule, kind, f"{path}: {message}", severity)


def _look_rule(kind: AssetKind, look: Look) -> str:
    """The rule that a look at one file speaks for: it exists, or else it has the format of its kind."""
    if look.asset is None:
        return "M05"
    return "P09" if kind.is_multipart else "M06"


_WARNING = Severity.WARNING
