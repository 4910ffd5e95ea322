"""What an operation is: its definition, and the ways to compute it on a type of device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Fits = Callable[..., str]
"""Takes a call's arguments; "" or the reason why this call cannot be taken."""


def fits_always(*arguments: Any) -> str:
    """Every call can be taken."""
    return ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to compute an operation on a device type.

    Attributes:
        name: "triton", "sdpa-cudnn": short, unique within (operation, device type).
        run: the same arguments as the reference, by position.
        fits: "" or the reason why a call cannot be taken (data type, stride, size).
        library: not a kernel of ours; of equally fast ones it is taken.
    """

    name: str
    run: Callable[..., Any]
    fits: Fits = fits_always
    library: bool = False


@dataclass
class Operation:
    """The definition of an operation and what else computes it, by device type."""

    reference: Callable[..., Any]
    implementations: dict[str, Callable[..., Any]] = field(default_factory=dict)
    candidates: dict[str, list[Candidate]] = field(default_factory=dict)

    def ways(self, device: str) -> list[Candidate]:
        """All that computes it on a device type; first what runs where nothing was measured."""
        native = self.implementations.get(device)
        first = [] if native is None else [Candidate("native", native, library=True)]
        defined = Candidate("reference", self.reference, library=True)
        return [*first, defined, *self.candidates.get(device, [])]
