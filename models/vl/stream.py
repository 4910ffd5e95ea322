"""Streams of pictures and words that one model reads and continues, in one arena."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from .arena import ArenaFull, KVArena, Reach, reach
from .graphs import StepGraphs
from .keeping import rearrange, restore, unshared
from .memory.archive import Entry
from .model import VLModel
from .positions import CONTIGUOUS, Layout, Places
from .rows import Row, row_of
from .segments import Pictures, Piece, Segment, Words
from .table import Slots, Stream, places_of, shortened

__all__ = ["ArenaFull", "Stream", "StreamingVL"]


@dataclass(slots=True)
class _Listening:
    """A `Past` that keeps the queries of each layer."""

    past: Reach
    queries: list[Tensor] = field(default_factory=list)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        self.queries.append(query)
        return self.past.attend(layer, query, key, value)


class StreamingVL:
    """One model, its arena, and the streams that live in it. Not safe for several threads."""

    def __init__(
        self,
        model: VLModel,
        slots: int,
        layout: Layout = CONTIGUOUS,
        recomputes: bool = False,
    ) -> None:
        """Args:
        slots: tokens of all streams together; the arena is allocated here, once.
        layout: where segments stand.
        recomputes: keep what went in, so that `recompute` can read it anew.
        """
        weight = model.text.weight
        self.model = model
        self.layout = layout
        self.arena = KVArena(model.spec.text, slots, weight.device, weight.dtype, recomputes)
        self.steps = StepGraphs(model.text, self.arena)
        self._opened = 0

    def open(self) -> Stream:
        """A new stream, which holds nothing."""
        return self._new(parent=-1)

    def _new(self, parent: int) -> Stream:
        self._opened += 1
        return Stream(self._opened - 1, self.layout, parent)

    def fork(self, stream: Stream) -> Stream:
        """A stream that holds what `stream` holds now and goes its own way: nothing is copied until
        one of them moves what both hold."""
        stream.check()
        fork = self._new(parent=stream.number)
        fork.put(list(stream.table))
        fork.count = stream.count
        self.arena.share(stream.slots)
        return fork

    def close(self, stream: Stream) -> None:
        """Give the slots of a stream back; nothing happens the second time."""
        if not stream.closed:
            self.arena.drop(stream.slots)
            stream.put([])
            stream.closed = True

    @torch.no_grad()
    def see(self, pictures: Tensor) -> tuple[Tensor, tuple[int, int, int]]:
        """What the tower makes of grids of pictures, of any streams.

        Args:
            pictures: [n, frames, 3, H, W] in 0..1.

        Returns:
            Features [n, h * w, dim], and the grid (1, h, w) of each.
        """
        weight = self.model.text.weight
        return self.model.vision(pictures.to(weight.device, weight.dtype))

    @torch.no_grad()
    def append(
        self, work: Sequence[tuple[Stream, Sequence[Piece]]], back: Sequence[int] | None = None
    ) -> Tensor:
        """Give streams pictures and words, all in one pass.

        Args:
            work: streams, each once, and what is appended to each, of any lengths above 0.
            back: how many tokens before each one's last the logits are taken; 0 where not given.

        Returns:
            Logits of what follows each one's last token, [n, vocab].

        Raises:
            ArenaFull: nothing was changed.
            ValueError: ids or features that the model does not take; nothing was changed.
        """
        rows = [row_of(self.model, stream, pieces) for stream, pieces in work]
        _once([row.stream for row in rows])
        last = np.cumsum([row.new for row in rows]) - 1
        if back is not None:
            if not all(0 <= step < row.new for step, row in zip(back, rows, strict=True)):
                raise ValueError(f"logits {list(back)} tokens back; fewer were given")
            last -= np.asarray(back)
        with ExitStack() as unless_done:
            taken = self.arena.take(sum(row.new for row in rows))
            unless_done.callback(self.arena.drop, taken)
            hidden, _ = self._run(rows, taken)
            logits = self.model.text.logits(hidden[self.arena.index(last)])
            unless_done.pop_all()
        for row in rows:
            for segment in row.segments:
                row.stream.add(segment)
        return logits

    def _run(
        self, rows: Sequence[Row], taken: Slots, listening: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """Give new tokens the slots `taken` and run the decoder over them.

        Returns:
            Hidden states [n, dim]; and unrotated queries of each layer if `listening`.
        """
        first, lines = 0, []
        for row in rows:
            start = first
            for index, segment in enumerate(row.segments):
                part = taken[first : first + segment.length]
                row.segments[index] = replace(segment, slots=part)
                first += segment.length
            lines.append((np.concatenate((row.stream.slots, taken[start:first])), first - start))
        places = np.concatenate([places_of(row.segments) for row in rows], 1)
        embeds = torch.cat([part for row in rows for part in row.embeds])
        self._note(taken, places)
        if self.arena.inputs is not None:
            self.arena.inputs.index_copy_(0, self.arena.index(taken), embeds)
        heard = _Listening(reach(self.arena, places, lines))
        past = heard if listening else heard.past
        return self.model.text.extend(embeds, past), heard.queries

    def _note(self, taken: Slots, places: Places) -> None:
        self.arena.places[:, taken] = places

    @torch.no_grad()
    def step(self, work: Sequence[tuple[Stream, int]]) -> Tensor:
        """Give streams one token each, as part of the words that each one ends with.

        Returns:
            Logits of what follows, [n, vocab].

        Raises:
            ArenaFull: nothing was changed.
            ValueError: a stream ends with pictures (`Stream.begin` opens words), or as `append`.
        """
        vocab = self.model.spec.text.vocab
        for stream, token in work:
            stream.check()
            if not stream.table or stream.table[-1].kind == "vision":
                raise ValueError("no words to continue; open some with Stream.begin")
            if not 0 <= token < vocab:
                raise ValueError(f"token id {token}; the model has {vocab}")
        _once([stream for stream, _ in work])
        ends = [stream.table[-1] for stream, _ in work]
        places = np.broadcast_to([end.base + end.span for end in ends], (3, len(work)))
        with ExitStack() as unless_done:
            taken = self.arena.take(len(work))
            unless_done.callback(self.arena.drop, taken)
            lines = [np.append(s.slots, slot) for (s, _), slot in zip(work, taken, strict=True)]
            logits = self.steps.run([token for _, token in work], places, lines)
            unless_done.pop_all()
        self._note(taken, places)
        for index, (stream, token) in enumerate(work):
            stream.grow(taken[index : index + 1], token)
        return logits

    def retract(self, stream: Stream, count: int) -> None:
        """Take the last `count` tokens back, as if they had never been given.

        Raises:
            ValueError: there are fewer, or they begin within a picture; nothing was changed.
        """
        stream.check()
        table = shortened(stream.table, count)
        gone = stream.slots[stream.length - count :].copy()
        stream.put(table)
        self.arena.drop(gone)

    @torch.no_grad()
    def rearrange(
        self, stream: Stream, kept: Sequence[Segment], archive: bool = False
    ) -> list[Entry]:
        """Keep these segments of a stream, in this order, and free the others.

        Places become contiguous again (or what the layout makes them); only keys whose place
        changed are rotated anew. Slots that a fork holds as well are left to it as they are.

        Args:
            kept: segments of `stream.table`, or parts of them made by `cut`.
            archive: hand back what leaves, with copies of its raw keys and values.

        Returns:
            What left, in the order of the table; nothing unless `archive`.

        Raises:
            ArenaFull: copies of what a fork holds do not fit; nothing was changed.
            ValueError: `kept` holds what the stream does not, or something twice.
        """
        return rearrange(self.arena, stream, kept, archive)

    @torch.no_grad()
    def insert(self, stream: Stream, entries: Sequence[Entry | Pictures]) -> None:
        """Bring memories back, before a question is put.

        Segments return as they were, each before the first that is younger, and what stands before
        them moves. Pictures are read anew, after everything that is there.

        Raises:
            ArenaFull: nothing was changed.
            ValueError: features that the model does not take; nothing was changed.
        """
        pictures = [entry for entry in entries if isinstance(entry, Pictures)]
        reserve = row_of(self.model, stream, pictures).new if pictures else 0
        known = [entry for entry in entries if isinstance(entry, Entry)]
        restore(self.arena, stream, known, reserve)
        if pictures:
            self.append([(stream, pictures)])

    @torch.no_grad()
    def queries(self, stream: Stream, ids: Sequence[int]) -> Tensor:
        """Raw (unrotated) query vectors of words as they would be read after all of a stream.

        Returns:
            [layers, tokens, heads, head_dim]; the stream is left as it was.

        Raises:
            ArenaFull, ValueError: as `append`.
        """
        row = row_of(self.model, stream, [Words("question", tuple(ids))])
        taken = self.arena.take(row.new)
        try:
            return torch.stack(self._run([row], taken, listening=True)[1])
        finally:
            self.arena.drop(taken)

    @torch.no_grad()
    def recompute(self, stream: Stream) -> None:
        """Read all that a stream holds anew, so that nothing remembers what has left.

        Afterwards the stream is what a model would make of the kept tokens alone.

        Raises:
            ArenaFull: copies of what a fork holds do not fit; nothing was changed.
            ValueError: this was not made with `recomputes`.
        """
        stream.check()
        if self.arena.inputs is None:
            raise ValueError("what went in was not kept; make StreamingVL with recomputes=True")
        if not stream.length:
            return
        held = stream.slots[self.arena.counts[stream.slots] > 1]
        table = unshared(self.arena, stream.table, held)
        stream.put(table)
        embeds = self.arena.inputs.index_select(0, self.arena.index(stream.slots))
        places = places_of(table)
        self._note(stream.slots, places)
        past = reach(self.arena, places, [(stream.slots, stream.length)])
        self.model.text.extend(embeds, past)


def _once(streams: Sequence[Stream]) -> None:
    if len({id(stream) for stream in streams}) < len(streams):
        raise ValueError("a stream is given twice in one pass; join its pieces")
