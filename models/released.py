"""The released models that this version can fetch and run: plain data, without torch.

Names, sizes and licences are those of the public repositories as far as public records show them;
`Part.verified` says where they do. Nothing here was downloaded. A pulled model lies in
`<root>/<name>/<role>/<file>`, and a folder that was filled in another way works as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .release import Part, Released
from .released_sd import SD
from .released_wan import WAN

__all__ = ["RELEASED", "Part", "Released", "folder_of"]

_VL_FILES = ("*.json", "*.safetensors", "*.txt", "*.jinja")


def _teller(name: str, about: str, repo: str, size: int, licence: str, verified: bool) -> Released:
    part = Part("model", repo, _VL_FILES, size, licence, verified=verified)
    return Released(name, about, (part,), "vl", name, "")


_VL = (
    _teller(
        "qwen2.5-vl-3b",
        "tells what happens and answers questions; not for commercial use",
        "Qwen/Qwen2.5-VL-3B-Instruct",
        7_520_000_000,
        "qwen-research; not for commercial use",
        verified=False,
    ),
    _teller(
        "qwen2.5-vl-7b",
        "tells what happens and answers questions",
        "Qwen/Qwen2.5-VL-7B-Instruct",
        16_600_000_000,
        "apache-2.0",
        verified=False,
    ),
    _teller(
        "streaming-vlm",
        "comments on endless video; Qwen2.5-VL 7B trained on by others",
        "mit-han-lab/StreamingVLM",
        16_600_000_000,
        "see the repository",
        verified=False,
    ),
)

RELEASED: Mapping[str, Released] = {model.name: model for model in (*WAN, *SD, *_VL)}


def folder_of(name: str, root: Path) -> Path:
    """Where a pulled model lies: its parts are folders in it, by role."""
    return root / name
