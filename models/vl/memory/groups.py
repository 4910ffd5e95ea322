"""Group Position Encoding: what is read and what is written count their places apart (ACL 2025
Findings, "StreamingLLM" of EIT-NLP; algorithms for video in arXiv 2601.06843).

Reading goes on while words are written and neither moves the other, so that nothing is encoded
again when pictures come late. The published models are fine-tuned for it; others should keep the
contiguous places of `positions.Contiguous`. No torch here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..positions import Places
from ..segments import Kind, Segment

_SOURCE: frozenset[Kind] = frozenset(("system", "query", "header", "vision"))
"""What is read; all other kinds are written, or ask for what is written."""


def is_source(kind: Kind) -> bool:
    """Whether a segment of this kind belongs to what is read."""
    return kind in _SOURCE


class GroupPositions:
    """Source at 0, 1, ..; target at `start`, `start` + 1, .., whatever the other one has.

    A `positions.Layout`. Within each group places are contiguous over what is kept.
    """

    def __init__(self, start: float = 0.0) -> None:
        """
        Args:
            start: place of the first target token (phi; the paper's default is 0).
        """
        self.start = float(start)

    def bases(self, kinds: Sequence[Kind], spans: Sequence[float]) -> Places:
        source = np.array([is_source(kind) for kind in kinds], dtype=bool)
        width = np.asarray(spans, dtype=np.float64)
        out = np.empty(len(width))
        for group, first in ((source, 0.0), (~source, self.start)):
            out[group] = first + np.cumsum(width[group]) - width[group]
        return out

    def following(self, table: Sequence[Segment], kind: Kind) -> float:
        source = is_source(kind)
        for segment in reversed(table):
            if is_source(segment.kind) == source:
                return segment.base + segment.span
        if not table:
            return 0.0 if source else self.start
        # The first of its group: where the other group begins says where 0 is by now.
        first = table[0].base
        return first - self.start if source else first + self.start

    def rearranged(self, kept: Sequence[Segment], old: Sequence[Segment]) -> Places:
        """Pictures outnumber words, so that the newest of the source stay where they are."""
        source = sum(segment.span for segment in kept if is_source(segment.kind))
        zero = self.following(old, "vision") - source
        return zero + self.bases([s.kind for s in kept], [s.span for s in kept])


def group_mask(source: Sequence[bool], visible: Sequence[int]) -> NDArray[np.bool_]:
    """What each token of a sequence sees: a source token the source before it, a target token the
    first `visible` source tokens and the target before it.

    Args:
        source: of each token, whether it belongs to the source.
        visible: of each token, how many source tokens were there when it was written; what is
            given for source tokens means nothing.

    Returns:
        bool [L, L], true where line i sees column j.
    """
    reads = np.asarray(source, dtype=bool)
    seen = np.where(reads, len(reads), np.asarray(visible, dtype=np.int64))
    rank = np.where(reads, np.cumsum(reads) - 1, np.cumsum(~reads) - 1)
    earlier = rank[None, :] <= rank[:, None]
    same = reads[None, :] == reads[:, None]
    return np.where(same, earlier, ~reads[:, None] & (rank[None, :] < seen[:, None]))


def average_lagging(delays: Sequence[float], source: int) -> float:
    """How many source tokens the target lags behind an ideal that keeps pace with the source
    (Ma et al., arXiv 1810.08398, equation 8).

    AL = 1/tau sum over t <= tau of (d_t - (t - 1) / gamma), gamma = target / source tokens, where
    tau is the first target token that was written with the whole source read.

    Args:
        delays: of each target token, how many source tokens had been read.
        source: tokens of the whole source, at least 1.

    Raises:
        ValueError: without target or source, or delays that fall or exceed the source.
    """
    read = np.asarray(delays, dtype=np.float64)
    if source < 1 or not len(read):
        raise ValueError("average lagging needs at least one source and one target token")
    if (np.diff(read) < 0).any() or read[0] < 0 or read[-1] > source:
        raise ValueError(f"delays must rise from 0 to at most {source}")
    whole = np.flatnonzero(read >= source)
    tau = int(whole[0]) + 1 if len(whole) else len(read)
    ideal = np.arange(tau) * source / len(read)
    return float((read[:tau] - ideal).mean())
