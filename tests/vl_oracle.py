"""transformers' Qwen2.5-VL at a tiny size, as what our own is held against."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from millrace.models.vl.model import VLModel
from millrace.models.vl.specs import TextSpec, VisionSpec, VLSpec
from millrace.models.vl.twin import config_of as oracle_config
from millrace.models.vl.twin import released
from torch import Tensor, nn
from transformers import Qwen2_5_VLForConditionalGeneration

__all__ = ["oracle_config", "pair", "randomize", "released", "small_spec"]


def small_spec(layers: int = 4, tied: bool = False) -> VLSpec:
    """A model that runs in milliseconds, with windows of 2 x 2 tokens and a mean that shows."""
    return VLSpec(
        name="small",
        vision=VisionSpec(
            dim=32,
            ffn_dim=48,
            heads=2,
            layers=2,
            patch=14,
            frames=2,
            merge=2,
            window=56,
            full_layers=(1,),
            out_dim=64,
            mean=(0.4, 0.5, 0.6),
            std=(0.3, 0.25, 0.2),
            min_pixels=28 * 28,
            max_pixels=140 * 140,
            per_second=1.0,
        ),
        text=TextSpec(
            dim=64,
            ffn_dim=96,
            layers=layers,
            heads=4,
            kv_heads=2,
            head_dim=16,
            vocab=1000,
            tied=tied,
            rope_theta=1e6,
            rope_sections=(2, 3, 3),
            eps=1e-6,
            tokens_per_second=2.0,
        ),
    )


def randomize(module: nn.Module, seed: int = 0, scale: float = 0.15) -> None:
    """Weights so large that attention is far from uniform; else equality would prove nothing."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        with torch.no_grad():
            parameter.normal_(0, scale, generator=generator)
            if "norm" in name or "ln_q" in name:
                parameter.add_(1)


@cache
def pair(spec: VLSpec, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[VLModel, Any]:
    """Ours and theirs with the same weights; made once, so never change them."""
    ours = VLModel(spec)
    randomize(ours, seed)
    theirs: Any = Qwen2_5_VLForConditionalGeneration(oracle_config(spec))
    names = {released(name): name for name in theirs.state_dict()}
    weights = {names[name]: value for name, value in ours.state_dict().items()}
    theirs.load_state_dict(weights, strict=not spec.text.tied)
    return ours.to(dtype).eval().requires_grad_(False), theirs.to(dtype).eval()


@torch.no_grad()
def their_logits(
    theirs: Any, embeds: Tensor, positions: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Logits of transformers for a whole sequence at positions of ours.

    Args:
        embeds: [L, dim].
        positions: [3, L].
        mask: bool [L, L], or None for causal.
    """
    if mask is None:
        mask = torch.ones(len(embeds), len(embeds), dtype=torch.bool).tril()
    hidden = theirs.model.language_model(
        inputs_embeds=embeds[None],
        position_ids=positions[:, None],
        attention_mask={"full_attention": mask[None, None]},
        use_cache=False,
    ).last_hidden_state
    return theirs.lm_head(hidden)[0]


@torch.no_grad()
def their_features(theirs: Any, pictures: Tensor, spec: VLSpec) -> Tensor:
    """Tokens of transformers' tower for one grid of pictures [frames, 3, H, W] in 0..1."""
    vision = spec.vision
    frames, _, height, width = pictures.shape
    mean = pictures.new_tensor(vision.mean)[:, None, None]
    std = pictures.new_tensor(vision.std)[:, None, None]
    size, merge = vision.patch, vision.merge
    rows, columns = height // size, width // size
    split = ((pictures - mean) / std).reshape(
        1, frames, 3, rows // merge, merge, size, columns // merge, merge, size
    )
    patches = split.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(rows * columns, -1)
    grid = torch.tensor([[1, rows, columns]])
    return theirs.model.visual(patches, grid_thw=grid).pooler_output
