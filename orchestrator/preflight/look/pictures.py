"""What is measured of one picture: how green its border is, how bright it is, and how it differs from another."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

#: Height, width, three colours of 8 bits.
Picture: TypeAlias = NDArray[np.uint8]

#: The border that a presenter leaves free: the outer share of the width on both sides, and of the height on top.
_SIDE, _TOP = 0.14, 0.10
#: Below this height arms and clothes reach the border.
_LOWEST = 0.7
#: Pixels of a block: sensor noise is averaged away.
_BLOCK = 8
_DARK, _BRIGHT = 24, 235
#: A step of a block's brightness that is no noise.
_CHANGED = 12


def measure_picture(picture: Picture) -> dict[str, Any]:
    """Shares from 0 to 1, brightness from 0 to 255, and L* from 0 to 100."""
    luma = _luma(picture)
    blocks = border_blocks(picture)
    green = _is_green(blocks)
    lightness = _lightness(blocks[green]) if green.any() else np.zeros(1)
    low, high = np.percentile(lightness, (3, 97))
    return {
        "green": float(green.mean()),
        "green_spread": float(high - low),
        "mean": float(luma.mean()),
        "dark": float((luma < _DARK).mean()),
        "bright": float((luma > _BRIGHT).mean()),
    }


def border_blocks(picture: Picture) -> NDArray[Any]:
    """The mean colours of the blocks of the border, one row each."""
    height, width = (size // _BLOCK * _BLOCK for size in picture.shape[:2])
    blocks = (
        picture[:height, :width]
        .reshape(height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK, 3)
        .mean(axis=(1, 3))
    )
    rows, columns = blocks.shape[:2]
    mask = np.zeros((rows, columns), bool)
    side = max(1, round(columns * _SIDE))
    mask[: round(rows * _LOWEST), :side] = True
    mask[: round(rows * _LOWEST), -side:] = True
    mask[: max(1, round(rows * _TOP))] = True
    border: NDArray[Any] = blocks[mask]
    return border


def changed_share(before: NDArray[Any], after: NDArray[Any]) -> tuple[float, float]:
    """The share of border blocks that changed, and by how much the middle one of all did."""
    difference = np.abs(before.astype(float) - after.astype(float)).mean(axis=1)
    return float((difference > _CHANGED).mean()), float(np.median(difference))


def _luma(picture: Picture) -> NDArray[Any]:
    luma: NDArray[Any] = picture @ np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
    return luma


def _is_green(colours: NDArray[Any]) -> NDArray[Any]:
    """A green hue, however dark; black, white and grey have none."""
    red, green, blue = (colours[..., place].astype(float) for place in range(3))
    return np.asarray((green > 32) & (green > 1.25 * red) & (green > 1.25 * blue))


def _lightness(colours: NDArray[Any]) -> NDArray[Any]:
    """L* of sRGB colours (CIE 1976)."""
    linear = np.where(
        colours / 255 <= 0.04045, colours / 255 / 12.92, ((colours / 255 + 0.055) / 1.055) ** 2.4
    )
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    lightness: NDArray[Any] = np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)
    return lightness
