"""Streams as a trained tower sees them: truth and features, computed once and learnt from often."""

from __future__ import annotations

import argparse
import pickle
import time as clock
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ...vl.model import VLModel
from ...vl.specs import TINY_VL, VisionSpec
from ...vl.vision import VisionTower
from .looking import DARK, LEAST
from .sight import watch
from .story import SIZE_WEIGHTS, SIZES, Taste, tell
from .truth import Turn, timeline
from .world import Stream

SECONDS = 60
"""Of a recording; lessons are cut out of it anywhere."""
AT_ONCE = 15
"""Looks that the tower sees in one batch."""
CROWDED = 0.4
"""Share of the streams that begin with many things."""
LOUDNESS = 0.1
"""What the first phase gives is made quieter by: the decoder's words begin that quiet."""


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """Attributes:
    turns: the truth of each second.
    features: float16 [turns, h * w, dim].
    grid: (h, w).
    """

    turns: list[Turn]
    features: NDArray[np.float16]
    grid: tuple[int, int]

    def save(self, path: Path) -> None:
        """Whole or not at all."""
        part = path.with_suffix(".part")
        part.write_bytes(pickle.dumps((self.turns, self.features, self.grid)))
        part.replace(path)

    @staticmethod
    def load(path: Path) -> Recording:
        """From a file that this module wrote; others may run any code."""
        return Recording(*pickle.loads(path.read_bytes()))


@torch.no_grad()
def record(tower: VisionTower, stream: Stream) -> Recording:
    """Look at each second of a stream."""
    turns = timeline(stream)
    parts: list[NDArray[np.float16]] = []
    grid = (1, 1, 1)
    for first in range(0, len(turns), AT_ONCE):
        looks = watch(stream, first, min(first + AT_ONCE, len(turns)))
        with torch.autocast("cpu", torch.bfloat16):
            seen, grid = tower(torch.from_numpy(looks).movedim(-1, 2))
        parts.append(seen.to(torch.float16).numpy())
    return Recording(turns, np.concatenate(parts), grid[1:])


def draw_recording(
    tower: VisionTower, seed: int, heldout: bool = False, seconds: int = SECONDS
) -> Recording:
    """A random one."""
    rng = np.random.default_rng([seed, 99])
    size = SIZES[int(rng.choice(len(SIZES), p=SIZE_WEIGHTS))]
    taste = Taste(
        quiet=float(rng.uniform(0.02, 0.18)), heldout=heldout, crowded=bool(rng.random() < CROWDED)
    )
    if seed % 3 == 0 and not heldout:
        taste = replace(taste, dark=DARK, least=LEAST)
    return record(tower, tell(int(rng.integers(1 << 40)), seconds + 0.6, size, taste))


def load_tower(checkpoint: Path, spec: VisionSpec) -> VisionTower:
    """The tower of a first phase's checkpoint."""
    state = torch.load(checkpoint, weights_only=True)["reader"]
    tower = VisionTower(spec)
    own = {k.removeprefix("tower."): v for k, v in state.items() if k.startswith("tower.")}
    tower.load_state_dict(own)
    with torch.no_grad():
        for value in tower.merger.mlp[-1].parameters():
            value.mul_(LOUDNESS)
    return tower.eval().requires_grad_(False)


def tower_of(model: VLModel) -> VisionTower:
    tower = model.visual
    assert isinstance(tower, VisionTower)
    return tower


def arrivals(folder: Path, known: set[str]) -> Iterator[Recording]:
    """Recordings that are in a folder and not yet `known`, which they are then."""
    for path in sorted(folder.glob("*.rec")):
        if path.name not in known:
            known.add(path.name)
            yield Recording.load(path)


def main() -> None:
    parser = argparse.ArgumentParser(description="Record streams into a folder, for training.")
    parser.add_argument("tower", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--minutes", type=float, default=60.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    tower = load_tower(options.tower, TINY_VL.vision)
    options.folder.mkdir(parents=True, exist_ok=True)
    stop = clock.monotonic() + 60 * options.minutes
    for seed in range(options.first, options.first + options.count):
        if clock.monotonic() > stop:
            break
        draw_recording(tower, seed).save(options.folder / f"{seed:08d}.rec")


if __name__ == "__main__":
    main()
