"""The language model that is shipped: its weights, and what it can tell in plain sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ... import assets
from .specs import TINY_VL

if TYPE_CHECKING:
    from .model import VLModel

WEIGHTS = "tiny_vl.safetensors"
TITLE = "Millrace tiny: captions and answers on a CPU"
LIMITS = (
    "It tells about simple coloured shapes, how many there are, and how they, the camera and the "
    "light move and change.",
    "Of photographs and real scenes it tells little: their main colour, whether it is dark, that "
    "something moves or the camera does. It names no people, objects or texts.",
    "It answers other questions with what it can tell, and may be wrong: counts and what happened "
    "some time ago more often than colours, shapes and motion.",
    "It keeps its captions of the last 100 seconds and the pictures of the last 16; of older ones "
    "it finds those that a question names by time.",
)
EXAMPLES = (
    "What do you see?",
    "How many circles are there?",
    "What color is the square?",
    "Which way is the star moving?",
    "Is the camera moving?",
    "What happened 12 seconds ago?",
    "What happened last?",
    "How many things were there 10 seconds ago?",
)
ALERTS = (
    "a red circle appears",
    "something moves",
    "the camera moves",
    "it gets dark",
    "the scene changes",
    "there are three things",
)
MEMORY_S = 100.0
"""Seconds of the past whose captions are kept word by word."""


def load_tiny_vl(device: str = "cpu", dtype: str = "float32") -> VLModel:
    """The shipped model, checked against the manifest, ready to run.

    Raises:
        AssetError: the file is missing or altered.
        RuntimeError: it does not fit the spec; the message names the tensors.
    """
    import torch
    from safetensors.torch import load_file

    from .model import VLModel

    tensors = load_file(assets.path(WEIGHTS))
    with torch.device("meta"):
        model = VLModel(TINY_VL)
    kind = getattr(torch, dtype)
    placed = {name: tensor.to(device, kind) for name, tensor in tensors.items()}
    model.load_state_dict(placed, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def random_tiny_vl(device: str = "cpu", dtype: str = "float32", seed: int = 0) -> VLModel:
    """The same network with random weights: its speed, not its words."""
    import torch

    from .model import VLModel

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = VLModel(TINY_VL)
    return model.to(device, getattr(torch, dtype)).eval().requires_grad_(False)
