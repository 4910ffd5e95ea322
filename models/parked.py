"""Weights that live in the host's memory and visit the device only to compute."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Slot = tuple[nn.Module, str, nn.Parameter]
"""A module, the name of one of its parameters, and that parameter in the host's memory."""


class Parked:
    """Blocks of a network that run one after another, and where their weights are.

    The host's copies are never given up, so that leaving the device costs nothing. Where host and
    device are the same, nothing is ever copied.

    Attributes:
        awake: everything is on the device, to stay.

    Args:
        blocks: modules that are called in this order; what is in none of them stays where it is.
    """

    def __init__(self, blocks: Sequence[nn.Module], device: torch.device) -> None:
        self._device, self.awake = device, False
        self._blocks = list(blocks)
        self._slots: dict[nn.Module, list[Slot]] = {
            block: [
                (module, name, value)
                for module in block.modules()
                for name, value in module.named_parameters(recurse=False)
            ]
            for block in blocks
        }

    @property
    def away(self) -> bool:
        """Whether the weights are in another memory than the device computes in."""
        slots = (slot for slots in self._slots.values() for slot in slots)
        return any(value.device.type != self._device.type for _, _, value in slots)

    def fetch(self, value: Tensor) -> Tensor:
        """A copy on the device."""
        return value.to(self._device, non_blocking=True)

    def wake(self) -> None:
        """Bring everything to the device, to stay."""
        if self.away and not self.awake:
            for block in self._blocks:
                self._come(block)
        self.awake = True

    def park(self) -> None:
        """Give the device's memory back."""
        for block in self._blocks:
            self._leave(block)
        self.awake = False

    @contextmanager
    def visit(self, block: nn.Module) -> Iterator[None]:
        """While this lasts, the block is on the device. Without effect when awake."""
        if self.awake or not self.away:
            yield
            return
        self._come(block)
        try:
            yield
        finally:
            self._leave(block)

    def _come(self, block: nn.Module) -> None:
        for owner, name, value in self._slots[block]:
            setattr(owner, name, nn.Parameter(self.fetch(value), requires_grad=False))

    def _leave(self, block: nn.Module) -> None:
        for owner, name, value in self._slots[block]:
            setattr(owner, name, value)
