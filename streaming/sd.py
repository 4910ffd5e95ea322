"""SD-Turbo and LCM SD 1.5 as a pipeline: encode, noise, stream batch, decode.

Rows of one forward are (session, frame, level), each with the prompt, seed, guidance, steps and
weights of its own session, as they were when the frame went in: a change never mixes into a frame
that is half drawn. A stream keeps nothing of its past but what is in flight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import numpy.typing as npt
import torch
import torch.nn.functional as functional
from torch import Tensor

from ..models.graphs import Graphs, Recorder, Tally
from ..models.sd.cache import Kept
from ..models.sd.denoiser import Cfg, Denoiser, Drawing
from ..models.sd.parts import SDModel
from ..models.sd.specs import level_indices, levels
from .controls import Controls
from .moving import facts_of, facts_to_array
from .pipeline import PipelineInfo, Result, StreamConfig, Work
from .sd_batch import Drawn, StreamBatch
from .sd_info import STRIDE

Size = tuple[int, int]
"""Height and width."""
IDLE_SIZES = 2
"""Sizes without a stream whose memory is kept for the next one."""
DRAWINGS = 64
"""Combinations of wishes that are kept, so that streams with the same ones share them."""


def _fits(size: Size) -> None:
    return None


@dataclass(eq=False)
class Stream:
    """What is remembered of one stream beside its chunks in flight."""

    size: Size
    drawn_size: Size
    batch: StreamBatch
    slot: int
    notes: dict[str, object] = field(default_factory=dict)


class UNetStylizer:
    """Stylises streams with an `SDModel`.

    Args:
        streams: most streams of one picture size at a time.
        check: raises RuntimeError where memory for streams of a size does not fit.
        recorder: records stages as graphs; None runs them as they are.
        sequential: run a frame through all its levels in one step; else as a stream batch. Holds
            for chunks whose `Work.spread` leaves it open.
    """

    def __init__(
        self,
        model: SDModel,
        info: PipelineInfo,
        *,
        streams: int = 4,
        sequential: bool = True,
        check: Callable[[Size], None] = _fits,
        recorder: Recorder | None = None,
    ) -> None:
        self.model, self.info = model, info
        self.tally, self._recorder = Tally(), recorder
        self.streams, self.sequential, self._check = streams, sequential, check
        self.batches: dict[Size, StreamBatch] = {}
        self._drawings = Kept[Drawing](DRAWINGS)
        self._works: Sequence[Work] = ()

    def stage_runs(self) -> Mapping[str, int]:
        """See `stage_runs.Staged`."""
        return self.tally.counts

    def told(self) -> tuple[str, ...]:
        """See `stage_runs.Staged`."""
        return () if self._recorder is None else (self.tally.told(),)

    # -- the protocol ---------------------------------------------------------------------------

    def open(self, config: StreamConfig) -> Stream:
        size = (config.height, config.width)
        return Stream(size, size, *self._place(size))

    def close(self, stream: Stream) -> None:
        stream.batch.give_back(stream.slot)
        self._drop_idle()

    def save(self, stream: Stream) -> dict[str, npt.NDArray[Any]]:
        """See `pipeline.Portable`. There is no past: a frame is drawn from itself alone."""
        assert not stream.batch.in_flight(stream.slot)
        return {"facts": facts_to_array({"notes": stream.notes})}

    def load(self, config: StreamConfig, saved: Mapping[str, npt.NDArray[Any]]) -> Stream:
        """See `pipeline.Portable`."""
        stream = self.open(config)
        stream.notes = facts_of(saved["facts"])["notes"]
        return stream

    @torch.inference_mode()
    def step(self, batch: Sequence[Work]) -> list[Result]:
        self._works = batch
        results: list[Result] = []
        for work in batch:
            results += self._move(work)
        for place in dict.fromkeys(work.stream.batch for work in batch):
            works = [work for work in batch if work.stream.batch is place]
            self._enter(place, works)
            results += self._run(place, works)
        self._works = ()
        return results

    # -- parts of it ----------------------------------------------------------------------------

    def _place(self, size: Size) -> tuple[StreamBatch, int]:
        batch = self.batches.pop(size, None)
        if batch is None:
            self._drop_idle()
            with torch.inference_mode(False):
                batch = self._new_batch(size)
        self.batches[size] = batch  # the last one is the one used last
        slot = batch.take()
        if slot is None:
            raise RuntimeError(
                f"all {self.streams} streams of {size[1]}x{size[0]} are in use; "
                "close one or start with a larger --max-sessions"
            )
        return batch, slot

    def _new_batch(self, size: Size) -> StreamBatch:
        self._check(size)
        spec = self.model.spec
        latent = (int(spec.unet["in_channels"]), size[0] // STRIDE, size[1] // STRIDE)
        graphs = None if self._recorder is None else Graphs(self._recorder, self.tally)
        denoiser = Denoiser(self.model.network, self.info.chunk, latent, graphs)
        passed = partial(self._mark, "pass")
        return StreamBatch(denoiser, self.streams, spec.max_steps, passed, graphs)

    def _drop_idle(self) -> None:
        idle = [size for size, batch in self.batches.items() if batch.idle]
        for size in idle[:-IDLE_SIZES]:
            del self.batches[size]

    def _move(self, work: Work) -> list[Result]:
        """To the size that a chunk's effort wants; what is in flight comes out first."""
        stream: Stream = work.stream
        size = scaled(stream.size, work.effort.scale)
        if work.frames is None or size == stream.drawn_size:
            return []
        old, slot = stream.batch, stream.slot
        results = list(self._decoded(old, {slot: stream}, old.step([slot])))
        stream.batch, stream.slot = self._place(size)
        stream.drawn_size = size
        old.give_back(slot)
        return results

    def _enter(self, place: StreamBatch, works: Sequence[Work]) -> None:
        """Encode the new chunks of one size together and take them in."""
        given = [(work, work.frames) for work in works if work.frames is not None]
        if not given:
            return
        pictures = torch.stack([_fitted(f, work.stream.drawn_size) for work, f in given])
        latents = place.coded("encode", self.model.autoencoder.encode, pictures.flatten(0, 1))
        for (work, _), own, clean in zip(
            given, pictures, latents.unflatten(0, (len(given), -1)), strict=True
        ):
            place.enter(work.stream.slot, work.index, clean, self._drawing(work), own)
        self._mark("encode", len(given), None)

    def _drawing(self, work: Work) -> Drawing:
        """The viewer's wishes at this chunk, as one object for all who have the same ones."""
        passes = work.effort.passes
        wish = tuple(work.controls.values.get(control.name) for control in self.info.controls)
        drawing = self._drawings.get((wish, passes), lambda: self._draw(work.controls, passes))
        work.stream.notes = {"steps": len(drawing.levels)}
        if drawing.prompt.cut:
            over = f"{drawing.prompt.cut!r} is beyond its {self.model.spec.tokens} tokens"
            work.stream.notes["prompt_cut"] = over
        return drawing

    def _draw(self, controls: Controls, passes: int | None) -> Drawing:
        spec = self.model.spec
        steps = int(controls.number("steps"))
        steps = steps if passes is None else min(steps, passes)
        known = controls.values
        lora = float(known.get("lora_scale", 0.0))
        return Drawing(
            prompt=self.model.prompts.get(controls.text("prompt"), lora),
            negative=self.model.prompts.get(controls.text("negative"), lora),
            levels=levels(spec, level_indices(spec, controls.number("strength"), steps)),
            cfg=cast(Cfg, controls.text("cfg")),
            guidance=controls.number("guidance"),
            delta=controls.number("delta"),
            noise=bool(controls["add_noise"]),
            seed=int(controls.number("seed")),
            lora=lora,
            control=float(known.get("control_scale", 0.0)),
        )

    def _run(self, place: StreamBatch, works: Sequence[Work]) -> Iterator[Result]:
        """The passes of one size, then its pictures."""
        by_slot = {work.stream.slot: work for work in works}
        spread = {
            slot
            for slot, work in by_slot.items()
            if (not self.sequential if work.spread is None else work.spread)
        }
        flush = {slot for slot, work in by_slot.items() if work.frames is None}
        drawn = place.step(
            list(by_slot), spread, flush, lambda slot, passes: by_slot[slot].go_on(passes)
        )
        return self._decoded(place, {slot: w.stream for slot, w in by_slot.items()}, drawn)

    def _decoded(
        self, place: StreamBatch, streams: Mapping[int, Stream], drawn: Sequence[Drawn]
    ) -> Iterator[Result]:
        if not drawn:
            return
        latents = torch.stack([done.latent for done in drawn])
        pictures = place.coded("decode", self.model.autoencoder.decode, latents.flatten(0, 1))
        chunks = pictures.unflatten(0, (len(drawn), -1))
        self._mark("decode", len(drawn), None)
        for done, chunk in zip(drawn, chunks, strict=True):
            stream = streams[done.slot]
            yield Result(stream, done.index, _fitted(chunk, stream.size), stream.notes)

    def _mark(self, stage: str, rows: int, window: int | None) -> None:
        self._works[0].mark(stage, rows, window)


def scaled(size: Size, scale: float) -> Size:
    """The nearest size that the model takes."""
    if scale == 1.0:
        return size
    height, width = (max(STRIDE, round(side * scale / STRIDE) * STRIDE) for side in size)
    return height, width


def _fitted(pictures: Tensor, size: Size) -> Tensor:
    """Pictures [T, 3, h, w] in another size."""
    if tuple(pictures.shape[-2:]) == size:
        return pictures
    wide = functional.interpolate(pictures.float(), size=size, mode="bilinear", antialias=True)
    return wide.clamp(0, 1).to(pictures.dtype)
