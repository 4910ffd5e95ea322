"""What was asked (`Options`, may say auto) and what will run (`Config`, complete and frozen)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class ConfigError(ValueError):
    """A wrong or impossible setting; the message names it and the remedy."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the user typed. "auto" and 0 mean: measure or derive it (see `resolve`)."""

    pipeline: str = "tiny"
    """A built-in model name, an entry point's name, or "module:Name"."""
    device: str = "auto"
    dtype: str = "auto"
    threads: int = 0
    width: int = 256
    height: int = 256
    fps: float = 30.0
    schedule: str = "auto"
    """"stream" (all noise levels in one batch), "sequential" (one after another) or auto."""
    max_sessions: int = 4
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Further options for the pipeline, by name."""
