"""The embedded model: its spec and its shipped weights."""

from __future__ import annotations

import torch
from safetensors.torch import load_file

from .. import assets
from .specs import TINY, TINY_AUTOENCODER
from .text import PromptEncoder, load_prompt_encoder
from .video import VideoModel, VideoSpec

WEIGHTS = "tiny_video.safetensors"
PROMPTS = "tiny_prompts.safetensors"

STYLES = (
    "camera",
    "noir",
    "vintage",
    "thermal",
    "pop",
    "vapor",
    "watercolor",
    "oil",
    "mosaic",
    "sketch",
    "comic",
    "neon",
    "trails",
    "exposure",
    "drying",
)
TINY_VIDEO = VideoSpec(autoencoder=TINY_AUTOENCODER, dit=TINY, styles=STYLES)


def load_tiny(device: str = "cpu", dtype: str = "float32") -> VideoModel:
    """The shipped weights, checked against the manifest, ready to run.

    Raises:
        AssetError: the file is missing or altered.
        RuntimeError: it does not fit the spec; the message names the tensors.
    """
    tensors = load_file(assets.path(WEIGHTS))
    with torch.device("meta"):
        model = VideoModel(TINY_VIDEO)
    kind = getattr(torch, dtype)
    placed = {name: tensor.to(device, kind) for name, tensor in tensors.items()}
    model.load_state_dict(placed, strict=True, assign=True)
    return model.eval().requires_grad_(False).optimise_layout()


def random_tiny(device: str = "cpu", dtype: str = "float32", seed: int = 0) -> VideoModel:
    """The same network with random weights: its speed, not its looks."""
    generator = torch.Generator().manual_seed(seed)
    model = VideoModel(TINY_VIDEO)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
            parameter.copy_(noise * (0.5 * fan_in**-0.5 if parameter.ndim > 1 else 0.02))
    model = model.to(device, getattr(torch, dtype))
    return model.eval().requires_grad_(False).optimise_layout()


def load_prompts() -> PromptEncoder:
    """The shipped prompt encoder."""
    return load_prompt_encoder(assets.path(PROMPTS))
