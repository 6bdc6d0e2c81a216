"""Faces are counted, measured and told upright from lying (rule P16); with the extra only.

The face is Eileen Collins', from NASA's portrait, which is in the public domain.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

pytest.importorskip("cv2", reason="the extra preflight-faces is not installed")

from orchestrator.preflight.faces.detection import FaceFinder

FACE = Path(__file__).with_name("face.jpg")


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    """The model, loaded once."""
    return FaceFinder()


def scene(count: int, height: int = 200, quarter_turns: int = 0) -> np.ndarray[Any, Any]:
    """A green screen with so many of the portrait, *height* pixels high, turned."""
    with av.open(str(FACE)) as file:
        frame = next(file.decode(video=0))
    small = frame.reformat(width=height * 10 // 11 // 2 * 2, height=height, format="rgb24").to_ndarray()
    portrait = np.rot90(small, quarter_turns)
    picture = np.full((360, 640, 3), (40, 175, 75), np.uint8)
    for place in range(count):
        left = 640 * (place + 1) // (count + 1) - portrait.shape[1] // 2
        picture[60 : 60 + portrait.shape[0], left : left + portrait.shape[1]] = portrait
    return picture


@pytest.mark.parametrize("count", [0, 1, 2])
def test_faces_are_counted_and_measured(finder: FaceFinder, count: int) -> None:
    """Each once; the height is that of the face, not of the hair."""
    heights = finder.heights(scene(count))

    assert len(heights) == count
    assert all(0.2 < height < 0.4 for height in heights)


def test_a_small_face_is_small(finder: FaceFinder) -> None:
    """As a share of the picture."""
    (height,) = finder.heights(scene(1, height=40))

    assert height < 0.1


@pytest.mark.parametrize("quarter_turns", [1, 3])
def test_a_face_that_lies_on_its_side_is_negative(finder: FaceFinder, quarter_turns: int) -> None:
    """A portrait film that was stored lying."""
    (height,) = finder.heights(scene(1, quarter_turns=quarter_turns))

    assert height < 0
