"""CUDA graphs of one-token steps, one for each (rows, keys) that occurs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .arena import KVArena
from .decoder import Decoder
from .decoding import ROWS, Feed, bucket, decode, feed
from .positions import Places
from .table import Slots

MOST_GRAPHS = 24
_WARM_RUNS = 3


@dataclass(frozen=True, slots=True)
class _Captured:
    """A graph with the tensors that it reads and writes; `staged` is what the host fills."""

    given: Feed
    staged: Feed
    logits: Tensor
    graph: torch.cuda.CUDAGraph


class StepGraphs:
    """Runs `decode`: through graphs on a CUDA device, plainly elsewhere.

    Graphs belong to one arena, whose pools never move. At most `MOST_GRAPHS` are kept; the one that
    was used longest ago goes first.
    """

    def __init__(self, text: Decoder, arena: KVArena, captures: bool | None = None) -> None:
        """`captures`: whether to use graphs; None for wherever there are some."""
        self.text, self.arena = text, arena
        self.captures = arena.device.type == "cuda" if captures is None else captures
        self._graphs: OrderedDict[tuple[int, int], _Captured] = OrderedDict()

    def run(self, ids: Sequence[int], places: Places, lines: Sequence[Slots]) -> Tensor:
        """One token of each stream: logits [n, vocab].

        Args:
            places: [3, n].
            lines: slots of each stream, the new one last.
        """
        most, spare = max(map(len, lines)), self.arena.spare
        if not self.captures or len(lines) > ROWS[-1]:
            given = feed(ids, places, lines, len(lines), most, spare)
            return decode(self.text, self.arena, _onto(given, self.arena.device))
        rows, keys = next(size for size in ROWS if size >= len(lines)), bucket(most)
        captured = self._captured(rows, keys)
        new = feed(ids, places, lines, rows, keys, spare)
        # What was staged before has been read: its logits were waited for.
        for host, device, value in zip(
            captured.staged.tensors(), captured.given.tensors(), new.tensors(), strict=True
        ):
            host.copy_(value)
            device.copy_(host, non_blocking=True)
        captured.graph.replay()
        done = torch.cuda.Event()
        done.record()
        done.synchronize()
        return captured.logits[: len(lines)].clone()

    def _captured(self, rows: int, keys: int) -> _Captured:
        held = self._graphs.get((rows, keys))
        if held is None:
            held = self._capture(rows, keys)
            if len(self._graphs) == MOST_GRAPHS:
                self._graphs.popitem(last=False)
            self._graphs[rows, keys] = held
        self._graphs.move_to_end((rows, keys))
        return held

    def _capture(self, rows: int, keys: int) -> _Captured:
        """Capture a step whose rows all write into the spare slot, so that nothing is spoilt."""
        empty = feed([], torch.zeros(3, 0).double().numpy(), [], rows, keys, self.arena.spare)
        staged = Feed(*(part.pin_memory() for part in empty.tensors()))
        given = _onto(empty, self.arena.device)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_RUNS):
                decode(self.text, self.arena, given)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            logits = decode(self.text, self.arena, given)
        return _Captured(given, staged, logits, graph)


def _onto(given: Feed, device: torch.device) -> Feed:
    return Feed(*(part.to(device) for part in given.tensors()))
