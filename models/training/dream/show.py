"""Pictures that the scene model makes of prompts, as a sheet to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ...autoencoder import PatchAutoencoder
from ...buffer import MovingBuffer
from ...scene import SceneModel, scene_schedule

PROMPTS = (
    "waves at sunset",
    "stormy sea at night",
    "clouds in the sky by day moving left",
    "northern lights",
    "mountains at sunset moving right",
    "fire",
    "underwater",
    "snow at night",
    "a waterfall",
    "lava",
    "a candle",
    "red circle moving left on blue",
)


@torch.no_grad()
def dream(
    model: SceneModel,
    autoencoder: PatchAutoencoder,
    prompts: Sequence[str],
    pictures: int,
    micro_steps: int,
    side: int = 128,
) -> Tensor:
    """[prompts, pictures or a few more, 3, side, side] in 0..1."""
    buffer = MovingBuffer(model.dit, scene_schedule(micro_steps), "euler", denoise=model.denoise)
    kind = model.word.weight.dtype
    state = buffer.init_state(len(prompts), side // 8, side // 8, dtype=kind)
    memory = autoencoder.init_state(len(prompts), side, side)
    rows = torch.arange(len(prompts))
    buffer.set_context(state, rows, model.context(model.tokens(prompts)))
    buffer.begin(state, rows, rows + 1)
    films: list[Tensor] = []
    tick = 0
    while sum(film.shape[1] for film in films) < pictures:
        latents = buffer.step(state).latents
        if buffer.leaves(tick):
            films.append(autoencoder.decode(model.unmeasured(latents).float(), memory))
        tick += 1
    return torch.cat(films, 1).clamp(0, 1)


def save_sheet(films: Tensor, path: Path, columns: int = 2, shown: Sequence[int] = ()) -> None:
    """Films [n, T, 3, H, W] as rows of chosen pictures, `columns` films beside one another."""
    from PIL import Image

    strips = [torch.cat(list(film[list(shown)] if shown else film), 2) for film in films]
    strips += [torch.zeros_like(strips[0])] * (-len(strips) % columns)
    lines = [torch.cat(strips[i : i + columns], 2) for i in range(0, len(strips), columns)]
    picture = (torch.cat(lines, 1).permute(1, 2, 0) * 255).round().byte().numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
