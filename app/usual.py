"""Which model does what where none was named."""

from __future__ import annotations

from ..models.scene_file import shipped
from ..streaming.pipeline import Source


def usual_model(source: Source) -> str:
    """A model that draws from this: the embedded one where it can and its weights are shipped."""
    if source == "video":
        return "tiny"
    return "tiny-dream" if source == "text" and shipped() else "wan2.1-1.3b"
