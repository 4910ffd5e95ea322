"""Windows of self-attention inside a moving buffer (StreamDiT, arXiv 2507.03745, section 3.3).

Tokens attend within boxes of [frames, height, width] tokens that do not overlap; every other layer
moves the boxes by half their sides, with wrap-around, so that what one layer keeps apart the next
one joins. The cost of attention falls to the box's share of the buffer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

Sides = tuple[int, int, int]
"""Frames, height and width in tokens."""


@dataclass(frozen=True, slots=True)
class Windows:
    """How a buffer of `whole` tokens is cut into boxes of `box`.

    Raises:
        ValueError: the boxes do not fill the buffer evenly.
    """

    whole: Sides
    box: Sides

    def __post_init__(self) -> None:
        if any(side % part for side, part in zip(self.whole, self.box, strict=True)):
            raise ValueError(
                f"windows of {self.box} (frames, height, width in tokens) do not fill a buffer of "
                f"{self.whole}; choose sides that divide it"
            )

    @staticmethod
    def fitted(whole: Sides, wanted: Sides) -> Windows:
        """Boxes as wanted, but no larger than the buffer."""
        frames, height, width = (min(a, b) for a, b in zip(whole, wanted, strict=True))
        return Windows(whole, (frames, height, width))

    def _shift(self, layer: int) -> Sides:
        # A box as large as the buffer has nothing to join with: moved, it would hold the same.
        frames, height, width = (
            0 if part == side else (layer % 2) * (part // 2)
            for side, part in zip(self.whole, self.box, strict=True)
        )
        return frames, height, width

    def split(self, x: Tensor, layer: int) -> Tensor:
        """[rows, frames, tokens, heads, head_dim] -> [rows * boxes, tokens of a box, heads,
        head_dim]."""
        grid = x.unflatten(2, self.whole[1:])
        shift = self._shift(layer)
        if any(shift):
            grid = torch.roll(grid, tuple(-step for step in shift), (1, 2, 3))
        for dim in (3, 2, 1):
            grid = grid.unflatten(dim, (-1, self.box[dim - 1]))
        # rows, then which box (frame, height, width), then where in it, then heads.
        return grid.permute(0, 1, 3, 5, 2, 4, 6, 7, 8).flatten(4, 6).flatten(0, 3)

    def join(self, x: Tensor, layer: int) -> Tensor:
        """The way back of `split`."""
        counts = [side // part for side, part in zip(self.whole, self.box, strict=True)]
        grid = x.unflatten(1, self.box).unflatten(0, (-1, *counts))
        grid = grid.permute(0, 1, 4, 2, 5, 3, 6, 7, 8).flatten(5, 6).flatten(3, 4).flatten(1, 2)
        shift = self._shift(layer)
        if any(shift):
            grid = torch.roll(grid, shift, (1, 2, 3))
        return grid.flatten(2, 3)
