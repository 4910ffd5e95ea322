"""Weights for training from scratch: what the transformer is before its first step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from ...kernels import axis_pairs
from ..attention import SelfAttention
from ..block import Block
from ..dit import CausalDiT
from ..layers import FiLMBlock


@torch.no_grad()
def init_weights(dit: CausalDiT, generator: torch.Generator | None = None) -> None:
    """Small and random, and such that the network begins as a plain mapping.

    Gates begin at zero, so that blocks begin as identities (DiT, section 3.2, adaLN-Zero), and so
    does the last layer: a model with a condition starts by returning it.
    """
    for module in dit.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.Conv3d)):
            std = 0.02 if isinstance(module, nn.Linear) else module.weight[0].numel() ** -0.5
            nn.init.trunc_normal_(module.weight, std=std, generator=generator)
            nn.init.zeros_(cast(Tensor, module.bias))
    _close_gates(dit)
    for module in dit.modules():
        if isinstance(module, FiLMBlock):
            nn.init.zeros_(module.out.weight)
    last = [dit.head.head] if dit.tail is None else [dit.tail.conv_out, dit.tail.reader]
    for layer in last:
        nn.init.zeros_(cast(Tensor, layer.weight))


@torch.no_grad()
def init_loud(dit: CausalDiT) -> None:
    """For a short training: every part is heard from the first step on.

    The usual start (`init_weights`: standard deviation 0.02, gates at zero) leaves a model of this
    width deaf to its prompt and its memory for thousands of steps, which is all that a CPU affords.
    """
    init_weights(dit)
    init_local_attention(dit)
    for name, module in dit.named_modules():
        if isinstance(module, nn.Linear) and not name.endswith((".q", ".k")):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
    _close_gates(dit)
    if dit.tail is not None:
        nn.init.zeros_(dit.tail.reader.weight)
    for block in _blocks(dit):
        block.modulation[:, [2, 5]] = 0.5  # the two gates
        _open_memory(block.self_attn)
    if dit.stem is not None:
        # Begin without the noise; what is useful in it is soon found.
        dit.stem.conv_in.weight[:, : dit.spec.in_channels] = 0


@torch.no_grad()
def init_local_attention(dit: CausalDiT, strength: float = 1.0) -> None:
    """Let self-attention begin as a local kernel: a token looks at its own place, now and past.

    Queries and keys get one shared bias on the fastest rotary pairs, so that the score of two
    tokens is the sum of w cos(f d) over their distances d: highest at the same place, falling
    within a token or two, slowly in time.

    Args:
        strength: root mean square of the bias; beside activations of about 0.3.
    """
    energy = _local_energy(dit.spec.head_dim)
    shared = (strength * energy.sqrt()).repeat(dit.spec.heads)
    for block in _blocks(dit):
        block.self_attn.q.bias.copy_(shared)
        block.self_attn.k.bias.copy_(shared)


def _blocks(dit: CausalDiT) -> Iterator[Block]:
    return (cast(Block, block) for block in dit.blocks)


def _close_gates(dit: CausalDiT) -> None:
    """The timestep modulates nothing at first."""
    nn.init.zeros_(cast(nn.Linear, dit.time_projection[1]).weight)


def _local_energy(head_dim: int) -> Tensor:
    """Energy of the shared bias per entry of a head, mean 1: see `init_local_attention`."""
    time, row, _ = axis_pairs(head_dim)
    energy = torch.zeros(head_dim // 2)
    # Several speeds at once: the fastest alone would peak again every 2 pi tokens.
    shares = ((0, (0.08, 0.06)), (time, (0.26, 0.11, 0.06)), (time + row, (0.26, 0.11, 0.06)))
    for begin, parts in shares:
        for offset, share in enumerate(parts):
            energy[begin + offset] = share * head_dim
    whole = torch.zeros(head_dim)
    whole[0::2] = energy
    return whole


def _open_memory(attention: SelfAttention) -> None:
    """Let self-attention begin as a mean of what stood here before.

    Value and output matrices begin as an orthogonal pair, so that what is fetched arrives in the
    terms of the residual stream, and half of the heads look sharply at their own place.
    """
    nn.init.orthogonal_(attention.v.weight)
    attention.o.weight.copy_(attention.v.weight.T)
    half = attention.norm_q.weight.shape[0] // 2
    attention.norm_q.weight[:half] = 1.6
    attention.norm_k.weight[:half] = 1.6
