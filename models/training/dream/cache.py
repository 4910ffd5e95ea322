"""Clips rendered and encoded once, kept as latents, so that a training step costs no picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from ...autoencoder import PatchAutoencoder
from ..scenes import Dice
from .world import clip

SIDE = 128
"""Of the pictures, in pixels."""
FRAMES = 11
"""Pictures of a clip; a step takes some in a row."""
SHARD = 100
"""Clips in a file."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a clip shows, see `world.Clip`."""

    kind: str
    traits: Mapping[str, str]


@torch.no_grad()
def write(folder: Path, clips: int, autoencoder: PatchAutoencoder, seed: int) -> None:
    """Render `clips` into `folder`, going on where it stopped; what is there stays."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in tqdm(range(-(-clips // SHARD)), desc="clips"):
        path = folder / f"{shard:04d}.safetensors"
        if path.exists():
            continue
        latents, shown = [], []
        for index in range(shard * SHARD, (shard + 1) * SHARD):
            made = clip(Dice(seed * 1_000_003 + index), SIDE, FRAMES)
            latents.append(autoencoder.encode(made.pictures[None])[0].half())
            shown.append({"kind": made.kind, "traits": dict(made.traits)})
        part = path.with_suffix(".part")
        save_file(
            {"latents": torch.stack(latents).contiguous()}, part, {"shown": json.dumps(shown)}
        )
        part.rename(path)


class Cache:
    """All clips in a folder; more may be written while they are read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: set[str] = set()
        self._latents: list[Tensor] = []
        self.shown: list[Shown] = []
        self.refresh()
        if not self.shown:
            raise SystemExit(f"{folder} holds no clips: run the stage 'clips' first")

    def refresh(self) -> None:
        """Read what has been written since."""
        for path in sorted(self._folder.glob("*.safetensors")):
            if path.name in self._read:
                continue
            self._read.add(path.name)
            with safe_open(path, "pt") as file:
                self._latents += file.get_tensor("latents").unbind(0)
                self.shown += [Shown(**entry) for entry in json.loads(file.metadata()["shown"])]

    def __len__(self) -> int:
        return len(self.shown)

    def latents(self, index: int, start: int, frames: int) -> Tensor:
        """[frames, channels, h, w] of a clip from a picture on."""
        return self._latents[index][start : start + frames].float()

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of each channel over some of the clips."""
        some = torch.stack([part[0] for part in self._latents[:: max(1, len(self) // 400)]]).float()
        return some.mean((0, 2, 3)), some.std((0, 2, 3))
