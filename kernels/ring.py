"""Writing new keys and values into the slots of a ring."""

from __future__ import annotations

import torch
from torch import Tensor

from .dispatch import choose, implementation, reference
from .quantise import quantise


def ring_write(
    ring: Tensor,
    new: Tensor,
    slots: Tensor,
    mask: Tensor | None,
    rows: Tensor | None = None,
    scale: Tensor | None = None,
) -> None:
    """Write the frames of a chunk into their slots, in place; rows outside `mask` stay.

    Args:
        ring: [all rows, slots, ...], written.
        new: [rows, frames, ...].
        slots: int64 [rows, frames], where each frame goes; distinct within a row.
        mask: bool [rows], or None for all rows.
        rows: int64 [rows], the ring's row of each; distinct. None for the ring's own order.
        scale: of a ring of a narrow type (see `quantise`): float32, the shape of the ring without
            its last dimension, written too. None for a ring that holds values as they are.
    """
    choose("ring_write", ring.device.type)(ring, new, slots, mask, rows, scale)


@reference("ring_write")
def ring_write_reference(
    ring: Tensor,
    new: Tensor,
    slots: Tensor,
    mask: Tensor | None,
    rows: Tensor | None,
    scale: Tensor | None = None,
) -> None:
    if scale is not None:
        new, factors = quantise(new, ring.dtype)
        ring_write_reference(scale, factors, slots, mask, rows)
    own = torch.arange(len(new), device=ring.device) if rows is None else rows
    place = own[:, None]
    new = new.to(ring.dtype)
    if mask is not None:
        new = torch.where(mask.view(-1, *[1] * (ring.dim() - 1)), new, ring[place, slots])
    ring[place, slots] = new


@implementation("ring_write", "cpu")
def _ring_write_copies(
    ring: Tensor,
    new: Tensor,
    slots: Tensor,
    mask: Tensor | None,
    rows: Tensor | None,
    scale: Tensor | None = None,
) -> None:
    """Plain copies of the rows that run: on a CPU nothing waits for the value of an index."""
    if scale is not None:
        new, factors = quantise(new, ring.dtype)
        _ring_write_copies(scale, factors, slots, mask, rows)
    running = [True] * len(new) if mask is None else mask.tolist()
    own = range(len(new)) if rows is None else rows.tolist()
    for row, (place, places) in enumerate(zip(own, slots.tolist(), strict=True)):
        if running[row]:
            for frame, slot in enumerate(places):
                ring[place, slot].copy_(new[row, frame])
