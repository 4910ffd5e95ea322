"""What can be made of a chunk, or of several alike: what each choice costs and is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .quotes import Quotes, row_of
from .tasks import Profile

DROP_AVERSION = 4
"""A chunk that is not made at all is a visible stutter: the step to nothing counts this much more
than its quality says."""


@dataclass(frozen=True, slots=True)
class Menu:
    """The sensible choices, best first; the last one is not to make the chunk.

    Attributes:
        efforts: index of each choice in the profile's `efforts`; without that for the last one.
        costs: seconds of each choice, falling, 0 at the end.
        nothing: index of the choice not to make the chunk.
        prices: worth that is lost for each second that is saved with the step to the next choice;
            rising, so the cheapest steps of all chunks can be taken in order.
    """

    efforts: tuple[int, ...]
    costs: tuple[float, ...]
    prices: tuple[float, ...]
    nothing: int

    def scaled(self, factor: float) -> Menu:
        """The same when only this share of the chunks is made."""
        costs = tuple(cost * factor for cost in self.costs)
        return Menu(self.efforts, costs, self.prices, self.nothing)


def menu_of(
    quotes: Quotes, profile: Profile, group: Sequence[int], rows: int, *, alone: bool
) -> Menu:
    """The choices for a chunk.

    Args:
        group: indices in the profile's efforts to choose from.
        rows: of the launch.
        alone: whether the costs are of one chunk out of up to `rows` (for chunks to come, of which
            nobody knows with how many others they will go) instead of all together.
    """
    points: list[tuple[float, float, int]] = []
    for index in group:
        effort = profile.efforts[index]
        row = row_of(profile, effort)
        cost = quotes.each(row, rows) if alone else quotes.alike(row, rows)
        points.append((cost, effort.quality * (1 if alone else rows), index))
    return _hull(points)


def _hull(points: Sequence[tuple[float, float, int]]) -> Menu:
    """Only what no mixture of two others beats: the upper hull over (cost, worth)."""
    best: list[tuple[float, float, int]] = []
    for point in sorted(points, key=lambda p: (-p[1], p[0])):
        if best and point[0] >= best[-1][0]:
            continue
        while len(best) > 1 and _price(best[-2], best[-1]) >= _price(best[-1], point):
            best.pop()
        best.append(point)
    nothing = (0.0, 0.0, -1)
    while len(best) > 1 and _price(best[-2], best[-1]) >= _price(best[-1], nothing):
        best.pop()
    chain = [*best, nothing]
    prices = [_price(a, b) for a, b in zip(chain, chain[1:], strict=False)]
    prices[-1] *= DROP_AVERSION
    efforts = tuple(p[2] for p in best)
    return Menu(efforts, tuple(p[0] for p in chain), tuple(prices), len(efforts))


def _price(better: tuple[float, float, int], cheaper: tuple[float, float, int]) -> float:
    saved = better[0] - cheaper[0]
    return (better[1] - cheaper[1]) / saved if saved > 0 else float("inf")
