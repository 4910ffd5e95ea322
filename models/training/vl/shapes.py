"""Shapes drawn from signed distances, with soft edges, inside their bounding boxes only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

SHAPES = ("circle", "square", "triangle", "star", "cross", "heart")
SOMETHING = "something"
"""A moving patch of a photograph: it has neither a shape nor a colour with a name."""


def _star(u: Array, v: Array) -> Array:
    fifth = np.float32(2 * np.pi / 5)
    angle = np.arctan2(u, -v)
    folded = np.abs((angle + fifth / 2) % fifth - fifth / 2)
    radius = np.hypot(u, v)
    x, y = radius * np.cos(folded), radius * np.sin(folded)
    return np.asarray((x - 1) * 0.384 + y * 0.923)


def _heart(u: Array, v: Array) -> Array:
    side = np.abs(u)
    lobes = np.hypot(side - 0.42, v + 0.25) - 0.5
    wedge = np.maximum(0.707 * (side + v - 0.877), 0.707 * (side - v - 0.67))
    return np.asarray(np.minimum(lobes, np.maximum(wedge, -v - 0.25)))


def distance(shape: str, u: Array, v: Array) -> Array:
    """Signed distance to the outline, in radii; negative inside. `v` points down."""
    side, height = np.abs(u), np.abs(v)
    found: NDArray[np.floating]
    if shape == "circle":
        found = np.hypot(u, v) - 0.9
    elif shape == "square":
        found = np.maximum(side, height) - 0.8
    elif shape == "triangle":
        found = np.maximum(0.866 * side - 0.5 * (v - 0.15), v - 0.15) - 0.55
    elif shape == "star":
        found = _star(u, v)
    elif shape == "cross":
        found = np.minimum(
            np.maximum(side - 0.3, height - 0.92), np.maximum(side - 0.92, height - 0.3)
        )
    elif shape == "heart":
        found = _heart(u, v)
    elif shape == SOMETHING:
        found = np.hypot(np.maximum(side - 0.6, 0), np.maximum(height - 0.7, 0)) - 0.25
    else:
        raise KeyError(f"no shape {shape!r}; there are {', '.join((*SHAPES, SOMETHING))}")
    return np.asarray(found, dtype=np.float32)


def draw(
    picture: Array,
    shape: str,
    centre: tuple[float, float],
    radius: float,
    angle: float,
    fill: Array,
) -> None:
    """Draw into `picture` [H, W, 3].

    Args:
        centre, radius: in pixels.
        angle: radians, clockwise.
        fill: a colour [3], or a texture [h, w, 3] stretched over the bounding box.
    """
    height, width = picture.shape[:2]
    reach = radius * 1.3 + 1
    left, right = max(0, int(centre[0] - reach)), min(width, int(centre[0] + reach) + 1)
    top, bottom = max(0, int(centre[1] - reach)), min(height, int(centre[1] + reach) + 1)
    if left >= right or top >= bottom:
        return
    x = (np.arange(left, right, dtype=np.float32) + 0.5 - centre[0]) / radius
    y = (np.arange(top, bottom, dtype=np.float32) + 0.5 - centre[1]) / radius
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u: Array = np.asarray(x[None] * cos + y[:, None] * sin, np.float32)
    v: Array = np.asarray(y[:, None] * cos - x[None] * sin, np.float32)
    cover = np.clip(0.5 - distance(shape, u, v) * radius, 0, 1)[..., None]
    part = picture[top:bottom, left:right]
    if fill.ndim == 3:
        rows = np.clip((y + 1) / 2 * fill.shape[0], 0, fill.shape[0] - 1).astype(np.int64)
        columns = np.clip((x + 1) / 2 * fill.shape[1], 0, fill.shape[1] - 1).astype(np.int64)
        fill = fill[rows[:, None], columns[None]]
    part += (fill - part) * cover
