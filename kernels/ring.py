"""Writing new keys and values into the slots of a ring."""

from __future__ import annotations

import torch
from torch import Tensor

from .dispatch import choose, implementation, reference


def ring_write(ring: Tensor, new: Tensor, slots: Tensor, mask: Tensor | None) -> None:
    """Write the frames of a chunk into their slots, in place; rows outside `mask` stay.

    Args:
        ring: [rows, slots, ...], written.
        new: [rows, frames, ...].
        slots: int64 [rows, frames], where each frame goes; distinct within a row.
        mask: bool [rows], or None for all rows.
    """
    choose("ring_write", ring.device.type)(ring, new, slots, mask)


@reference("ring_write")
def ring_write_reference(ring: Tensor, new: Tensor, slots: Tensor, mask: Tensor | None) -> None:
    rows = torch.arange(ring.shape[0], device=ring.device)[:, None]
    new = new.to(ring.dtype)
    if mask is not None:
        new = torch.where(mask.view(-1, *[1] * (ring.dim() - 1)), new, ring[rows, slots])
    ring[rows, slots] = new


@implementation("ring_write", "cpu")
def _ring_write_copies(ring: Tensor, new: Tensor, slots: Tensor, mask: Tensor | None) -> None:
    """Plain copies of the rows that run: on a CPU nothing waits for the value of an index."""
    running = [True] * len(ring) if mask is None else mask.tolist()
    for row, places in enumerate(slots.tolist()):
        if running[row]:
            for frame, slot in enumerate(places):
                ring[row, slot].copy_(new[row, frame])
