"""Attention of the transformer: over the past of the stream, and over the prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn as nn
from torch import Tensor

from ..kernels import angles, attention, axis_pairs, rope, spatial_tables
from .layers import RMSNorm
from .ring import KVRing, RingView, chunk_position, wide
from .specs import DiTSpec, RingSpec


@dataclass(frozen=True, slots=True)
class Rotation:
    """Rotary tables of queries and of keys, each [rows or 1, frames, tokens, 1, pairs]."""

    query_cos: Tensor
    query_sin: Tensor
    key_cos: Tensor
    key_sin: Tensor


def rotation(
    spec: DiTSpec, grid: tuple[int, int], query: Tensor, key: Tensor, dtype: torch.dtype
) -> Rotation:
    """Tables for queries and keys at temporal positions `query` and `key`.

    Args:
        grid: height and width in tokens.
        query, key: integers [rows or 1, frames]; a key at position 0 gets no place in time.
        dtype: of the model.
    """
    table, device = wide(dtype), query.device
    space = spatial_tables(grid, spec.head_dim, spec.rope_theta, table, device)

    def tables(positions: Tensor) -> tuple[Tensor, Tensor]:
        turn = angles(positions, axis_pairs(spec.head_dim)[0], spec.rope_theta)
        return join(turn.cos(), space[0]), join(turn.sin(), space[1])

    def join(time: Tensor, place: Tensor) -> Tensor:
        time = time.to(table)[:, :, None].expand(-1, -1, place.shape[0], -1)
        return torch.cat((time, place.expand(*time.shape[:2], -1, -1)), -1)[:, :, :, None]

    return Rotation(*tables(query), *tables(key))


class Memory(Protocol):
    """Whatever self-attention looks into, and how queries and keys are rotated for it."""

    @property
    def rotation(self) -> Rotation: ...

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """All [rows, frames, tokens, heads, head_dim]; writes the chunk and reads the past."""
        ...


@dataclass(frozen=True, slots=True)
class RingMemory:
    """The ring of a running stream."""

    ring: KVRing
    view: RingView
    mask: Tensor | None
    rotation: Rotation

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return self.ring.attend(layer, self.view, query, key, value, self.mask)


@dataclass(frozen=True, slots=True)
class OwnMemory:
    """No past: a chunk sees itself only."""

    rotation: Rotation

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
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
    rotation: Rotation

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
        turn = angles(torch.tensor(left_behind, device=key.device), pairs, self.theta)
        return rope(key, turn.cos().to(wide(key.dtype)), turn.sin().to(wide(key.dtype)))


def clip_memory(
    spec: DiTSpec, frames: int, chunk: int, keep: Tensor | None, rotation: Rotation
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
        late = start - chunk_position(policy) if policy.positions == "relative" else 0
        left_behind.append(max(late, 0))
    return ClipMemory(
        chunk, policy.sinks, spec.rope_theta, tuple(seen), tuple(left_behind), rotation
    )


class SelfAttention(nn.Module):
    """Attention of a chunk over the past and itself; parameter names of Wan 2.1."""

    def __init__(self, spec: DiTSpec) -> None:
        super().__init__()
        self.heads = spec.heads
        self.q = nn.Linear(spec.dim, spec.dim)
        self.k = nn.Linear(spec.dim, spec.dim)
        self.v = nn.Linear(spec.dim, spec.dim)
        self.o = nn.Linear(spec.dim, spec.dim)
        self.norm_q = RMSNorm(spec.dim, spec.eps)
        self.norm_k = RMSNorm(spec.dim, spec.eps)

    def forward(self, x: Tensor, layer: int, memory: Memory) -> Tensor:
        """x [rows, frames, tokens, dim] -> the same shape."""
        split = (self.heads, -1)
        turn = memory.rotation
        # The norm spans the whole width, before the heads part (Wan 2.1).
        query = rope(self.norm_q(self.q(x)).unflatten(-1, split), turn.query_cos, turn.query_sin)
        key = rope(self.norm_k(self.k(x)).unflatten(-1, split), turn.key_cos, turn.key_sin)
        value = self.v(x).unflatten(-1, split)
        return self.o(memory.attend(layer, query, key, value).flatten(-2))


class CrossAttention(nn.Module):
    """Attention over the prompt; its keys and values are computed once per prompt."""

    def __init__(self, spec: DiTSpec) -> None:
        super().__init__()
        self.heads = spec.heads
        self.q = nn.Linear(spec.dim, spec.dim)
        self.k = nn.Linear(spec.dim, spec.dim)
        self.v = nn.Linear(spec.dim, spec.dim)
        self.o = nn.Linear(spec.dim, spec.dim)
        self.norm_q = RMSNorm(spec.dim, spec.eps)
        self.norm_k = RMSNorm(spec.dim, spec.eps)

    def remember(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """context [rows, text_len, dim] -> key and value [rows, text_len, heads, head_dim]."""
        split = (self.heads, -1)
        key = self.norm_k(self.k(context)).unflatten(-1, split)
        return key, self.v(context).unflatten(-1, split)

    def forward(self, x: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """x [rows, frames, tokens, dim] -> the same shape. All positions count, padding too."""
        query = self.norm_q(self.q(x)).unflatten(-1, (self.heads, -1))
        out = attention(query.flatten(1, 2), key, value)
        return self.o(out.reshape(x.shape))
