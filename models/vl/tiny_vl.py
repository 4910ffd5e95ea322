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
    "It tells the colours and shapes of simple things, how they move and what happens to them: on "
    "held-out streams it is right about these 9 times in 10 or more, and finds about 9 in 10 of "
    "the events that it is told to wait for.",
    "Asked about some seconds ago it is right 8 or 9 times in 10; what was never read, or is long "
    "gone, it does not remember.",
    "It miscounts one time in eight to sixteen, mostly small things and what is in the dark; it "
    "gets a whole description right seven or eight times in ten, and where things are nine times "
    "in ten.",
    "Of photographs and real scenes it tells little: that it is a photograph, whether it is dark, "
    "that the camera moves. It names no people, objects or texts.",
)
EXAMPLES = (
    "What color is the square?",
    "What shape is the red thing?",
    "Which way is the star moving?",
    "Is there a blue circle?",
    "How many things are there?",
    "Is the camera moving?",
    "What happened 10 seconds ago?",
    "What color was the square 12 seconds ago?",
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
