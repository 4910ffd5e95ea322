"""What the stamp that closes a look should tell of it: how many things of each kind there are,
which colour goes with which shape, and where each shape lies.

A question finds a second by its stamp. Left to itself the decoder gathers a look anew for each sort
of question, from the few that are asked; told what the look shows, it gathers all of it at once, at
every turn. The heads that read it off are thrown away afterwards.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from .backgrounds import COLOURS
from .labels import UNKNOWN
from .shapes import SHAPES
from .truth import State

Labels = NDArray[np.int64]
NAMES = (*COLOURS, *SHAPES)
PAIRS = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)
GROUPS = ((1, 5), (len(NAMES), 3), (len(PAIRS), 2), (2 * len(SHAPES), 3))
"""(Labels, classes) of: how many things; how many of a colour or shape (two stands for more);
whether there is one of a colour and shape; row and column, by thirds, of a shape that is there
once."""
LABELS = sum(count for count, _ in GROUPS)
POSITIVE = 3.0
"""Weight of what is there, beside what is not."""


def labels(state: State) -> Labels:
    """[LABELS] of a turn, `UNKNOWN` where they are in doubt."""
    found = np.full(LABELS, UNKNOWN, np.int64)
    things = state.things
    if not state.doubtful:
        found[0] = len(things)
        for index, name in enumerate(NAMES):
            found[1 + index] = min(2, sum(name in (t.colour, t.shape) for t in things))
        pairs = {(thing.colour, thing.shape) for thing in things}
        start = 1 + len(NAMES)
        found[start : start + len(PAIRS)] = [pair in pairs for pair in PAIRS]
    start = LABELS - 2 * len(SHAPES)
    for index, shape in enumerate(SHAPES):
        alike = [thing for thing in things if thing.shape == shape]
        if len(alike) == 1 and alike[0].name not in state.bordering:
            found[start + 2 * index : start + 2 * index + 2] = alike[0].row, alike[0].column
    return found


class Gist(nn.Module):
    """Linear heads on the decoder's states at closing stamps, halfway through its layers."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.read = nn.Linear(dim, sum(count * classes for count, classes in GROUPS))

    def forward(self, states: Tensor, wanted: Tensor) -> tuple[Tensor, dict[str, list[bool]]]:
        """The loss, and what is right of each group.

        Args:
            states: [n, dim].
            wanted: int64 [n, LABELS].
        """
        logits = self.read(functional.rms_norm(states, states.shape[-1:]))
        parts = logits.split([count * classes for count, classes in GROUPS], -1)
        targets = wanted.split([count for count, _ in GROUPS], -1)
        total, right = logits.new_zeros(()), dict[str, list[bool]]()
        groups = zip(("count", "numbers", "pairs", "places"), GROUPS, parts, targets, strict=True)
        for name, (count, classes), part, target in groups:
            known = target != UNKNOWN
            if not bool(known.any()):
                continue
            rows, goal = part.unflatten(-1, (count, classes))[known], target[known]
            weight = torch.ones(classes)
            if name in ("numbers", "pairs"):
                weight[1:] = POSITIVE
            total = total + functional.cross_entropy(rows, goal, weight)
            # Of what there is: that something is not there is nearly always so.
            there = goal > 0 if name in ("numbers", "pairs") else goal >= 0
            right[name] = (rows.argmax(-1) == goal)[there].tolist()
        return total, right
