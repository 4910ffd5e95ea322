"""What streams are given in one pass, checked and embedded, before any slot is taken for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .model import VLModel
from .positions import piece_offsets
from .segments import Pictures, Piece, Segment, Words
from .table import Stream


@dataclass(slots=True)
class Row:
    """What one stream is given.

    Attributes:
        segments: whose slots are still to be given.
        embeds: what each goes in as, [length, dim].
    """

    stream: Stream
    segments: list[Segment]
    embeds: list[Tensor]

    @property
    def new(self) -> int:
        """Tokens."""
        return sum(segment.length for segment in self.segments)


def row_of(model: VLModel, stream: Stream, pieces: Sequence[Piece]) -> Row:
    """Pieces as segments that follow what a stream holds.

    Raises:
        ValueError: ids or features that the model does not take, nothing at all, or the stream is
            closed.
    """
    stream.check()
    row = Row(stream, [], [])
    table = list(stream.table)
    for piece in pieces:
        offsets, span = piece_offsets(piece, model.spec.text.tokens_per_second)
        count = offsets.shape[1]
        row.embeds.append(_embedded(model, piece, count))
        segment = Segment(
            kind=piece.kind,
            turn=piece.turn,
            time=piece.time,
            pinned=piece.pinned,
            slots=np.zeros(count, np.int64),
            ids=np.array(piece.ids if isinstance(piece, Words) else (-1,) * count, np.int64),
            offsets=offsets,
            base=stream.layout.following(table, piece.kind),
            span=span,
        )
        table.append(segment)
        row.segments.append(segment)
    if not row.new:
        raise ValueError("nothing to append: no words and no pictures")
    return row


def _embedded(model: VLModel, piece: Piece, count: int) -> Tensor:
    """What a piece of `count` tokens goes in as, [count, dim]."""
    spec, weight = model.spec.text, model.text.weight
    if isinstance(piece, Pictures):
        features = piece.features
        if not isinstance(features, Tensor) or features.shape != (count, spec.dim):
            shape = tuple(features.shape) if isinstance(features, Tensor) else type(features)
            raise ValueError(
                f"features {shape} for a grid {piece.grid}; expected ({count}, {spec.dim})"
            )
        return features.to(weight.device, weight.dtype)
    ids = piece.ids
    if ids and not 0 <= min(ids) <= max(ids) < spec.vocab:
        raise ValueError(f"token ids {min(ids)} to {max(ids)}; the model has {spec.vocab}")
    return model.text.embed(torch.tensor(ids, dtype=torch.int64, device=weight.device))
