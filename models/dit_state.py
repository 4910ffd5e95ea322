"""`DiTState`: all memory of a stream in a `CausalDiT`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .ring import KVRing
from .specs import DiTSpec
from .state import State, row_tensor


@dataclass(eq=False)
class DiTState(State):
    """All memory of a stream in a `CausalDiT`.

    Attributes:
        grid: height and width of a latent frame in tokens.
        ring: keys and values of the past.
        text_k, text_v: [layers, rows, text_len, heads, head_dim], the prompt as cross-attention
            sees it. Kept by `reset`: a prompt is a wish, not a memory; `set_context` replaces it.
        pooled: [rows, dim], mean of the projected prompt.
        last: [rows, channels, width + 1], the last layer that the prompt gives (see `Tail`).
    """

    grid: tuple[int, int]
    ring: KVRing
    text_k: Tensor = row_tensor(dim=1, reset=False)
    text_v: Tensor = row_tensor(dim=1, reset=False)
    pooled: Tensor = row_tensor(reset=False)
    last: Tensor = row_tensor(reset=False)

    @classmethod
    def allocate(
        cls,
        spec: DiTSpec,
        size: tuple[int, int, int, int],
        device: torch.device | str,
        dtype: torch.dtype,
        prompts: bool = True,
    ) -> DiTState:
        """Empty memory; see `CausalDiT.init_state`.

        Args:
            size: rows, latent frames of a chunk, and their height and width.

        Raises:
            ValueError: the size is not a multiple of the patch.
        """
        rows, frames, height, width = size
        tokens = spec.tokens(height, width)
        heads = (spec.heads, spec.head_dim)
        ring = KVRing.allocate(
            spec.ring, frames, spec.rope_theta, (spec.layers, rows, tokens, *heads), device, dtype
        )
        text = (spec.layers, rows, spec.text_len * prompts, *heads)
        last = last_shape(spec) if prompts else (0, 0)
        return cls(
            (height // spec.patch[1], width // spec.patch[2]),
            ring,
            torch.zeros(text, device=device, dtype=dtype),
            torch.zeros(text, device=device, dtype=dtype),
            torch.zeros(rows, spec.dim * prompts, device=device, dtype=dtype),
            torch.zeros(rows, *last, device=device, dtype=dtype),
        )


def last_shape(spec: DiTSpec) -> tuple[int, int]:
    """Of the last layer that a prompt gives: channels, and inputs with the bias; empty without a
    tail."""
    return (0, 0) if spec.stem is None else (spec.out_channels, spec.stem.width + 1)
