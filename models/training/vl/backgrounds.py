"""What stands behind the things: plain colour, gradient, noise or a photograph, larger than the
view so that a camera can pan over it and zoom into it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..photos import heldout_photos, pyramid, training_photos

Array = NDArray[np.float32]

MARGIN = 0.6
"""The canvas reaches this much of the view's sides beyond each edge."""
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.12, 0.12),
    "orange": (0.97, 0.52, 0.06),
    "yellow": (0.95, 0.88, 0.12),
    "green": (0.13, 0.62, 0.2),
    "blue": (0.13, 0.3, 0.87),
    "purple": (0.5, 0.16, 0.68),
    "pink": (0.97, 0.52, 0.74),
    "white": (0.96, 0.96, 0.96),
}
"""Of things."""
GROUNDS: dict[str, tuple[float, float, float]] = {
    **COLOURS,
    "black": (0.06, 0.06, 0.06),
    "gray": (0.5, 0.5, 0.5),
    "brown": (0.42, 0.26, 0.13),
}
"""Of backgrounds."""


@dataclass(frozen=True, slots=True, eq=False)
class Background:
    """Attributes:
    kind: "plain", "gradient", "noise" or "photo".
    colour: name of its main colour, or "mixed".
    canvas: [H', W', 3], the view and its margins at the view's resolution.
    """

    kind: str
    colour: str
    canvas: Array


@lru_cache(maxsize=16)
def photo(name: str) -> tuple[Array, ...]:
    """A photograph's pyramid as [H, W, 3] arrays."""
    return tuple(level.permute(1, 2, 0).contiguous().numpy() for level in pyramid(name))


def photo_names(heldout: bool) -> list[str]:
    return [p.name for p in (heldout_photos() if heldout else training_photos())]


def _resize(source: Array, height: int, width: int) -> Array:
    """Bilinear, separable; the source is of about the same resolution."""
    y = np.linspace(0, source.shape[0] - 1, height, dtype=np.float32)
    x = np.linspace(0, source.shape[1] - 1, width, dtype=np.float32)
    return sample(source, y, x)


def sample(source: Array, y: Array, x: Array) -> Array:
    """source [H, W, C] at rows `y` and columns `x` (fractional, held at the edges)."""
    y = np.clip(y, 0, source.shape[0] - 1.001).astype(np.float32)
    x = np.clip(x, 0, source.shape[1] - 1.001).astype(np.float32)
    y0, x0 = y.astype(np.int64), x.astype(np.int64)
    low, high = int(x0[0]), int(x0[-1]) + 2
    strip = source[:, low:high]
    fy = (y - y0)[:, None, None]
    rows = strip[y0] * (1 - fy) + strip[y0 + 1] * fy
    fx = (x - x0)[None, :, None]
    x0 = x0 - low
    return np.asarray(rows[:, x0] * (1 - fx) + rows[:, x0 + 1] * fx)


def photo_piece(
    rng: np.random.Generator, name: str, height: int, width: int, vary: bool = False
) -> Array:
    """A random cut of a photograph, at a scale of its own, perhaps mirrored and tinted; with
    `vary` also upside down, its colours swapped, its contrast changed: there are few."""
    levels = photo(name)
    level = levels[int(rng.integers(len(levels)))]
    if vary and rng.random() < 0.3:
        level = np.rot90(level)
    room = min(level.shape[0] / height, level.shape[1] / width)
    scale = min(room, np.exp(rng.uniform(-1.2, 0.7)) if vary else rng.uniform(0.6, 1.3))
    h, w = int(height * scale), int(width * scale)
    top = int(rng.integers(level.shape[0] - h + 1))
    left = int(rng.integers(level.shape[1] - w + 1))
    piece = _resize(level[top : top + h, left : left + w], height, width)
    if rng.random() < 0.5:
        piece = piece[:, ::-1]
    if vary:
        piece = piece[::-1] if rng.random() < 0.3 else piece
        piece = piece[..., rng.permutation(3)] if rng.random() < 0.5 else piece
        piece = piece ** np.float32(rng.uniform(0.6, 1.6))
    tint = rng.uniform(0.8, 1.2, 3) if rng.random() < 0.5 else np.ones(3)
    return np.ascontiguousarray(np.clip(piece * tint.astype(np.float32), 0, 1))


def _blended(rng: np.random.Generator, canvas: Array, names: list[str]) -> Array:
    """With another photograph, in patches: so that a few make many."""
    height, width = canvas.shape[:2]
    other = photo_piece(rng, names[int(rng.integers(len(names)))], height, width, True)
    cell = int(rng.integers(24, 80))
    coarse = rng.standard_normal((height // cell + 2, width // cell + 2, 1)).astype(np.float32)
    share = np.clip(0.5 + 2 * _resize(coarse, height, width), 0, 1)
    return np.ascontiguousarray(canvas + (other - canvas) * share, dtype=np.float32)


def _noise(rng: np.random.Generator, base: Array, height: int, width: int) -> Array:
    cell = int(rng.integers(4, 24))
    coarse = rng.standard_normal((height // cell + 2, width // cell + 2, 3)).astype(np.float32)
    if rng.random() < 0.5:
        coarse = coarse.mean(2, keepdims=True)
    field = _resize(np.broadcast_to(coarse, (*coarse.shape[:2], 3)), height, width)
    return np.asarray(np.clip(base + field * rng.uniform(0.04, 0.15), 0, 1))


def make(rng: np.random.Generator, size: tuple[int, int], kind: str, heldout: bool) -> Background:
    """A random background for a view of `size` (height, width)."""
    height, width = (int(side * (1 + 2 * MARGIN)) for side in size)
    if kind == "photo":
        names = photo_names(heldout)
        canvas = photo_piece(rng, names[int(rng.integers(len(names)))], height, width, not heldout)
        if not heldout and rng.random() < 0.25:
            canvas = _blended(rng, canvas, names)
        return Background(kind, dominant(canvas[::4, ::4]), canvas)
    names = list(GROUNDS)
    name = names[int(rng.integers(len(names)))]
    if rng.random() < 0.4:
        name = ("gray", "black", "white")[int(rng.integers(3))]
    base = np.asarray(GROUNDS[name], np.float32) + rng.uniform(-0.05, 0.05, 3).astype(np.float32)
    base = np.clip(base, 0.02, 0.98)
    flat = np.broadcast_to(base, (height, width, 3))
    if kind == "gradient":
        way = rng.uniform(-1, 1, 2)
        y = np.linspace(-1, 1, height)[:, None] * way[0]
        x = np.linspace(-1, 1, width)[None] * way[1]
        gain = 1 + 0.35 * (x + y)[..., None]
        flat = np.clip(flat * gain.astype(np.float32), 0, 1)
    elif kind == "noise":
        flat = _noise(rng, base, height, width)
    return Background(kind, name, np.ascontiguousarray(flat, dtype=np.float32))


_NAMES = tuple(GROUNDS)


def dominant(pixels: Array) -> str:
    """Name of the colour that most of the pixels [.., 3] have, or "mixed"."""
    flat = pixels.reshape(-1, 3)
    top, low = flat.max(1), flat.min(1)
    spread = top - low
    chroma = spread / np.maximum(top, 1e-3)
    red, green, blue = flat.T
    hue = np.where(
        top == red,
        (green - blue) / np.maximum(spread, 1e-3) % 6,
        np.where(
            top == green,
            (blue - red) / np.maximum(spread, 1e-3) + 2,
            (red - green) / np.maximum(spread, 1e-3) + 4,
        ),
    )
    name = np.full(len(flat), _NAMES.index("gray"))
    bounds = (
        (0.0, 0.25, "red"),
        (0.25, 0.72, "orange"),
        (0.72, 1.25, "yellow"),
        (1.25, 3.0, "green"),
        (3.0, 4.4, "blue"),
        (4.4, 5.1, "purple"),
        (5.1, 5.75, "pink"),
        (5.75, 6.01, "red"),
    )
    for start, stop, label in bounds:
        name[(hue >= start) & (hue < stop)] = _NAMES.index(label)
    warm = ((hue < 0.9) | (hue > 5.75)) & (top < 0.62)
    name[warm] = _NAMES.index("brown")
    pale = (chroma < 0.22) | (spread < 0.08)
    name[pale] = _NAMES.index("gray")
    name[pale & (top > 0.75)] = _NAMES.index("white")
    name[top < 0.17] = _NAMES.index("black")
    counts = np.bincount(name, minlength=len(_NAMES))
    best = int(counts.argmax())
    return _NAMES[best] if counts[best] > 0.45 * len(flat) else "mixed"
