"""Attention of the transformer: over the past of the stream, and over the prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn as nn
from torch import Tensor

from ..kernels import (
    angles,
    attention,
    axis_pairs,
    lay_side_by_side,
    project_into_ring,
    prompt_attention,
    query_key_value,
    rope,
    rows_for,
    spatial_turns,
    turns,
)
from .layers import Linear, RMSNorm
from .ring import KVRing, RingView, wide
from .specs import DiTSpec, RingSpec
from .windows import Windows


def rotation(spec: DiTSpec, grid: tuple[int, int], positions: Tensor, dtype: torch.dtype) -> Tensor:
    """How queries and keys of frames at `positions` are turned: by their place in time and space.

    Args:
        grid: height and width in tokens.
        positions: integers [rows or 1, frames].
        dtype: of the model.

    Returns:
        [rows or 1, frames, tokens, 1, pairs, 2], see `kernels.turns`.
    """
    table = wide(dtype)
    space = spatial_turns(grid, spec.head_dim, spec.rope_theta, table, positions.device)
    angle = angles(positions, axis_pairs(spec.head_dim)[0], spec.rope_theta)
    time = turns(angle, table)[:, :, None].expand(-1, -1, len(space), -1, -1)
    return torch.cat((time, space.expand(*time.shape[:2], -1, -1, -1)), -2).unsqueeze(3)


@dataclass(frozen=True, slots=True)
class Projections:
    """The layers that make queries, keys and values, as `query_key_value` takes them."""

    weight: tuple[Tensor, Tensor, Tensor]
    bias: tuple[Tensor, Tensor, Tensor]
    norm: tuple[Tensor, Tensor]
    eps: float

    def of(self, x: Tensor, turn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return query_key_value(x, self.weight, self.bias, self.norm, turn, self.eps)


class Memory(Protocol):
    """Whatever self-attention looks into."""

    def see(self, layer: int, x: Tensor, into: Projections) -> Tensor:
        """x [rows, frames, tokens, dim] -> [rows, frames, tokens, heads, head_dim]: remembers the
        chunk and attends over it and the past."""
        ...


@dataclass(frozen=True, slots=True)
class RingMemory:
    """The ring of a running stream."""

    ring: KVRing
    view: RingView
    mask: Tensor | None
    rotation: Tensor

    def see(self, layer: int, x: Tensor, into: Projections) -> Tensor:
        view, memory = self.view, self.ring.layer(layer)
        query = project_into_ring(
            x,
            into.weight,
            into.bias,
            into.norm,
            self.rotation,
            into.eps,
            memory,
            view.slots,
            self.mask,
            view.rows,
            self.ring.scales(layer),
        )
        return self.ring.look(layer, view, query)


@dataclass(frozen=True, slots=True)
class OwnMemory:
    """No past: a chunk sees itself only, all of it or within windows."""

    rotation: Tensor
    windows: Windows | None = None

    def see(self, layer: int, x: Tensor, into: Projections) -> Tensor:
        return self.attend(layer, *into.of(x, self.rotation))

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if self.windows is not None:
            boxes = (self.windows.split(part, layer) for part in (query, key, value))
            return self.windows.join(attention(*boxes), layer)
        out = attention(query.flatten(1, 2), key.flatten(1, 2), value.flatten(1, 2))
        return out.reshape(query.shape)


@dataclass(frozen=True, slots=True)
class ClipMemory:
    """A whole clip at once, seen as the ring would show it: the form for training.

    Chunks attend one after another, each over exactly the frames that the ring would hold, so no
    work is spent on what a mask would hide, and all of it can be differentiated. Keys stand at
    their index in the clip, which gives true distances; only the sinks of a window that has moved
    on are rotated further, as far as they have been left behind.

    Attributes:
        seen: per chunk the frames visible besides its own, in order.
        left_behind: per chunk how many frames its sinks are moved nearer.
    """

    chunk: int
    sinks: int
    theta: float
    seen: tuple[tuple[int, ...], ...]
    left_behind: tuple[int, ...]
    rotation: Tensor

    def see(self, layer: int, x: Tensor, into: Projections) -> Tensor:
        return self.attend(layer, *into.of(x, self.rotation))

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        keys, values = key.unbind(1), value.unbind(1)
        outs = []
        for index, seen in enumerate(self.seen):
            own = range(index * self.chunk, min((index + 1) * self.chunk, query.shape[1]))
            chosen = [self._placed(keys[i], i, self.left_behind[index]) for i in seen]
            chosen += [keys[i] for i in own]
            out = attention(
                query[:, own.start : own.stop].flatten(1, 2),
                torch.cat(chosen, 1),
                torch.cat([values[i] for i in (*seen, *own)], 1),
            )
            outs.append(out.unflatten(1, (len(own), -1)))
        return torch.cat(outs, 1)

    def _placed(self, key: Tensor, frame: int, left_behind: int) -> Tensor:
        if frame >= self.sinks or left_behind == 0:
            return key
        pairs = axis_pairs(key.shape[-1])[0]
        angle = angles(torch.tensor(left_behind, device=key.device), pairs, self.theta)
        return rope(key, turns(angle, wide(key.dtype)))


def clip_memory(
    spec: DiTSpec, frames: int, chunk: int, keep: Tensor | None, rotation: Tensor
) -> ClipMemory:
    """What the ring of `spec` shows to each chunk of a clip of `frames`.

    Args:
        keep: bool [frames, frames]; where false the row's frame does not see the column's. Frames
            of one chunk share one view: what its first frame may see. A chunk always sees itself.
    """
    policy: RingSpec = spec.ring
    allowed = None if keep is None else keep.tolist()
    seen, left_behind = [], []
    for start in range(0, frames, chunk):
        past = [i for i in range(start) if i < policy.sinks or i >= start - policy.window]
        seen.append(tuple(i for i in past if allowed is None or allowed[start][i]))
        left_behind.append(0 if policy.reach is None else max(start - policy.reach, 0))
    return ClipMemory(
        chunk, policy.sinks, spec.rope_theta, tuple(seen), tuple(left_behind), rotation
    )


class _Projections(nn.Module):
    """The layers of an attention, with the parameter names of Wan 2.1."""

    def __init__(self, spec: DiTSpec) -> None:
        super().__init__()
        self.heads = spec.heads
        self.q = Linear(spec.dim, spec.dim)
        self.k = Linear(spec.dim, spec.dim)
        self.v = Linear(spec.dim, spec.dim)
        self.o = Linear(spec.dim, spec.dim)
        self.norm_q = RMSNorm(spec.dim, spec.eps)
        self.norm_k = RMSNorm(spec.dim, spec.eps)


class SelfAttention(_Projections):
    """Attention of a chunk over the past and itself."""

    def join(self) -> None:
        """Lay the weights of queries, keys and values side by side in memory, so that a GPU makes
        all three in one product without a copy of them. Names and values stay."""
        layers = (self.q, self.k, self.v)
        lay_side_by_side([layer.weight for layer in layers])
        lay_side_by_side([layer.bias for layer in layers])

    def forward(self, x: Tensor, layer: int, memory: Memory) -> Tensor:
        """x [rows, frames, tokens, dim] -> the same shape."""
        into = Projections(
            (self.q.weight, self.k.weight, self.v.weight),
            (self.q.bias, self.k.bias, self.v.bias),
            (self.norm_q.weight, self.norm_k.weight),
            self.norm_q.eps,
        )
        return self.o(memory.see(layer, rows_for(self.q.weight, x), into).flatten(-2))


class CrossAttention(_Projections):
    """Attention over the prompt; its keys and values are computed once per prompt."""

    def remember(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """context [rows, text_len, dim] -> key and value [rows, text_len, heads, head_dim]."""
        split = (self.heads, -1)
        key = self.norm_k(self.k(context)).unflatten(-1, split)
        return key, self.v(context).unflatten(-1, split)

    def forward(self, x: Tensor, key: Tensor, value: Tensor, residual: Tensor) -> Tensor:
        """x, residual [rows, frames, tokens, dim] -> residual + attention, the same shape.

        All positions of the prompt count, padding too. A prompt has one row for each row of x, or
        one for each of its frames.
        """
        query, out = (self.q.weight, self.q.bias), (self.o.weight, self.o.bias)
        norm, shape = self.norm_q, x.shape
        x, residual = (part.reshape(len(key), -1, *shape[2:]) for part in (x, residual))
        seen = prompt_attention(x, residual, query, norm.weight, norm.eps, key, value, out)
        return seen.view(shape)
