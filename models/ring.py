"""`KVRing`: the rolling memory of a causal transformer, with sinks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ..kernels import angles, axis_pairs, ring_attention, ring_write, rope, turns
from .ring_store import codes, storage, values
from .specs import RingSpec
from .state import State, row_tensor


def wide(dtype: torch.dtype) -> torch.dtype:
    """The type that rotary tables are applied in: float32, or float64 for float64 models."""
    return torch.float64 if dtype == torch.float64 else torch.float32


@lru_cache(maxsize=32)
def _count(stop: int, device: torch.device) -> Tensor:
    """0, 1, .. stop - 1; kept, because making it takes as long as using it."""
    with torch.inference_mode(False):
        return torch.arange(stop, device=device)


@dataclass(frozen=True, slots=True)
class RingView:
    """What one pass over a chunk needs to know of the ring: derived from its counters.

    Attributes:
        slots: int64 [rows, frames], where the chunk is written.
        valid: bool [rows, slots], which slots the chunk may see.
        turn: [rows, sinks, time pairs, 2], by which the sinks' keys are moved nearer; None when
            they keep their place.
        positions: int64 [rows, frames], index of the chunk's own frames: their place in time.
        rows: int64 [rows], which rows of the ring these are; None for all, in order.
        full: the caller of `view` has promised that all of `valid` is true.
    """

    slots: Tensor
    valid: Tensor
    turn: Tensor | None
    positions: Tensor
    rows: Tensor | None = None
    full: bool = False


@dataclass(eq=False)
class KVRing(State):
    """Keys and values of past latent frames: sinks, then a true ring of window + chunk slots.

    Frame i of a stream lives in slot i while i < sinks, else in a slot of the ring that it shares
    with the frames i +- (window + chunk). A chunk writes its slots at each pass and may rewrite
    them at the next; only `commit` makes it past. What a row can see, and where in time, follows
    from its counter alone, so nothing is shifted, copied or asked back from the device.

    Keys are stored fully rotated, at their frame's index in the stream; angles are computed in
    float64, so that scores depend on distances alone however long the stream runs. Only the sinks
    of a window that has moved on are turned as they are read, as far as they were left behind.

    Attributes:
        k, v: [layers, rows, slots, tokens, heads, head_dim], stored as `policy.store` says.
        frames: int64 [rows], latent frames committed.
        sink_shift: int64 [rows, sinks], how many frames later than the first ones the frame in
            each sink slot is (0 until a sink is replaced).
        k_scale, v_scale: of stored codes, [layers, rows, slots, tokens, heads]; else None.
    """

    policy: RingSpec
    chunk: int
    theta: float
    k: Tensor = row_tensor(dim=1, reset=False)
    v: Tensor = row_tensor(dim=1, reset=False)
    frames: Tensor = row_tensor()
    sink_shift: Tensor = row_tensor()
    k_scale: Tensor | None = row_tensor(dim=1, reset=False)
    v_scale: Tensor | None = row_tensor(dim=1, reset=False)

    @classmethod
    def allocate(
        cls,
        policy: RingSpec,
        chunk: int,
        theta: float,
        shape: tuple[int, int, int, int, int],
        device: torch.device | str,
        dtype: torch.dtype,
    ) -> KVRing:
        """An empty ring; `shape` is (layers, rows, tokens, heads, head_dim)."""
        layers, rows, tokens, heads, head_dim = shape
        slots = policy.sinks + policy.window + chunk
        whole = (layers, rows, slots, tokens, heads, head_dim)
        (k, k_scale), (v, v_scale) = (storage(whole, policy.store, device, dtype) for _ in range(2))
        frames = torch.zeros(rows, dtype=torch.int64, device=device)
        shift = torch.zeros(rows, policy.sinks, dtype=torch.int64, device=device)
        return cls(policy, chunk, theta, k, v, frames, shift, k_scale, v_scale)

    @property
    def slots(self) -> int:
        return self.k.shape[2]

    def slot_frames(self, frames: int) -> Tensor:
        """Index of the frame in each slot once a chunk of `frames` is written, int64 [rows, slots].

        A slot that holds nothing gets a negative index or one beyond the chunk.
        """
        sinks, ring = self.policy.sinks, self.slots - self.policy.sinks
        slot = _count(self.slots, self.frames.device)
        last = self.frames[:, None] + (frames - 1)
        # The newest frame that is congruent to the slot; before the ring is full it may fall among
        # the sinks or below zero, and then the slot is empty.
        in_ring = last - (last - slot[None, sinks:]) % ring
        in_ring = torch.where(in_ring >= sinks, in_ring, -1)
        return torch.cat((slot[None, :sinks] + self.sink_shift, in_ring), 1)

    def view(
        self,
        frames: int,
        first: bool = False,
        rows: Tensor | None = None,
        past: Tensor | None = None,
        full: bool = False,
    ) -> RingView:
        """Slots, validity and positions for a chunk of `frames` latent frames.

        Args:
            frames: at most `chunk`.
            first: the chunk begins its streams; then it may be longer, up to all slots.
            rows: int64 [n], the rows that run, distinct; None for all. Nothing is copied for it.
            past: int64 [n], most frames of the past that each row looks at, sinks counted; None
                for all. The ring keeps what is not looked at, so this can change at any time.
            full: the caller's promise that each row sees every slot: a whole chunk, after at least
                sinks + window frames, none of them left out by `past` or by replaced sinks. Only
                then may attention that knows no holes be taken; the device is not asked.

        Raises:
            ValueError: the chunk is too long; it would overwrite what it must see; or it is too
                short for what was promised.
        """
        if full and (frames < self.chunk or past is not None):
            raise ValueError("a ring is full with a whole chunk, and if nothing limits the past")
        most = self.slots if first else self.chunk
        if not 1 <= frames <= most:
            raise ValueError(f"a chunk of {frames} latent frames; this ring takes 1 to {most}")
        part = self if rows is None else self._counting(rows)
        sinks, ring = self.policy.sinks, self.slots - self.policy.sinks
        chunk = part.frames[:, None] + _count(frames, self.frames.device)
        slots = torch.where(chunk < sinks, chunk, sinks + (chunk - sinks) % ring)
        held = part.slot_frames(frames)
        valid = part._valid(held, frames, past)
        return RingView(slots, valid, part._turn(held), chunk, rows, full)

    def _counting(self, rows: Tensor) -> KVRing:
        """This ring with the counters of some rows only; keys and values stay whole."""
        frames, shift = self.frames.index_select(0, rows), self.sink_shift.index_select(0, rows)
        return replace(self, frames=frames, sink_shift=shift)

    def _valid(self, held: Tensor, frames: int, past: Tensor | None) -> Tensor:
        sinks, start = self.policy.sinks, self.frames[:, None]
        oldest = start - self.policy.window
        if past is not None:
            oldest = start - (past - sinks).clamp(0, self.policy.window)[:, None]
        recent = held >= oldest
        # A replaced sink holds a frame that the ring still has; it counts once that one has left.
        old_sink = (held[:, :sinks] < sinks) | (held[:, :sinks] < oldest)
        visible = torch.cat((old_sink, recent[:, sinks:]), 1)
        return visible & (held >= 0) & (held < start + frames)

    def left_behind(self, held: Tensor) -> Tensor:
        """How many frames nearer than their own place the sinks stand, int64 [rows, sinks].

        Under the "relative" policy sinks stay just before the window once it has moved on, under
        the "absolute" one as far before the chunk as its span allows: never further than in
        training, however old the stream is.
        """
        sinks, reach = self.policy.sinks, self.policy.reach
        if reach is None:
            return torch.zeros_like(self.sink_shift)
        furthest = self.frames[:, None] + (_count(sinks, held.device) - reach)
        return (furthest - held[:, :sinks]).clamp_min(0)

    def _turn(self, held: Tensor) -> Tensor | None:
        if self.policy.reach is None or self.policy.sinks == 0:
            return None
        pairs = axis_pairs(self.k.shape[-1])[0]
        return turns(angles(self.left_behind(held), pairs, self.theta), wide(self.k.dtype))

    def attend(
        self,
        layer: int,
        view: RingView,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
    ) -> Tensor:
        """Write the chunk's keys and values of one layer and attend over all that is visible.

        Args:
            query, key: [rows, frames, tokens, heads, head_dim], rotated for `view.positions`.
            value: the same shape.
            mask: bool [rows], rows that run; None for all. Others keep their memory (and get an
                output without meaning).
        """
        scales = self.scales(layer) or (None, None)
        for memory, new, scale in zip(self.layer(layer), (key, value), scales, strict=True):
            ring_write(memory, new, view.slots, mask, view.rows, scale)
        return self.look(layer, view, query)

    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        """Keys and values of one layer as they are written, [rows, slots, tokens, heads,
        head_dim]."""
        store = self.policy.store
        return codes(self.k[index], store), codes(self.v[index], store)

    def scales(self, index: int) -> tuple[Tensor, Tensor] | None:
        """Of one layer's codes, [rows, slots, tokens, heads]; None where values are stored."""
        if self.k_scale is None or self.v_scale is None:
            return None
        return self.k_scale[index], self.v_scale[index]

    def look(self, layer: int, view: RingView, query: Tensor) -> Tensor:
        """The half of `attend` that reads; the chunk is written already."""
        keys, held = self.layer(layer)
        asked, scales = query.flatten(1, 2), self.scales(layer)
        out = ring_attention(asked, keys, held, view.valid, view.turn, view.rows, view.full, scales)
        return out.view_as(query)

    def commit(
        self, mask: Tensor | None, frames: int | None = None, rows: Tensor | None = None
    ) -> None:
        """Make the chunk just written part of the past of the rows where `mask` is true.

        Args:
            mask: bool [all rows], or [n] with `rows`; None for all of them.
            frames: latent frames in the chunk; None for `chunk`.
            rows: int64 [n], distinct: only these rows, by their numbers.
        """
        count = self.chunk if frames is None else frames
        if rows is not None:
            none = torch.zeros_like(self.frames, dtype=torch.bool)
            chosen = torch.ones_like(rows, dtype=torch.bool) if mask is None else mask
            mask = none.index_copy_(0, rows, chosen)
        self.frames.add_(count if mask is None else count * mask)
        if self.policy.sink_threshold is not None and self.policy.sinks:
            every = torch.ones_like(self.frames, dtype=torch.bool) if mask is None else mask
            self._renew_sinks(every, self.policy.sink_threshold)

    def replace_sinks(self, mask: Tensor | None = None) -> None:
        """Let the newest committed frame be the only sink (a new scene has begun).

        Args:
            mask: bool [rows], rows that it happens to; None for all.
        """
        sinks = self.policy.sinks
        if sinks == 0:
            return
        chosen = self.frames > 0 if mask is None else mask & (self.frames > 0)
        slot = torch.arange(sinks, device=self.frames.device)
        # A slot that the stream has not come to yet must still take its own frame.
        emptied = chosen[:, None] & (slot > 0) & (slot < self.frames[:, None])
        self.sink_shift.copy_(torch.where(emptied, -1 - slot, self.sink_shift))
        self._put_newest(torch.zeros_like(self.frames), chosen)

    def _newest_slot(self) -> Tensor:
        """Slot of the newest committed frame, int64 [rows]; slot 0 of an empty row."""
        sinks, ring = self.policy.sinks, self.slots - self.policy.sinks
        last = (self.frames - 1).clamp_min(0)
        return torch.where(last < sinks, last, sinks + (last - sinks) % ring)

    def _put_newest(self, slot: Tensor, mask: Tensor) -> None:
        """Copy the newest committed frame into sink `slot` [rows] of the rows in `mask`."""
        rows = torch.arange(len(slot), device=slot.device)
        for memory in (self.k, self.v, self.k_scale, self.v_scale):
            if memory is None:
                continue
            newest, old = memory[:, rows, self._newest_slot()], memory[:, rows, slot]
            chosen = mask.view(-1, *[1] * (memory.dim() - 3))
            memory[:, rows, slot] = torch.where(chosen, newest, old)
        shift = torch.where(mask, self.frames - 1 - slot, self.sink_shift[rows, slot])
        self.sink_shift[rows, slot] = shift

    def _renew_sinks(self, mask: Tensor, threshold: float) -> None:
        """Replace the sink that is least like the newest frame, if it is too unlike.

        Likeness is the cosine of token means, of keys and of values, averaged over both and over
        layers, so that all layers keep the same frames (the released code judges each layer by
        itself, and sinks that are still empty too).
        """
        rows = torch.arange(len(mask), device=mask.device)
        held = torch.arange(self.policy.sinks, device=mask.device) + self.sink_shift
        likeness = torch.zeros_like(self.sink_shift, dtype=torch.float32)
        stored = (self.k, self.k_scale), (self.v, self.v_scale)
        at_sinks = (slice(None), slice(None), slice(self.policy.sinks))
        at_newest = (slice(None), rows, self._newest_slot())
        for memory, places in zip(stored, ((held, self.frames[:, None] - 1), None), strict=True):
            means = self._floats(memory, at_sinks).mean(3)
            newest = self._floats(memory, at_newest).mean(2)[:, :, None]
            if places is not None:
                means, newest = self._unplaced(means, places[0]), self._unplaced(newest, places[1])
            alike = torch.cosine_similarity(means.flatten(3), newest.flatten(3), dim=-1)
            likeness += alike.mean(0) / 2
        worst, slot = likeness.masked_fill(held < 0, -1.0).min(1)
        full = self.frames > self.policy.sinks + self.policy.window
        self._put_newest(slot, mask & full & (worst < threshold))

    def _floats(self, memory: tuple[Tensor, Tensor | None], where: tuple[Any, ...]) -> Tensor:
        slots, scale = memory
        part = None if scale is None else scale[where]
        return values(slots[where], part, self.policy.store, torch.float32).float()

    def _unplaced(self, keys: Tensor, frames: Tensor) -> Tensor:
        """Keys [layers, rows, frames, heads, head_dim] without their place in time."""
        turn = angles(-frames, axis_pairs(self.k.shape[-1])[0], self.theta)
        return rope(keys, turns(turn, keys.dtype)[:, :, None])
