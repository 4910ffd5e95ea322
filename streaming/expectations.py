"""What to expect of a shape that was not measured yet, drawn from one that was.

A start measures the preferred size only. Without more, a session of another size or a smaller
effort would look as costly as that, and what saves time would never be tried.
"""

from __future__ import annotations

from collections.abc import Sequence

from .scheduling.costs import CostTable
from .scheduling.quotes import at_scale, passes_of
from .scheduling.tasks import Profile, Shape, Stage

STAGES: Sequence[Stage] = ("encode", "pass", "decode")
FEW, MANY = 1, 4
"""Rows between which the measured curve is taken as a line."""
WINDOW_SHARE = 0.07
"""What a pass of the embedded model saves by looking two frames back instead of four: 5 of 67 ms in
float32 at 256x256 on one core, 3 of 37 in bfloat16; next to nothing in small pictures."""


def expect(costs: CostTable, profile: Profile, measured: Shape) -> None:
    """Seed the costs of all that a session may ask for: work in proportion to its pixels, overhead
    as it is. Measurements push the guess out."""
    for effort in profile.efforts:
        shape = at_scale(profile.shape, effort.scale)
        for stage in STAGES:
            window = effort.window if stage == "pass" else None
            if (shape, window) == (measured, None):
                continue
            few = costs.seconds(stage, measured, FEW, None, 0.5)
            many = costs.seconds(stage, measured, MANY, None, 0.5)
            if few <= 0.0:
                continue
            row = (many - few) / (MANY - FEW)
            share = 1.0 if window is None else 1.0 - WINDOW_SHARE
            per_row = share * row * shape.pixels / measured.pixels
            costs.seed(stage, shape, window, max(0.0, few - row), per_row)


def busy_share(costs: CostTable, profiles: Sequence[Profile]) -> float:
    """Share of the device's time that sessions take together at their best effort, one by one."""
    return sum(
        (
            costs.seconds("encode", p.shape, 1, None, 0.5)
            + passes_of(p, p.efforts[0]) * costs.seconds("pass", p.shape, 1, None, 0.5)
            + costs.seconds("decode", p.shape, 1, None, 0.5)
        )
        / p.period
        for p in profiles
    )
