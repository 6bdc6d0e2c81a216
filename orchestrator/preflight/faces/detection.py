"""Detection of faces in a picture."""

from __future__ import annotations

from importlib import resources
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from orchestrator.preflight.look.pictures import Picture

#: The minimum confidence of the model, and the overlap above which two boxes are one face.
_SURE, _OVERLAP = 0.6, 0.3
#: The model's outputs: the likelihood of a face at each point, its size, its offset from the point, and its eyes,
#: nose and mouth, which are not used.
_OUTPUTS = ("537", "538", "539", "540")
#: The pixels between two points of the model. Sides of pictures must be multiples of 32.
_STEP, _MULTIPLE = 4, 32
#: A face whose width is more than this multiple of its height lies on its side.
_LYING = 1.1


class FaceFinder:
    """Face detector that works best for upright faces."""

    def __init__(self) -> None:
        model = resources.files(__package__ or "").joinpath("centerface.onnx").read_bytes()
        self._net = cv2.dnn.readNetFromONNX(np.frombuffer(model, np.uint8))

    def heights(self, picture: Picture) -> list[float]:
        """Return the height of each face as a share of the picture's; negative for a face that lies on its side."""
        height, width = picture.shape[:2]
        size = tuple(-(-side // _MULTIPLE) * _MULTIPLE for side in (width, height))
        self._net.setInput(cv2.dnn.blobFromImage(np.ascontiguousarray(picture), size=size, swapRB=False))
        heat, scale, offset, _landmarks = self._net.forward(_OUTPUTS)
        boxes = _boxes(heat, scale, offset)
        shares = (boxes[:, 2:] - boxes[:, :2]) / np.array(size)
        pixels = shares * np.array([width, height])
        return [
            float(-tall if wide_px > _LYING * tall_px else tall)
            for (_, tall), (wide_px, tall_px) in zip(shares, pixels, strict=True)
        ]


def _boxes(heat: NDArray[Any], scale: NDArray[Any], offset: NDArray[Any]) -> NDArray[Any]:
    """Return left, top, right and bottom of each face, without duplicates."""
    likely = heat[0, 0]
    rows, columns = np.nonzero(likely > _SURE)
    if not len(rows):
        return np.zeros((0, 4))
    sizes = np.exp(scale[0][:, rows, columns]).T * _STEP  # height, width
    middles = (np.stack((rows, columns), 1) + offset[0][:, rows, columns].T + 0.5) * _STEP
    corners = np.concatenate((middles - sizes / 2, sizes), axis=1)[:, [1, 0, 3, 2]]  # x, y, width, height
    kept = cv2.dnn.NMSBoxes(corners.tolist(), likely[rows, columns].tolist(), _SURE, _OVERLAP)
    found = corners[np.asarray(kept, dtype=int).ravel()]
    return np.concatenate((found[:, :2], found[:, :2] + found[:, 2:]), axis=1)
