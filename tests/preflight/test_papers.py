"""Pictures, letters and voices that are cut, too small or not what they should be (rule P06)."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.domain.assets import AssetKind
from orchestrator.manifest import LocalFiles
from orchestrator.preflight.rulebook import Finding
from orchestrator.preflight.rules.rule import Verdict
from orchestrator.simulator.footage import write_audio_zip, write_letter, write_picture

CARD, COVER, LETTER = AssetKind.ID_CARD_IMAGE1, AssetKind.COVER, AssetKind.GRANT_FILE


def findings(kind: AssetKind, path: Path) -> tuple[Finding, ...]:
    return LocalFiles().look(kind, str(path)).findings


def jpeg(path: Path, width: int, height: int) -> None:
    """A picture as a camera writes it, with a thumbnail's end in its header."""
    with av.open(io.BytesIO(), "w", format="mjpeg") as film:
        stream = film.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p"
        packets = [*stream.encode(av.VideoFrame(width, height, "yuvj420p")), *stream.encode()]
    picture = b"".join(bytes(packet) for packet in packets)
    thumbnail = b"Exif\0\0 a thumbnail \xff\xd8 of its own \xff\xd9"
    exif = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    path.write_bytes(picture[:2] + exif + picture[2:])


@pytest.mark.parametrize("kind", [CARD, COVER, LETTER])
def test_whole_files_have_nothing_to_find(tmp_path: Path, kind: AssetKind) -> None:
    """Of each format that is usual for the kind."""
    write_picture(tmp_path / "a.png", 1)
    jpeg(tmp_path / "a.jpg", 1200, 800)
    write_letter(tmp_path / "a.pdf", 1)

    for name in ("a.png", "a.jpg", *(["a.pdf"] if kind is LETTER else [])):
        assert findings(kind, tmp_path / name) == ()


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.pdf"])
@pytest.mark.parametrize("share", [0.3, 0.8, 1.0])
def test_a_file_that_was_cut_has_no_end(tmp_path: Path, name: str, share: float) -> None:
    """Wherever: at a third, or only the last bytes."""
    path = tmp_path / name
    if name == "a.png":
        write_picture(path, 1)
    elif name == "a.jpg":
        jpeg(path, 1200, 800)
    else:
        write_letter(path, 1)
    content = path.read_bytes()
    path.write_bytes(content[: min(int(len(content) * share), len(content) - 9)])

    (finding,) = findings(LETTER, path)

    assert (finding.rule, finding.verdict, finding.is_error) == ("P06", Verdict.LIKELY_REFUSED, False)
    assert "was cut" in finding.message


@pytest.mark.parametrize("name", ["small.png", "small.jpg"])
def test_a_card_is_large_enough_to_be_read(tmp_path: Path, name: str) -> None:
    """A cover may be small."""
    content = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (640).to_bytes(4, "big") + (400).to_bytes(4, "big")
    (tmp_path / "small.png").write_bytes(content + bytes(20) + b"IEND\xaeB`\x82")
    jpeg(tmp_path / "small.jpg", 640, 400)

    (finding,) = findings(CARD, tmp_path / name)

    assert (finding.rule, finding.verdict) == ("P06", Verdict.LOOK_FIRST)
    assert "640x400" in finding.message
    assert findings(COVER, tmp_path / name) == ()


def test_a_voice_zip_holds_sound_only(tmp_path: Path) -> None:
    """What a file manager adds on its own is surplus too."""
    write_audio_zip(tmp_path / "voice.zip", 1)
    assert findings(AssetKind.AUDIO, tmp_path / "voice.zip") == ()

    with zipfile.ZipFile(tmp_path / "voice.zip", "a") as archive:
        for name in ("__MACOSX/._voice.wav", "notes.docx", "b/.DS_Store"):
            archive.writestr(name, b"x")
    (finding,) = findings(AssetKind.AUDIO, tmp_path / "voice.zip")

    assert (finding.rule, finding.verdict) == ("P06", Verdict.LIKELY_REFUSED)
    assert "notes.docx" in finding.message


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(at=st.integers(0, 400), junk=st.binary(min_size=1, max_size=8))
def test_no_damage_makes_the_look_fail(tmp_path: Path, at: int, junk: bytes) -> None:
    """A JPEG's segments may say anything."""
    path = tmp_path / "a.jpg"
    if not path.exists():
        jpeg(tmp_path / "good.jpg", 64, 64)
    content = (tmp_path / "good.jpg").read_bytes()
    path.write_bytes(b"\xff\xd8\xff" + content[3:at] + junk + content[at + len(junk) :])

    assert all(finding.rule in {"P06", "M06"} for finding in findings(CARD, path))
