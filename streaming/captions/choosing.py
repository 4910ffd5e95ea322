"""What the logits of a first word say. Loads torch."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor


def silence_of(row: Tensor, silence: int) -> float:
    """Log-probability of the model's first word being silence. `row`: logits [vocab]."""
    return float(row[silence] - row.logsumexp(0))


def odds(row: Tensor, yes: int, no: int) -> float:
    """log(p(yes) / p(no))."""
    return float(row[yes] - row[no])


def without(row: Tensor, forbidden: Iterable[int]) -> Tensor:
    """The logits with some tokens impossible."""
    barred = torch.tensor(sorted(forbidden), dtype=torch.int64, device=row.device)
    return row.index_fill(0, barred, -math.inf)
