"""What is sent: the files of each case, as a whole, in parts, and as a manifest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.testbed import write_video

MIB = 1 << 20


@dataclass(frozen=True)
class Case:
    """So many videos of so many bytes, sent over HTTP or HTTPS, with or without a digest."""

    name: str
    videos: int
    video_bytes: int
    part_bytes: int
    is_encrypted: bool = False
    has_digest: bool = False
    has_peers: bool = True
    parallel: int = 16

    @property
    def total_bytes(self) -> int:
        """All bytes of the case."""
        return self.videos * self.video_bytes

    @property
    def title(self) -> str:
        """The case as a heading."""
        transport = "HTTPS" if self.is_encrypted else "HTTP"
        return f"{self.name}, {transport}, {'MD5 ETags' if self.has_digest else 'no digest'}"


@dataclass(frozen=True)
class Files:
    """The files of a case in a folder."""

    case: Case
    folder: Path

    @classmethod
    def make(cls, case: Case, root: Path) -> Files:
        """Write those that are not there yet."""
        files = cls(case, root / f"{case.videos}x{case.video_bytes}")
        for path in files.videos:
            write_video(path, case.video_bytes)
        files.manifest.write_text(json.dumps({"avatars": files._avatars()}), encoding="utf-8")
        return files

    @property
    def video_folder(self) -> Path:
        """Where the videos are, and nothing else."""
        return self.folder / "videos"

    @property
    def videos(self) -> list[Path]:
        """The whole videos."""
        return [self.video_folder / f"video-{number:03}.mp4" for number in range(self.case.videos)]

    @property
    def manifest(self) -> Path:
        """The batch; JSON is YAML."""
        return self.folder / "bench.yaml"

    def parts(self) -> list[Path]:
        """The videos cut into parts, for clients that send whole files only."""
        if self.case.video_bytes <= self.case.part_bytes:
            return self.videos
        return [part for video in self.videos for part in self._cut(video)]

    def _cut(self, video: Path) -> Sequence[Path]:
        folder = self.folder / "parts"
        folder.mkdir(exist_ok=True)
        count = -(-self.case.video_bytes // self.case.part_bytes)
        paths = [folder / f"{video.stem}.{number:04}" for number in range(count)]
        if not all(path.exists() for path in paths):
            with video.open("rb") as file:
                for path in paths:
                    path.write_bytes(file.read(self.case.part_bytes))
        return paths

    def _avatars(self) -> list[dict[str, object]]:
        return [
            {"id": video.stem, "name": video.stem, "training_video": f"videos/{video.name}"}
            for video in self.videos
        ]


def cases(gib: float) -> list[Case]:
    """The cases of the long form, each of *gib*."""
    total, video = int(gib * 1024) * MIB, 64 * MIB
    count = max(total // video, 1)
    large = [
        Case(name, videos, size, video, is_encrypted, has_digest)
        for name, videos, size in ((f"1 x {gib:g} GiB", 1, total), (f"{count} x 64 MiB", count, video))
        for is_encrypted in (False, True)
        for has_digest in (False, True)
    ]
    return [*large, Case("500 small entries", 500, 128 * 1024, video, has_digest=True, has_peers=False)]


def quick_cases() -> list[Case]:
    """The cases of the smoke test."""
    kinds = ((False, False), (True, True))
    return [Case("2 x 6 MiB", 2, 6 * MIB, 2 * MIB, encrypted, digest) for encrypted, digest in kinds]
