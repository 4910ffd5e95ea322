"""Appends the tokens of a stream and of its forks, and keeps where and whose they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...vl.positions import picture_offsets

IGNORED = -100
STAMP, PICTURE, SAID = 0, 1, 2
"""What a token of a stream is: of a turn's frame, of its pictures, or of its caption."""
FIRST, NEXT = 2.0, 1.0
"""Weights in the loss of an answer's first word and of its others."""


class Writer:
    """Attributes: of each token its id, the feature that it stands for (or -1), what it is to be
    followed by and how much that weighs, its fork (or -1), its turn, and what it is."""

    def __init__(self, grid: tuple[int, int]) -> None:
        self.grid = grid
        self.ids: list[int] = []
        self.source: list[int] = []
        self.places: list[NDArray[np.float64]] = []
        self.target: list[int] = []
        self.weight: list[float] = []
        self.owner: list[int] = []
        self.turn: list[int] = []
        self.sort: list[int] = []
        self.base = 0.0

    def words(self, ids: tuple[int, ...], turn: int, owner: int, sort: int = STAMP) -> None:
        """Words that are read."""
        for token in ids:
            self._one(token, turn, owner, sort)
        self._placed(len(ids))

    def learnt(
        self,
        ids: tuple[int, ...],
        turn: int,
        owner: int,
        sort: int = STAMP,
        weights: tuple[float, float] = (FIRST, NEXT),
    ) -> None:
        """Words that are said: the token before each predicts it."""
        for index, token in enumerate(ids):
            self.target[-1], self.weight[-1] = token, weights[index > 0]
            self._one(token, turn, owner, sort)
        self._placed(len(ids))

    def picture(self, first: int, turn: int, owner: int) -> None:
        """A look's tokens; `first` is the index of its first feature."""
        height, width = self.grid
        for index in range(height * width):
            self._one(0, turn, owner, PICTURE, first + index)
        self.places.append(self.base + picture_offsets((1, height, width), 2.0))
        self.base += max(height, width)

    def _one(self, token: int, turn: int, owner: int, sort: int, source: int = -1) -> None:
        self.ids.append(token)
        self.source.append(source)
        self.target.append(IGNORED)
        self.weight.append(0.0)
        self.owner.append(owner)
        self.turn.append(turn)
        self.sort.append(sort)

    def _placed(self, count: int) -> None:
        self.places.append(np.broadcast_to(self.base + np.arange(count, dtype=float), (3, count)))
        self.base += count
