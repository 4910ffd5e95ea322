"""Which word comes next. Greedy: the same pictures give the same captions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def silence_of(row: Tensor, silence: int) -> float:
    """Log-probability of the model's first word being silence. `row`: logits [vocab]."""
    return float(row[silence] - row.logsumexp(0))


def odds(row: Tensor, yes: int, no: int) -> float:
    """log(p(yes) / p(no))."""
    return float(row[yes] - row[no])


def choose(
    row: Tensor,
    recent: Sequence[int] = (),
    penalty: float = 1.0,
    forbidden: Iterable[int] = (),
) -> int:
    """The likeliest token.

    Args:
        row: logits [vocab].
        recent: tokens of recent captions; their odds are divided by `penalty`.
        forbidden: not to be chosen.
    """
    if recent and penalty > 1.0:
        row = row.clone()
        row[torch.tensor(sorted(set(recent)), device=row.device)] -= math.log(penalty)
    barred = list(forbidden)
    if barred:
        row = row.index_fill(0, torch.tensor(barred, device=row.device), -math.inf)
    return int(row.argmax())
