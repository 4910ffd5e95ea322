"""The video pipeline: encode, noise, stream batch, decode, for any model that is made of `Parts`.

It implements the same `Pipeline` protocol as a user's own model does. Whatever can go together for
several streams goes together: one encode, one forward a pass, one decode for all of one size. The
embedded model (`tiny`) and the released ones (`wan`) are two choices of its parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
import torch
import torch.nn.functional as functional
from torch import Tensor

from ..models.graphs import Graphs, Recorder, Tally
from .banks import Bank
from .entrance import Entrance, Stream
from .entries import Finished
from .moving import facts_of, facts_to_array
from .parts import Parts, Size
from .pipeline import Result, StreamConfig, Work
from .portable import Arrays, load_rows, save_rows, to_array
from .prompts import PromptLibrary
from .queues import InOrder, Queues

__all__ = ["Stream", "VideoDiffusion", "fitted", "scaled"]


class VideoDiffusion:
    """Turns streams of pictures into others with a causal diffusion model."""

    def __init__(
        self,
        parts: Parts,
        *,
        streams: int = 4,
        sequential: bool = True,
        recorder: Recorder | None = None,
        queues: Queues | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        """
        Args:
            streams: most streams of one picture size at a time.
            sequential: run a chunk through all its noise levels in one tick (low latency); else as
                a stream batch, one level a tick, all levels in one forward (throughput). Holds for
                chunks whose `Work.spread` leaves it open.
            recorder: records stages as graphs; None runs them as they are.
            notes: what was chosen when it was built, in sentences.
            queues: where the parts of a tick go; None for one after another. With queues of their
                own, frames come on "upload" (or the caller's own), and results are on "decode".
        """
        self.queues: Queues = queues or InOrder()
        self.tally, self._recorder, self._notes = Tally(), recorder, notes
        self.parts, self.info = parts, parts.info
        self.streams, self.sequential = streams, sequential
        self.banks: dict[Size, Bank] = {}
        self._entrance = Entrance(parts, lambda stage, rows: self._mark(stage, rows, None))
        self._batch: Sequence[Work] = ()

    @property
    def library(self) -> PromptLibrary:
        """The prompts in use."""
        return self.parts.conditioner.library

    def stage_runs(self) -> Mapping[str, int]:
        """See `stage_runs.Staged`."""
        return self.tally.counts

    def told(self) -> tuple[str, ...]:
        """See `stage_runs.Staged`."""
        stages = () if self._recorder is None else (self.tally.told(),)
        return (*self._notes, *stages)

    # -- the protocol ---------------------------------------------------------------------------

    def open(self, config: StreamConfig) -> Stream:
        size = (config.height, config.width)
        return self._stream(size, *self._place(size))

    def _stream(self, size: Size, bank: Bank, slot: int) -> Stream:
        noise = self.parts.noise.still
        return Stream(size, bank, slot, self.parts.conditioner.wish(), noise)

    def close(self, stream: Stream) -> None:
        stream.bank.give_back(stream.slot)
        self._drop_idle()

    def save(self, stream: Stream) -> dict[str, npt.NDArray[Any]]:
        """See `pipeline.Portable`."""
        assert not stream.bank.lanes.in_flight(stream.slot)
        self.queues.join()
        arrays = save_rows(stream.bank, stream.slot)
        arrays["noise"] = to_array(torch.as_tensor(stream.noise))
        if stream.last_frame is not None:
            arrays["last_frame"] = to_array(stream.last_frame)
        facts = {
            "size": stream.bank.size,
            "resets": stream.resets,
            "wish": stream.wish.facts(),
            "begun": stream.begun,
            "watched": stream.watched,
        }
        return {**arrays, "facts": facts_to_array(facts)}

    @torch.inference_mode()
    def load(self, config: StreamConfig, saved: Arrays) -> Stream:
        """See `pipeline.Portable`."""
        facts = facts_of(saved["facts"])
        height, width = facts["size"]
        device = self.parts.dit.patch_embedding.weight.device
        stream = self._stream((config.height, config.width), *self._place((height, width)))
        self.queues.join()
        load_rows(stream.bank, stream.slot, saved)
        stream.noise = torch.from_numpy(saved["noise"]).to(device)
        stream.resets, stream.begun = facts["resets"], facts["begun"]
        stream.watched = facts["watched"]
        if "last_frame" in saved:
            stream.last_frame = torch.from_numpy(saved["last_frame"]).to(device)
        stream.wish.recall(facts["wish"])
        # These are read on other queues from now on.
        own = (part for part in (stream.noise, stream.last_frame) if isinstance(part, Tensor))
        self.queues.settle(*own)
        return stream

    @torch.inference_mode()
    def step(self, batch: Sequence[Work]) -> list[Result]:
        self._batch = batch
        results: list[Result] = []
        self.queues.settle()
        with self.queues.on("denoise", *(w.frames for w in batch if w.frames is not None)):
            for work in batch:
                results += self._settle(work)
            for bank in dict.fromkeys(work.stream.bank for work in batch):
                works = [work for work in batch if work.stream.bank is bank]
                self._entrance.enter(bank, sorted(works, key=lambda work: work.stream.slot))
                results += self._run(bank, works)
        self._batch = ()
        return results

    # -- parts of it ----------------------------------------------------------------------------

    def _place(self, size: Size) -> tuple[Bank, int]:
        bank = self.banks.pop(size, None)
        if bank is None:
            self._drop_idle()
            if self.parts.room is not None:
                self.parts.room.check(self.streams, size)
            # Memory that may be written in any mode, wherever it is made.
            with torch.inference_mode(False):
                own = self._graphs(), self.queues
                bank = Bank(self.parts, self.streams, size, self._passed, *own)
            self.queues.settle(*bank.tensors())
        self.banks[size] = bank  # the last one is the one used last
        slot = bank.take()
        if slot is None:
            raise RuntimeError(
                f"all {self.streams} streams of {size[1]}x{size[0]} are in use; "
                "close one or start with a larger --max-sessions"
            )
        return bank, slot

    def _graphs(self) -> Graphs | None:
        return None if self._recorder is None else Graphs(self._recorder, self.tally)

    def _drop_idle(self) -> None:
        """Give up the memory of sizes that nobody has, but for those used last."""
        idle = [size for size, bank in self.banks.items() if bank.idle]
        for size in idle[: len(idle) - self.parts.idle_banks]:
            del self.banks[size]

    def _settle(self, work: Work) -> list[Result]:
        """Before a chunk: forget when asked to, and move to the size that its effort wants. What
        is in flight comes out of the old place first; the new one begins without a past."""
        stream: Stream = work.stream
        results: list[Result] = []
        if work.controls.resets != stream.resets:
            stream.resets = work.controls.resets
            if self.parts.codec.leads:
                # The decoder begins anew with a lead, and so with nothing of before.
                results = self._completed(stream)
            stream.forget()
        size = self._scaled(stream.size, work.effort.scale)
        if work.frames is None or size == stream.bank.size:
            return results
        results += self._completed(stream)
        old, slot = stream.bank, stream.slot
        stream.move(*self._place(size))
        old.give_back(slot)
        return results

    def _completed(self, stream: Stream) -> list[Result]:
        """Bring out all that is in flight."""
        finished = stream.bank.lanes.complete(stream.slot)
        return self._decoded(stream.bank, {stream.slot: stream}, finished)

    def _scaled(self, size: Size, scale: float) -> Size:
        return scaled(size, scale, self.info.size_multiple)

    def _run(self, bank: Bank, works: Sequence[Work]) -> list[Result]:
        """All passes of one size, then its pictures."""
        by_slot = {work.stream.slot: work for work in works}
        # A flush is of a stream that has chunks in flight: bringing out one is one pass of all.
        spread = {
            slot
            for slot, work in by_slot.items()
            if (not self.sequential if work.spread is None else work.spread)
        }
        finished = bank.lanes.step(
            list(by_slot), spread, lambda slot, passes: by_slot[slot].go_on(passes)
        )
        return self._decoded(bank, {slot: w.stream for slot, w in by_slot.items()}, finished)

    def _decoded(
        self, bank: Bank, streams: dict[int, Stream], finished: Sequence[Finished]
    ) -> list[Result]:
        """Pictures of what has left the lanes: one of each stream at a time, in order."""
        left, results = list(finished), list[Result]()
        while left:
            slots = list(dict.fromkeys(done.slot for done in left))
            now = [next(done for done in left if done.slot == slot) for slot in slots]
            left = [done for done in left if done not in now]
            with self.queues.on("decode"):
                for done, frames in zip(now, bank.decode(now), strict=True):
                    stream = streams[done.slot]
                    shown = fitted(frames, stream.size)
                    results.append(Result(stream, done.index, shown, stream.notes))
                self._mark("decode", len(now), None)
        return results

    def _passed(self, rows: int, window: int | None) -> None:
        self._mark("pass", rows, window)

    def _mark(self, stage: str, rows: int, window: int | None) -> None:
        self._batch[0].mark(stage, rows, window)


def scaled(size: Size, scale: float, multiple: int) -> Size:
    """The nearest size that the model takes."""
    if scale == 1.0:
        return size
    height, width = (max(multiple, round(side * scale / multiple) * multiple) for side in size)
    return height, width


def fitted(frames: Tensor, size: Size) -> Tensor:
    """Pictures [T, 3, h, w] scaled back to the size of the session."""
    if tuple(frames.shape[-2:]) == size:
        return frames
    wide = functional.interpolate(frames.float(), size=size, mode="bilinear", align_corners=False)
    return wide.to(frames.dtype)
