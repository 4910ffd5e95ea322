"""When to speak, and what not to say again. Pure; no torch here.

A turn passes three questions: has the picture changed at all (`ChangeGate`, before the model sees
it), does the model want to speak (`Voice`), and is it news (`RecentCaptions`).
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .looks import Look, Planes

# ---- has the picture changed? ------------------------------------------------------------------

CELLS, CHROMA_CELLS = 16, 8
"""Cells of the coarse grids, each way; a cell of chroma has as many samples as one of luma, so that
noise averages out alike."""
WORST = 16
"""Change is judged in the worst 1/16 of the cells: a small thing that moves is change."""

Plane = npt.NDArray[np.float32]
Grid = tuple[Plane, Plane, Plane]
"""Cell means of Y, U and V."""


@dataclass(frozen=True, slots=True)
class GateRule:
    """Attributes:
    threshold: grey levels of change that count, where the picture changed most.
    exposure: grey levels by which a camera's exposure may wander unnoticed between two looks.
    every: seconds after which a look is taken however still the picture is.
    settle: still looks that pass after a change. That something stopped is seen in these.
    """

    threshold: float = 2.5
    exposure: float = 2.0
    every: float = 10.0
    settle: int = 2


class ChangeGate:
    """Leaves out looks at a picture that stands still, before they cost anything.

    What is new in a look is compared with the last picture that passed, so slow change adds up and
    is seen.
    """

    def __init__(self, rule: GateRule = GateRule()) -> None:
        self._rule = rule
        self._reference: Grid | None = None
        self._passed = -math.inf
        self._still = 0

    def passes(self, look: Look) -> bool:
        """Whether the model must look. Called once for each look, in order."""
        grids = [coarse(planes) for planes in look.fresh]
        rule, reference = self._rule, self._reference
        still = reference is not None and all(
            change(grid, reference, rule.exposure) < rule.threshold for grid in grids
        )
        self._still = self._still + 1 if still else 0
        if self._still > rule.settle and look.second < self._passed + rule.every:
            return False
        self._reference, self._passed = grids[-1], look.second
        return True

    def forget(self) -> None:
        """Let the next look pass."""
        self._reference = None


def coarse(planes: Planes) -> Grid:
    """Means of Y [16, 16], U and V [8, 8] over their cells, float32."""
    rows, width = planes.shape
    height = rows * 2 // 3
    chroma = planes[height:].reshape(2, height // 2, width // 2)
    u, v = (_means(plane, CHROMA_CELLS) for plane in chroma)
    return _means(planes[:height], CELLS), u, v


def change(a: Grid, b: Grid, exposure: float = 0.0) -> float:
    """Mean absolute difference in the cells that changed most, in grey levels; a shift of the
    whole picture's brightness up to `exposure` does not count."""
    luma, u, v = (mine - theirs for mine, theirs in zip(a, b, strict=True))
    luma -= min(exposure, max(-exposure, float(luma.mean())))
    return max(_worst(np.abs(plane)) for plane in (luma, u, v))


def _worst(difference: Plane) -> float:
    ordered = np.sort(difference, axis=None)
    return float(ordered[-max(1, ordered.size // WORST) :].mean())


def _means(plane: npt.NDArray[np.uint8], cells: int) -> Plane:
    rows, columns = (np.arange(cells) * size // cells for size in plane.shape)
    # Rows first: the long axis is then summed with wide vector instructions. Where there are fewer
    # pixels than cells, several cells show the same one.
    sums = np.add.reduceat(plane, rows, axis=0, dtype=np.uint32)
    sums = np.add.reduceat(sums, columns, axis=1, dtype=np.uint32)
    heights = np.maximum(1, np.diff(rows, append=plane.shape[0]))
    widths = np.maximum(1, np.diff(columns, append=plane.shape[1]))
    return (sums / np.outer(heights, widths)).astype(np.float32)


# ---- does the model want to speak? -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SpeakRule:
    """From the model's first word to whether it speaks. The log-odds of speaking are calibrated
    (Platt: `scale * odds + bias`) and compared with a threshold that has hysteresis.

    Attributes:
        begin: log-odds at which it begins after a silent turn.
        go_on: log-odds at which it goes on after a turn in which it spoke.
    """

    scale: float = 1.0
    bias: float = 0.0
    begin: float = 0.5
    go_on: float = -0.5

    def __post_init__(self) -> None:
        if not self.go_on <= self.begin:
            raise ValueError(f"go_on ({self.go_on}) must not lie above begin ({self.begin})")


class Voice:
    """Decides turn by turn, with the memory of one turn."""

    def __init__(self, rule: SpeakRule = SpeakRule()) -> None:
        self._rule = rule
        self._spoke = False

    def speaks(self, silence: float) -> bool:
        """Args:
        silence: log-probability of the model's first word being silence.
        """
        odds = self._rule.scale * speak_odds(silence) + self._rule.bias
        self._spoke = odds >= (self._rule.go_on if self._spoke else self._rule.begin)
        return self._spoke

    def quiet(self) -> None:
        """A turn went by in which the model was not asked."""
        self._spoke = False


def speak_odds(silence: float) -> float:
    """log(p(speak) / p(silence)) from log p(silence), without loss at either end."""
    if silence >= 0.0:
        return -math.inf
    return math.log(-math.expm1(silence)) - silence


# ---- is it news? -------------------------------------------------------------------------------

NEWS_S = 30.0
"""Seconds for which a caption counts as said."""
ALIKE = 0.85
"""Share of a caption's words that must have been said for it to be no news."""
RELATED = 0.5
"""Share of common words from which on two captions tell of the same thing."""

_FILLERS = frozenset(
    "a an the is are was were be been being and of to in on at it its there this that now still "
    "with by as then has have had while".split()
)
_DECISIVE = frozenset(
    "no not none nothing nobody never without empty left right up down upward downward upwards "
    "downwards forward backward top bottom one two three four five six seven eight nine ten zero "
    "in out on off into open opened opens close closed closes start starts stop stops begin begins "
    "end ends appear appears disappear disappears enter enters leave leaves brighter darker bright "
    "dark brightens darkens red green blue yellow orange purple violet pink brown black white gray "
    "grey cyan magenta turquoise still faster slower bigger smaller first second last another "
    "more fewer".split()
)
"""Words that make another statement of a sentence however much of the rest is the same."""
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")


def words_of(text: str) -> tuple[str, ...]:
    """Normalised words: lower case, no punctuation, plural and third person folded."""
    return tuple(_folded(word) for word in _WORD.findall(text.casefold()))


def _folded(word: str) -> str:
    if word in _DECISIVE or len(word) < 4 or not word.endswith("s") or word.endswith("ss"):
        return word
    return word[:-1]


def tells_nothing_new(new: Sequence[str], old: Sequence[str]) -> bool:
    """Whether `old` (normalised words) says all that `new` does."""
    fresh, said = _content(new), _content(old)
    if not fresh:
        return not said or tuple(new) == tuple(old)
    if (fresh ^ said) & _DECISIVE:
        return False
    return len(fresh & said) >= ALIKE * len(fresh)


def related(a: Sequence[str], b: Sequence[str]) -> bool:
    """Whether two captions tell of the same thing, alike or not."""
    first, second = _content(a), _content(b)
    return len(first & second) >= RELATED * max(1, min(len(first), len(second)))


def _content(words: Sequence[str]) -> frozenset[str]:
    return frozenset(words) - (_FILLERS - _DECISIVE)


class RecentCaptions:
    """What was said within the last seconds, to tell news from repetition.

    A caption is no news if one of the last seconds says all that it does. But if a later caption
    told something else of the same thing, the repetition means that it changed back: that is news.
    """

    def __init__(self, seconds: float = NEWS_S) -> None:
        self._seconds = seconds
        self._said: deque[tuple[float, tuple[str, ...]]] = deque()

    def news(self, time: float, text: str) -> bool:
        """Whether to say `text` at this second of the stream; if so it counts as said."""
        words = words_of(text)
        if not words:
            return False
        while self._said and self._said[0][0] < time - self._seconds:
            self._said.popleft()
        for _, said in reversed(self._said):
            if tells_nothing_new(words, said):
                return False
            if related(words, said):
                break
        self._said.append((time, words))
        return True
