"""Stages that are recorded once and replayed: with CUDA graphs a stage is one launch.

A stage is a function of tensors and of memory that stays in its place (`State`). It knows nothing
of sessions, and no number of the host decides what it does but its key. So its recording holds for
every later use with the same key: what comes in is copied to the place that it was recorded with.

Rules:
- The first use of a key runs as it is, and so makes all tables and choices; the second one records.
- Recording leaves memory as it was, and its result is compared with a plain run. What cannot be
  recorded, or comes out differently, runs plainly from then on; `Tally.refused` says why.
- At most `most` recordings are kept; the one used longest ago goes, and counts as never seen.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

_log = logging.getLogger(__name__)
MOST = 32
"""Of one picture size: rows in buckets, chunks and leads, and the places of streams in a codec."""
FURTHEST = 1e-2
"""Largest difference from a plain run, as a share of its largest value."""


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """A recorded run.

    Attributes:
        output: where each replay leaves its result.
        replay: runs it again.
        held: whatever must outlive it.
    """

    output: Tensor
    replay: Callable[[], None]
    held: Any = None


class Recorder(Protocol):
    """Records runs on one queue of one device; no two of its recordings are replayed at once."""

    def record(self, run: Callable[[], Tensor]) -> Recording:
        """Record one run. It may be run a few times before; its memory is put back afterwards.

        Raises:
            RuntimeError: it does what cannot be recorded.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One use of a stage.

    Attributes:
        function: of `inputs` and then `lasting`; gives one tensor.
        inputs: copied in at each use.
        lasting: copied in when they are not the very tensors of the use before; never written.
        idle: inputs like `inputs` with which the function leaves memory as it is; None: it writes
            to `memory`, which is put back after recording.
        memory: see `idle`.
    """

    function: Callable[..., Tensor]
    inputs: tuple[Tensor, ...]
    lasting: tuple[Tensor, ...] = ()
    idle: tuple[Tensor, ...] | None = None
    memory: tuple[Tensor, ...] = ()

    def plainly(self) -> Tensor:
        return self.function(*self.inputs, *self.lasting)


@dataclass(eq=False)
class Tally:
    """What became of the uses of stages.

    Attributes:
        counts: "replayed", "plain" (uses); "recorded", "refused", "evicted" (keys).
        refused: why a key runs plainly, by key.
    """

    counts: Counter[str] = field(default_factory=Counter)
    refused: dict[str, str] = field(default_factory=dict)

    def told(self) -> str:
        """A sentence for whoever asks."""
        parts = [f"{count} {name}" for name, count in sorted(self.counts.items())]
        reasons = [f"{key}: {reason}" for key, reason in self.refused.items()]
        return "; ".join(["graphs: " + (", ".join(parts) or "nothing has run"), *reasons])


@dataclass(eq=False)
class _Ready:
    """A recording with the places of what goes in, and which lasting tensors lie there."""

    recording: Recording
    inputs: list[Tensor]
    places: list[Tensor]
    lasting: tuple[Tensor, ...]

    def run(self, call: Call) -> Tensor:
        _put_back(self.inputs, call.inputs)
        if any(new is not old for new, old in zip(call.lasting, self.lasting, strict=True)):
            torch._foreach_copy_(self.places, list(call.lasting))
            self.lasting = call.lasting
        self.recording.replay()
        return self.recording.output.clone()


class Graphs:
    """The recordings of stages over one set of memory; they live no longer than it does.

    Args:
        recorder: of the queue that all of these run on.
        tally: shared by all that are told of together.
        most: recordings kept.
    """

    def __init__(self, recorder: Recorder, tally: Tally | None = None, most: int = MOST) -> None:
        self.tally = Tally() if tally is None else tally
        self._recorder, self._most = recorder, most
        self._ready: OrderedDict[Hashable, _Ready] = OrderedDict()
        self._seen: OrderedDict[Hashable, bool] = OrderedDict()
        """Keys without a recording, and whether they may still get one."""

    def __contains__(self, key: Hashable) -> bool:
        return key in self._ready

    def run(self, key: Hashable, call: Call) -> Tensor:
        """The result of a stage, the caller's own.

        Args:
            key: all that `call` depends on besides its tensors' values: shapes, settings, memory.
        """
        ready = self._ready.get(key)
        if ready is not None:
            self._ready.move_to_end(key)
            self.tally.counts["replayed"] += 1
            return ready.run(call)
        self.tally.counts["plain"] += 1
        result = call.plainly()
        if key not in self._seen:
            self._note(key, True)
        elif self._seen[key]:
            self._record(key, call)
        return result

    def _note(self, key: Hashable, hopeful: bool) -> None:
        self._seen[key] = hopeful
        if len(self._seen) > 4 * self._most:
            self._seen.popitem(last=False)

    def _record(self, key: Hashable, call: Call) -> None:
        made, problem = self._try(call)
        if made is None or problem:
            self._note(key, False)
            self.tally.counts["refused"] += 1
            self.tally.refused[str(key)] = problem
            _log.warning("stage %s runs without a graph: %s", key, problem)
            return
        del self._seen[key]
        if len(self._ready) >= self._most:
            self._ready.popitem(last=False)
            self.tally.counts["evicted"] += 1
        self._ready[key] = made
        self.tally.counts["recorded"] += 1

    def _try(self, call: Call) -> tuple[_Ready | None, str]:
        """A recording and what is wrong with it; memory is as before."""
        with torch.inference_mode(False):
            # Written in any mode from now on.
            inputs = [_place(part) for part in (call.idle or call.inputs)]
            places = [_place(part) for part in call.lasting]
        kept = [part.clone() for part in call.memory]
        run = partial(call.function, *inputs, *places)
        try:
            recording = self._recorder.record(run)
            _put_back(call.memory, kept)
            expected = run()
            _put_back(call.memory, kept)
            recording.replay()
            problem = _difference(recording.output, expected)
        except RuntimeError as error:
            if _lost(error):
                raise
            problem = str(error).partition("\n")[0] or type(error).__name__
            recording = None
        _put_back(call.memory, kept)
        if recording is None:
            return None, problem
        return _Ready(recording, inputs, places, call.lasting), problem


def recorded(
    graphs: Graphs | None, name: str, function: Callable[..., Tensor], *inputs: Tensor
) -> Tensor:
    """A function of tensors alone, recorded by the sizes of these where there are graphs."""
    if graphs is None:
        return function(*inputs)
    return graphs.run((name, *(tuple(part.shape) for part in inputs)), Call(function, inputs))


def buckets(most: int) -> list[int]:
    """Numbers of rows that stages are recorded for: 1, 2, 3, 4, 6, 8, 12, 16 .. and `most`, so
    that at most a third of the rows run for nothing."""
    sizes = {1, 2, 3} | {part << n for n in range(1, most.bit_length()) for part in (2, 3)}
    return sorted({size for size in sizes if size < most} | {most})


def bucket(rows: int, most: int) -> int:
    """The smallest bucket that so many rows fit into."""
    return next(size for size in buckets(most) if size >= rows)


def _place(value: Tensor) -> Tensor:
    return torch.empty_like(value).copy_(value)


def _put_back(memory: Sequence[Tensor], kept: Sequence[Tensor]) -> None:
    if memory:
        torch._foreach_copy_(list(memory), list(kept))


def _difference(found: Tensor, expected: Tensor) -> str:
    """What is wrong with a replay's result, or ""; waits for the device."""
    most = float(expected.abs().max())
    apart = float((found.float() - expected.float()).abs().max())
    if apart <= FURTHEST * most:  # and not the other way round, so that NaN is found
        return ""
    return f"its replay differs from a plain run by {apart:.3g}, where values go up to {most:.3g}"


def _lost(error: RuntimeError) -> bool:
    """Whether the device is lost, and not just the recording."""
    return isinstance(error, torch.AcceleratorError) and "captur" not in str(error)
