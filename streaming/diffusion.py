"""The built-in video pipeline: encode, noise, stream batch, decode, for the embedded model.

It implements the same `Pipeline` protocol as a user's own model does. Whatever can go together for
several streams goes together: one encode, one forward a pass, one decode for all of one size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy.typing as npt
import torch
import torch.nn.functional as functional
from torch import Tensor

from ..models.text import PromptEncoder, Understanding
from ..models.tiny import load_prompts, load_tiny, random_tiny
from ..models.video import VideoModel
from .banks import Bank
from .controls import Controls
from .lanes import Entry, Finished
from .motion import NoiseController
from .moving import facts_of, facts_to_array
from .pipeline import PipelineContext, Result, StreamConfig, Work
from .portable import Arrays, load_rows, save_rows, to_array
from .prompts import Prompt, PromptLibrary
from .tiny_info import ENTRY_NOISE, SIGMAS, STRIDE, TINY_INFO

Size = tuple[int, int]
"""Height and width."""
IDLE_BANKS = 2
"""Sizes without a stream whose memory is kept for the next one. At 256x256 a bank of four streams
has 60 MB, at 768x768 nine times as much, and viewers may ask for any size."""


@dataclass(eq=False)
class Stream:
    """What the host remembers of one stream; all tensors of its past are in the bank."""

    size: Size
    bank: Bank
    slot: int
    noise: float | Tensor
    last_frame: Tensor | None = None
    resets: int = 0
    wish: tuple[str, float] | None = None
    prompt: Prompt | None = None
    understood: Understanding | None = None
    notes: dict[str, object] = field(default_factory=dict)


class VideoDiffusion:
    """Stylises streams with a `VideoModel`."""

    def __init__(
        self,
        model: VideoModel,
        prompts: PromptEncoder,
        *,
        streams: int = 4,
        sequential: bool = True,
    ) -> None:
        """
        Args:
            streams: most streams of one picture size at a time.
            sequential: run a chunk through all its noise levels in one tick (low latency); else as
                a stream batch, one level a tick, all levels in one forward (throughput). Holds for
                chunks whose `Work.spread` leaves it open.
        """
        self.model, self.prompts = model, prompts
        self.streams, self.sequential = streams, sequential
        self.controller = NoiseController(ENTRY_NOISE)
        self.banks: dict[Size, Bank] = {}
        self.library = PromptLibrary()
        self.info = TINY_INFO
        self._batch: Sequence[Work] = ()

    # -- the protocol ---------------------------------------------------------------------------

    def open(self, config: StreamConfig) -> Stream:
        size = (config.height, config.width)
        return Stream(size, *self._place(size), self.controller.scale)

    def close(self, stream: Stream) -> None:
        stream.bank.give_back(stream.slot)
        self._drop_idle()

    def save(self, stream: Stream) -> dict[str, npt.NDArray[Any]]:
        """See `pipeline.Portable`."""
        assert not stream.bank.lanes.in_flight(stream.slot)
        arrays = save_rows(stream.bank, stream.slot)
        arrays["noise"] = to_array(torch.as_tensor(stream.noise))
        if stream.last_frame is not None:
            arrays["last_frame"] = to_array(stream.last_frame)
        facts = {"size": stream.bank.size, "resets": stream.resets, "wish": stream.wish}
        return {**arrays, "facts": facts_to_array(facts)}

    @torch.inference_mode()
    def load(self, config: StreamConfig, saved: Arrays) -> Stream:
        """See `pipeline.Portable`."""
        facts = facts_of(saved["facts"])
        height, width = facts["size"]
        device = self.model.bank.device
        noise = torch.from_numpy(saved["noise"]).to(device)
        stream = Stream((config.height, config.width), *self._place((height, width)), noise)
        load_rows(stream.bank, stream.slot, saved)
        stream.resets = facts["resets"]
        if "last_frame" in saved:
            stream.last_frame = torch.from_numpy(saved["last_frame"]).to(device)
        if facts["wish"] is not None:
            prompt, strength = facts["wish"]
            wish = {"prompt": prompt, "strength": strength}
            self._prompt(stream, Controls(MappingProxyType(wish)))
        return stream

    @torch.inference_mode()
    def step(self, batch: Sequence[Work]) -> list[Result]:
        self._batch = batch
        results: list[Result] = []
        for work in batch:
            results += self._settle(work)
        for bank in dict.fromkeys(work.stream.bank for work in batch):
            works = [work for work in batch if work.stream.bank is bank]
            self._enter(bank, sorted(works, key=lambda work: work.stream.slot))
            results += self._run(bank, works)
        self._batch = ()
        return results

    # -- parts of it ----------------------------------------------------------------------------

    def _place(self, size: Size) -> tuple[Bank, int]:
        bank = self.banks.pop(size, None)
        if bank is None:
            self._drop_idle()
            # Memory that may be written in any mode, wherever it is made.
            with torch.inference_mode(False):
                bank = Bank(self.model, self.streams, size, SIGMAS, self._passed)
        self.banks[size] = bank  # the last one is the one used last
        slot = bank.take()
        if slot is None:
            raise RuntimeError(
                f"all {self.streams} streams of {size[1]}x{size[0]} are in use; "
                "close one or start with a larger --max-sessions"
            )
        return bank, slot

    def _drop_idle(self) -> None:
        """Give up the memory of sizes that nobody has, but for those used last."""
        idle = [size for size, bank in self.banks.items() if bank.idle]
        for size in idle[:-IDLE_BANKS]:
            del self.banks[size]

    def _settle(self, work: Work) -> list[Result]:
        """Before a chunk: forget when asked to, and move to the size that its effort wants. What
        is in flight comes out of the old place first; the new one begins without a past."""
        stream: Stream = work.stream
        if work.controls.resets != stream.resets:
            stream.resets = work.controls.resets
            stream.bank.forget(stream.slot)
        size = scaled(stream.size, work.effort.scale)
        if work.frames is None or size == stream.bank.size:
            return []
        old, slot = stream.bank, stream.slot
        streams = {slot: stream}
        results = list(self._decoded(old, streams, old.lanes.complete(slot)))
        stream.bank, stream.slot = self._place(size)
        old.give_back(slot)
        return results

    def _enter(self, bank: Bank, works: Sequence[Work]) -> None:
        """Encode the new chunks of one size together and put them into the lanes."""
        given = [(work, work.frames) for work in works if work.frames is not None]
        if not given:
            return
        slots = [work.stream.slot for work, _ in given]
        conditions = bank.encode(slots, [frames for _, frames in given])
        for (work, frames), condition in zip(given, conditions, strict=True):
            stream: Stream = work.stream
            stream.noise = self.controller.next(stream.noise, frames, stream.last_frame)
            stream.last_frame = frames[-1]
            bank.lanes.enter(stream.slot, self._entry(work, condition))
        self._mark("encode", len(given), None)

    def _entry(self, work: Work, condition: Tensor) -> Entry:
        stream: Stream = work.stream
        prompt, changed = self._prompt(stream, work.controls)
        noise = torch.as_tensor(stream.noise)
        steps = int(work.controls.number("steps"))
        return Entry(
            index=work.index,
            cond=condition,
            sigma=noise,
            timestep=1000 * noise,
            steps=steps if work.effort.passes is None else min(steps, work.effort.passes),
            seed=int(work.controls.number("seed")),
            prompt=prompt,
            new_scene=changed,
            past=work.effort.window,
        )

    def _prompt(self, stream: Stream, controls: Controls) -> tuple[Prompt, bool]:
        """The stream's prompt, and whether it changed with this chunk."""
        wish = (controls.text("prompt"), controls.number("strength"))
        if stream.prompt is not None and wish == stream.wish:
            return stream.prompt, False
        text, strength = wish
        if stream.wish is None or stream.wish[0] != text or stream.understood is None:
            stream.understood = self.prompts.understand(text)
        first = stream.prompt is None
        stream.wish = wish
        mixture = [stream.understood.weights, strength]
        weights = self.prompts.weights_of(stream.understood)
        stream.prompt = self.library.get(mixture, lambda: self.model.context(weights, strength))
        stream.notes = {
            "understood": [[name, round(weight, 3)] for name, weight in stream.understood.weights],
            "unknown": list(stream.understood.unknown),
        }
        return stream.prompt, not first

    def _run(self, bank: Bank, works: Sequence[Work]) -> Iterator[Result]:
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
    ) -> Iterator[Result]:
        """Pictures of what has left the lanes: one of each stream at a time, in order."""
        left = list(finished)
        while left:
            slots = list(dict.fromkeys(done.slot for done in left))
            now = [next(done for done in left if done.slot == slot) for slot in slots]
            left = [done for done in left if done not in now]
            for done, frames in zip(now, bank.decode(now), strict=True):
                stream = streams[done.slot]
                yield Result(stream, done.index, fitted(frames, stream.size), stream.notes)
            self._mark("decode", len(now), None)

    def _passed(self, rows: int, window: int | None) -> None:
        self._mark("pass", rows, window)

    def _mark(self, stage: str, rows: int, window: int | None) -> None:
        self._batch[0].mark(stage, rows, window)


def scaled(size: Size, scale: float) -> Size:
    """The nearest size that the model takes."""
    if scale == 1.0:
        return size
    height, width = (max(STRIDE, round(side * scale / STRIDE) * STRIDE) for side in size)
    return height, width


def fitted(frames: Tensor, size: Size) -> Tensor:
    """Pictures [T, 3, h, w] scaled back to the size of the session."""
    if tuple(frames.shape[-2:]) == size:
        return frames
    wide = functional.interpolate(frames.float(), size=size, mode="bilinear", align_corners=False)
    return wide.to(frames.dtype)


def build(context: PipelineContext) -> VideoDiffusion:
    """The embedded model. Options: `schedule` ("stream", "sequential"), `max_sessions`,
    `random_weights` (speed without quality, for measuring)."""
    options = context.options
    make = random_tiny if options.get("random_weights") else load_tiny
    model = make(device=context.device, dtype=context.dtype)
    return VideoDiffusion(
        model,
        load_prompts(),
        streams=int(options.get("max_sessions", 4)),
        sequential=options.get("schedule", "sequential") != "stream",
    )
