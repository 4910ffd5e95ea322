"""Trains the embedded autoencoder on rendered clips and on their stylised versions."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..autoencoder import PatchAutoencoder
from ..specs import AutoencoderSpec
from .data import clean_and_styled
from .loop import Losses, Plan, train


def gradients(x: Tensor) -> tuple[Tensor, Tensor]:
    """Differences between neighbours along width and height of [..., H, W]."""
    return x[..., :, 1:] - x[..., :, :-1], x[..., 1:, :] - x[..., :-1, :]


def edge_loss(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of the picture gradients: rewards sharp edges in the right place."""
    (ax, ay), (bx, by) = gradients(a), gradients(b)
    return F.l1_loss(ax, bx) + F.l1_loss(ay, by)


@torch.no_grad()
def principal_components(pictures: Tensor, channels: int) -> Tensor:
    """Leading components [channels, 192] of the 8x8 patches of [N, 3, H, W] in 0..1.

    About the origin, not the mean: the projection has no bias.
    """
    patches = F.pixel_unshuffle(F.pixel_unshuffle(pictures * 2 - 1, 4), 2)
    patches = patches.permute(0, 2, 3, 1).reshape(-1, 192)
    values, vectors = torch.linalg.eigh((patches.T @ patches).double() / len(patches))
    return vectors[:, values.argsort(descending=True)[:channels]].T.float()


def autoencoder_losses(model: PatchAutoencoder, clip: Tensor) -> Losses:
    """clip [B, T, 3, H, W]: absolute, squared, edge and temporal errors of its reconstruction."""
    batch, _, _, height, width = clip.shape
    with torch.autocast(clip.device.type, torch.bfloat16):
        latents = model.encode(clip)
        state = model.init_state(batch, height, width, clip.device)
        every = torch.ones(batch, dtype=torch.bool, device=clip.device)
        out = model.decode(latents, state, every)
    out = out.float()
    terms = {
        "l1": F.l1_loss(out, clip),
        "mse": F.mse_loss(out, clip),
        "edge": edge_loss(out, clip),
        "time": F.l1_loss(out[:, 1:] - out[:, :-1], clip[:, 1:] - clip[:, :-1]),
    }
    total = terms["l1"] + 4 * terms["mse"] + 0.5 * terms["edge"] + 0.25 * terms["time"]
    return {**terms, "total": total}


def train_autoencoder(
    spec: AutoencoderSpec, plan: Plan, folder: Path, device: str, size: int, clips: int
) -> PatchAutoencoder:
    torch.manual_seed(plan.seed)
    model = PatchAutoencoder(spec).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator(device=device).manual_seed(plan.seed + 1)
    pictures = [clean_and_styled(generator, 8, 2, size, device).flatten(0, 1) for _ in range(8)]
    model.set_basis(principal_components(torch.cat(pictures), spec.channels).to(device))

    def step(generator: torch.Generator, _: int) -> Losses:
        return autoencoder_losses(model, clean_and_styled(generator, clips, 3, size, device))

    train(model, step, plan, folder)
    return model
