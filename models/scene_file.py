"""The file of the embedded text-to-video model's weights, and whether it is shipped. No torch."""

from __future__ import annotations

from .. import assets

WEIGHTS = "tiny_scene.safetensors"


def shipped() -> bool:
    """Whether this installation came with weights: whether the manifest has them. A file that is
    missing or altered all the same is found out when it is loaded."""
    return WEIGHTS in assets.manifest()
