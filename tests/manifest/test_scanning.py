"""Folders as people hand them over: right pairs are found, and what could be two things is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.manifest.scanning import scan_folder
from orchestrator.simulator.footage import sample_footage

SHORT = {
    "training_video": "film",
    "action_video": "action",
    "id_card_image1": "front",
    "id_card_image2": "back",
    "grant_file": "letter",
    "cover": "cover",
    "audio": "audio",
    "pre_beauty_image": "before",
    "post_beauty_image": "after",
}
#: What should come of a folder: by person `kind=path` in any order; all other files must be unclear.
SHAPES: dict[str, tuple[list[str], dict[str, dict[str, str]]]] = {
    "flat": (
        ["anna.mp4", "anna-front.png", "anna-back.png", "anna.pdf", "bo.mp4"],
        {
            "anna": {
                "film": "anna.mp4",
                "front": "anna-front.png",
                "back": "anna-back.png",
                "letter": "anna.pdf",
            },
            "bo": {"film": "bo.mp4"},
        },
    ),
    "upper case and other separators": (
        ["ANNA LI.MP4", "Anna_Li_FRONT.JPG", "anna-li.back.jpeg"],
        {"ANNA LI": {"film": "ANNA LI.MP4", "front": "Anna_Li_FRONT.JPG", "back": "anna-li.back.jpeg"}},
    ),
    "a folder each": (
        ["Anna/video.mp4", "Anna/front.png", "Bo/video.mp4", "Bo/letter.pdf"],
        {
            "Anna": {"film": "Anna/video.mp4", "front": "Anna/front.png"},
            "Bo": {"film": "Bo/video.mp4", "letter": "Bo/letter.pdf"},
        },
    ),
    "a folder each, names again": (
        ["Anna/anna.mp4", "Anna/anna-front.png"],
        {"Anna": {"film": "Anna/anna.mp4", "front": "Anna/anna-front.png"}},
    ),
    "a folder each, with folders in it": (
        ["Anna/video/training.mp4", "Anna/ids/front.png"],
        {"Anna": {"film": "Anna/video/training.mp4", "front": "Anna/ids/front.png"}},
    ),
    "a folder each, named by the camera": (
        ["Anna/IMG_0001.MP4", "Anna/front.png"],
        {"Anna": {"film": "Anna/IMG_0001.MP4", "front": "Anna/front.png"}},
    ),
    "a folder for each kind": (
        ["videos/anna.mp4", "actions/anna.mp4", "front/anna.png", "letters/anna.pdf", "covers/anna.png"],
        {
            "anna": {
                "film": "videos/anna.mp4",
                "action": "actions/anna.mp4",
                "front": "front/anna.png",
                "letter": "letters/anna.pdf",
                "cover": "covers/anna.png",
            }
        },
    ),
    "Chinese, flat": (
        ["陈静.mp4", "陈静动作.mp4", "陈静身份证正面.jpg", "陈静-身份证反面.jpg", "陈静授权书.pdf"],
        {
            "陈静": {
                "film": "陈静.mp4",
                "action": "陈静动作.mp4",
                "front": "陈静身份证正面.jpg",
                "back": "陈静-身份证反面.jpg",
                "letter": "陈静授权书.pdf",
            }
        },
    ),
    "Chinese, a folder each": (
        ["陈静/训练视频.mp4", "陈静/动作.mp4", "陈静/身份证国徽面.png", "陈静/授权书.pdf"],
        {
            "陈静": {
                "film": "陈静/训练视频.mp4",
                "action": "陈静/动作.mp4",
                "back": "陈静/身份证国徽面.png",
                "letter": "陈静/授权书.pdf",
            }
        },
    ),
    "Chinese, a folder for each kind": (
        ["视频/陈静.mp4", "动作/陈静.mp4", "身份证正面/陈静.jpg", "授权书/陈静.pdf"],
        {
            "陈静": {
                "film": "视频/陈静.mp4",
                "action": "动作/陈静.mp4",
                "front": "身份证正面/陈静.jpg",
                "letter": "授权书/陈静.pdf",
            }
        },
    ),
    "numbers": (
        ["001.mp4", "001-front.png", "002.mp4", "010.mp4", "010.pdf"],
        {
            "001": {"film": "001.mp4", "front": "001-front.png"},
            "002": {"film": "002.mp4"},
            "010": {"film": "010.mp4", "letter": "010.pdf"},
        },
    ),
    "names that begin alike": (
        ["an.mp4", "anna.mp4", "anna-front.png", "anna2.mp4", "an-back.png"],
        {
            "an": {"film": "an.mp4", "back": "an-back.png"},
            "anna": {"film": "anna.mp4", "front": "anna-front.png"},
            "anna2": {"film": "anna2.mp4"},
        },
    ),
    "a handover in a folder": (
        ["November/videos/anna.mp4", "November/front/anna.png"],
        {"anna": {"film": "November/videos/anna.mp4", "front": "November/front/anna.png"}},
    ),
    "voices and beauty": (
        ["anna.mp4", "anna.zip", "anna美颜前.png", "anna美颜后.png"],
        {
            "anna": {
                "film": "anna.mp4",
                "audio": "anna.zip",
                "before": "anna美颜前.png",
                "after": "anna美颜后.png",
            }
        },
    ),
    "junk": (
        ["anna.mp4", ".DS_Store", "._anna.mp4", "~$list.png", "notes.txt", "__MACOSX/anna.mp4"],
        {"anna": {"film": "anna.mp4"}},
    ),
    "two takes": (["anna.mp4", "Anna.MP4", "anna-front.png"], {}),
    "a take with a number": (
        ["anna.mp4", "anna-2.mp4", "anna-front.png"],
        {"anna": {"film": "anna.mp4", "front": "anna-front.png"}, "anna 2": {"film": "anna-2.mp4"}},
    ),
    "two fronts": (["anna.mp4", "anna-front.png", "anna front.jpg"], {"anna": {"film": "anna.mp4"}}),
    "pictures of no kind": (["anna.mp4", "anna.png", "anna-1.png"], {"anna": {"film": "anna.mp4"}}),
    "front and back": (["anna.mp4", "anna-front-back.png"], {"anna": {"film": "anna.mp4"}}),
    "ids of nobody": (["anna.mp4", "bo-front.png"], {"anna": {"film": "anna.mp4"}}),
    "camera names": (["IMG_0001.MP4", "IMG_0002.MP4", "DSC0003.jpg", "20261128_101500.mp4"], {}),
    "kind that the ending denies": (
        ["anna.mp4", "anna-front.pdf", "anna-letter.mp4"],
        {"anna": {"film": "anna.mp4"}},
    ),
    "a person called Grant": (
        ["Grant Smith.mp4", "Grant Smith.pdf", "Smith.mp4"],
        {"Smith": {"film": "Smith.mp4"}},
    ),
    "a folder called Grant": (
        ["Grant Smith/video.mp4", "Grant Smith/front.png", "Smith/video.mp4"],
        {"Smith": {"film": "Smith/video.mp4"}},
    ),
    "another name in a person's folder": (
        ["Anna/video.mp4", "Anna/front.png", "Anna/bo-back.png"],
        {"Anna": {"film": "Anna/video.mp4", "front": "Anna/front.png"}},
    ),
    "namesakes in two studios": (["Beijing/anna.mp4", "Shanghai/anna.mp4", "Shanghai/anna-front.png"], {}),
    "ids in another studio": (
        ["Beijing/anna.mp4", "Beijing/bo.mp4", "Shanghai/anna-front.png"],
        {"anna": {"film": "Beijing/anna.mp4"}, "bo": {"film": "Beijing/bo.mp4"}},
    ),
    "numbers in a person's folder": (["Anna/1.mp4", "Anna/2.mp4", "Bo/1.mp4"], {}),
    "composed and decomposed": (
        ["Ren\u00e9.mp4", "Rene\u0301-front.png"],
        {"Ren\u00e9": {"film": "Ren\u00e9.mp4", "front": "Rene\u0301-front.png"}},
    ),
    "nothing but pictures": (["anna-front.png", "anna-back.png"], {}),
}


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of a usual length."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    path.write_bytes(sample_footage())
    return path


def lay_out(folder: Path, names: list[str], film: Path) -> None:
    """Make the files; films are one real film under many names."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() == ".mp4":
            path.hardlink_to(film)
        else:
            path.write_bytes(b"content")


@pytest.mark.parametrize("shape", SHAPES)
def test_right_pairs_are_found_and_nothing_else(tmp_path: Path, film: Path, shape: str) -> None:
    """Every file is in one place: a person's, or among the unclear."""
    names, expected = SHAPES[shape]
    lay_out(tmp_path, names, film)

    scan = scan_folder(tmp_path)

    found = {
        person.name: {SHORT[kind]: str(path) for kind, path in person.files.items()} for person in scan.people
    }
    assert found == expected
    used = [path for files in found.values() for path in files.values()]
    unclear = [str(path) for path in scan.unclear]
    media = [name for name in names if not Path(name).name.startswith((".", "~")) and "__MAC" not in name]
    assert sorted([*used, *unclear]) == sorted(name for name in media if not name.endswith(".txt"))
    assert all(scan.unclear.values())


def test_a_short_film_is_no_training_video(
    tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its person is left out; the film's facts are told of the others."""
    lay_out(tmp_path, ["anna.mp4", "anna-front.png"], film)
    assert scan_folder(tmp_path).people[0].film == "3:10 landscape"
    monkeypatch.setattr("orchestrator.manifest.scanning._SHORTEST_TRAINING_SECONDS", 200.0)

    scan = scan_folder(tmp_path)

    assert scan.people == []
    assert len(scan.unclear) == 2
