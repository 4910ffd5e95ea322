"""Rendered looks with their labels: drawn, stored, kept in a pool and drawn from again.

A picture takes longer to render than to learn from, so that each look is used a few times, mirrored
or not. Other processes may render as well: what they leave in a folder is taken in.
"""

from __future__ import annotations

import argparse
import time as clock
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .labels import CELL, FINE, UNKNOWN, WHOLE, Look, look, moments
from .story import SIZE_WEIGHTS, SIZES, Taste, tell

PER_STREAM = 4
SECONDS = 9.0
CHUNK = 24
"""Looks that are rendered, stored and taken in together."""
MOST = 40
"""Chunk files in a folder at which a renderer waits."""
SMALL = (64, 64)
DARK, LEAST = 0.3, 0.11
"""Of every other chunk: chance of little light, and the radius of the smallest things. Seldom met,
these are what a tower learns last."""


@dataclass(frozen=True, slots=True)
class Looks:
    """n looks of one size: pictures uint8 [n, 4, H, W, 3]; cells {name: int64 [n, h, w]}; whole
    {name: int64 [n]}; masks uint8 [n, h, w, 2 * FINE * FINE]."""

    pictures: NDArray[np.uint8]
    cells: dict[str, NDArray[np.int64]]
    whole: dict[str, NDArray[np.int64]]
    masks: NDArray[np.uint8]

    @property
    def size(self) -> tuple[int, int]:
        return self.pictures.shape[2], self.pictures.shape[3]

    def save(self, path: Path) -> None:
        """Whole or not at all."""
        named = {f"cell {k}": v for k, v in self.cells.items()}
        named |= {f"whole {k}": v for k, v in self.whole.items()}
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            np.savez(file, pictures=self.pictures, masks=self.masks, **named)  # type: ignore
        part.replace(path)

    @staticmethod
    def load(path: Path) -> Looks:
        with np.load(path) as held:
            cells = {name: held[f"cell {name}"] for name in CELL}
            whole = {name: held[f"whole {name}"] for name in WHOLE}
            return Looks(held["pictures"], cells, whole, held["masks"])


def draw(
    seed: int, count: int, factor: int, taste: Taste, size: tuple[int, int] | None = None
) -> Looks:
    """Looks of random streams of one size."""
    rng = np.random.default_rng([seed, 77])
    size = size or SIZES[int(rng.choice(len(SIZES), p=SIZE_WEIGHTS))]
    found: list[Look] = []
    while len(found) < count:
        stream = tell(int(rng.integers(1 << 40)), SECONDS, size, taste)
        found += [look(stream, time, factor) for time in moments(rng, stream, PER_STREAM)]
    found = found[:count]
    return Looks(
        np.stack([(item.pictures * 255 + 0.5).astype(np.uint8) for item in found]),
        {name: np.stack([item.cells[name] for item in found]) for name in CELL},
        {name: np.array([item.whole[name] for item in found]) for name in WHOLE},
        np.stack([item.masks.astype(np.uint8) for item in found]),
    )


Batch = tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]
_SIDES = torch.tensor([0, 2, 1, 3, 4, 5, 6])
"""Left for right among motions and views."""


def batch(looks: Looks, rows: NDArray[np.int64] | None = None, mirrored: bool = False) -> Batch:
    """Pictures [n, 4, 3, H, W] in 0..1 and labels, flattened over cells."""
    rows = np.arange(len(looks.pictures)) if rows is None else rows
    pictures = torch.from_numpy(looks.pictures[rows]).movedim(-1, 2).float() / 255
    cells = {name: torch.from_numpy(looks.cells[name][rows]) for name in CELL}
    whole = {name: torch.from_numpy(looks.whole[name][rows]) for name in WHOLE}
    masks = torch.from_numpy(looks.masks[rows]).float().unflatten(-1, (2, FINE, FINE))
    if mirrored:
        pictures, masks = pictures.flip(-1), masks.flip(2, -1)
        cells = {name: labels.flip(2) for name, labels in cells.items()}
        for part, names in ((cells, ("motion", "before")), (whole, ("view", "viewed"))):
            for name in names:
                known = part[name] != UNKNOWN
                part[name] = torch.where(known, _SIDES[part[name].clamp(min=0)], UNKNOWN)
        known = cells["column"] != UNKNOWN
        cells["column"] = torch.where(known, 2 - cells["column"], UNKNOWN)
    flat = {name: labels.flatten(1) for name, labels in cells.items()}
    return pictures, flat | {"mask": masks.flatten(3).flatten(1, 2)}, whole


def _joined(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


@dataclass(slots=True)
class Pool:
    """The newest looks, by size.

    Attributes:
        room: chunks that are kept.
        taken: chunks that were ever taken in.
        steps: of which some render.
    """

    room: int
    chunks: list[Looks] = field(default_factory=list)
    taken: int = 0
    steps: int = 0

    def add(self, looks: Looks) -> None:
        self.chunks.append(looks)
        self.taken += 1
        del self.chunks[: -self.room]

    def batch(self, rng: np.random.Generator, chunks: int) -> Batch:
        """Some of several chunks of one size, as many as of a chunk, perhaps mirrored."""
        size = self.chunks[int(rng.integers(len(self.chunks)))].size
        alike = [chunk for chunk in self.chunks if chunk.size == size]
        mirrored = bool(rng.random() < 0.5)
        parts = []
        for _ in range(chunks):
            chunk = alike[int(rng.integers(len(alike)))]
            rows = rng.choice(len(chunk.pictures), len(chunk.pictures) // chunks, replace=False)
            parts.append(batch(chunk, rows, mirrored))
        pictures, cells, whole = zip(*parts, strict=True)
        return torch.cat(pictures), _joined(cells), _joined(whole)


def one(seed: int, factor: int, small: bool) -> Looks:
    """A chunk for learning; small pictures hold four times as many looks."""
    taste = Taste(crowded=seed % 3 == 0)
    if seed % 2 and not small:
        taste = replace(taste, dark=DARK, least=LEAST)
    if small:
        return draw(seed, 4 * CHUNK, factor, taste, SMALL)
    return draw(seed, CHUNK, factor, taste)


def arrivals(folder: Path) -> Iterator[Looks]:
    """Chunks that other processes have left; each is taken once."""
    for path in sorted(folder.glob("*.npz")):
        found = Looks.load(path)
        path.unlink()
        yield found


def main() -> None:
    parser = argparse.ArgumentParser(description="Render looks into a folder, for a training run.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--factor", type=int, default=32)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--minutes", type=float, default=60.0)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    stop, number = clock.monotonic() + 60 * options.minutes, options.seed * 1_000_000
    while clock.monotonic() < stop:
        if len(list(options.folder.glob("*.npz"))) >= MOST:
            clock.sleep(1.0)
            continue
        one(number, options.factor, options.small).save(options.folder / f"{number:012d}.npz")
        number += 1


if __name__ == "__main__":
    main()
