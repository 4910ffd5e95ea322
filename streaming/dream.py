"""The embedded text-to-video model as a pipeline: the moving buffer, a few streams at a time.

The source is a clock: of the frames that arrive only their number counts, and a chunk of pictures
is drawn for each chunk of them. So whatever drives other pipelines (a camera, a file, blank
frames) drives this one. All streams of one size share each forward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
import torch.nn.functional as functional
from torch import Tensor

from ..assets import AssetError
from ..models.autoencoder import AutoencoderState, PatchAutoencoder
from ..models.blends import blend, share_after
from ..models.buffer import BufferState, MovingBuffer
from ..models.scene import WEIGHTS, SceneModel, load_scene, random_scene, scene_schedule
from ..models.tiny import load_tiny
from .banks import borrowed
from .config import ConfigError, whole_number
from .controls import Controls
from .dream_info import AT_ONCE, HOLD, MOST_STEPS, NAME, PRESETS, STEPS, drawn_size, dream_info
from .moving import facts_of, facts_to_array
from .pipeline import PipelineContext, Result, StreamConfig, Work
from .portable import put_array, to_array

Size = tuple[int, int]
"""Height and width."""
IDLE_SIZES = 2
"""Sizes without a stream whose memory is kept for the next one."""


class Bank:
    """Memory for streams of one drawn size."""

    def __init__(
        self, buffer: MovingBuffer, autoencoder: PatchAutoencoder, slots: int, size: Size
    ) -> None:
        weight = autoencoder.basis.weight
        kind = weight.device, weight.dtype
        self.buffer: BufferState = buffer.init_state(slots, size[0] // 8, size[1] // 8, *kind)
        self.pictures: AutoencoderState = autoencoder.init_state(slots, *size, *kind)
        self.free = list(range(slots))
        self.slots = slots

    @property
    def idle(self) -> bool:
        return len(self.free) == self.slots


@dataclass(eq=False)
class Stream:
    """What the host remembers of one stream.

    Attributes:
        begun: whether its buffer is in its steady state.
        text: the prompt that it goes to.
        context: what it is drawn from by now, [text_len, text_dim].
        since: what it was when the prompt changed; done, of `chunks` chunks, have passed since.
    """

    size: Size
    bank: Bank
    slot: int
    begun: bool = False
    resets: int = 0
    seed: int = 0
    text: str | None = None
    context: Tensor | None = None
    since: Tensor | None = None
    done: int = 0
    chunks: int = 0
    notes: dict[str, object] = field(default_factory=dict)


class Dreaming:
    """Draws streams of pictures from words.

    Args:
        streams: most streams of one drawn size at a time.
        random: whether the weights are random.
    """

    def __init__(
        self,
        model: SceneModel,
        autoencoder: PatchAutoencoder,
        *,
        streams: int = 4,
        steps: int = STEPS,
        random: bool = False,
    ) -> None:
        self.model, self.autoencoder, self.streams = model, autoencoder, streams
        # Euler's way through the levels, whatever the model predicts: it has not been distilled.
        self.buffer = MovingBuffer(
            model.dit, scene_schedule(steps), "euler", "entering", model.denoise
        )
        self.info = dream_info(random)
        self.banks: dict[Size, Bank] = {}

    # -- the protocol ---------------------------------------------------------------------------

    def open(self, config: StreamConfig) -> Stream:
        size = (config.height, config.width)
        drawn = drawn_size(size)
        bank = self.banks.pop(drawn, None)
        if bank is None:
            self._drop_idle()
            with torch.inference_mode(False):
                bank = Bank(self.buffer, self.autoencoder, self.streams, drawn)
        self.banks[drawn] = bank  # the last one is the one used last
        if not bank.free:
            raise RuntimeError(
                f"all {self.streams} streams of {drawn[1]}x{drawn[0]} are in use; "
                "close one or start with a larger --max-sessions"
            )
        return Stream(size, bank, bank.free.pop(0))

    def close(self, stream: Stream) -> None:
        stream.bank.free.append(stream.slot)
        stream.bank.free.sort()
        self._drop_idle()

    def save(self, stream: Stream) -> dict[str, npt.NDArray[Any]]:
        """See `pipeline.Portable`."""
        arrays = {name: to_array(tensor) for name, tensor in _rows(stream)}
        for name in ("context", "since"):
            held = getattr(stream, name)
            if held is not None:
                arrays[name] = to_array(held)
        names = ("begun", "resets", "seed", "text", "done", "chunks", "notes")
        facts = {name: getattr(stream, name) for name in names}
        return {**arrays, "facts": facts_to_array(facts)}

    @torch.inference_mode()
    def load(self, config: StreamConfig, saved: Mapping[str, npt.NDArray[Any]]) -> Stream:
        """See `pipeline.Portable`."""
        stream = self.open(config)
        for name, tensor in _rows(stream):
            put_array(saved[name], tensor)
        for name in ("context", "since"):
            if name in saved:
                held = self.model.context(self.model.tokens([""]))[0]
                put_array(saved[name], held)
                setattr(stream, name, held)
        for name, value in facts_of(saved["facts"]).items():
            setattr(stream, name, value)
        return stream

    @torch.inference_mode()
    def step(self, batch: Sequence[Work]) -> list[Result]:
        results: list[Result] = []
        # Nothing is ever in flight for the engine, so there is nothing to flush.
        given = [work for work in batch if work.frames is not None]
        for bank in dict.fromkeys(work.stream.bank for work in given):
            works = [work for work in given if work.stream.bank is bank]
            works.sort(key=lambda work: work.stream.slot)
            for work in works:
                self._heed(work.stream, work.controls)
            self._begin(bank, works)
            results += self._drawn(bank, works)
        return results

    # -- parts of it ----------------------------------------------------------------------------

    def _drop_idle(self) -> None:
        idle = [size for size, bank in self.banks.items() if bank.idle]
        for size in idle[: len(idle) - IDLE_SIZES]:
            del self.banks[size]

    def _heed(self, stream: Stream, controls: Controls) -> None:
        """What the viewer wants from this chunk on."""
        if controls.resets != stream.resets:
            stream.resets, stream.begun = controls.resets, False
        row = torch.tensor([stream.slot], device=stream.bank.buffer.x.device)
        stream.seed = int(controls.number("seed"))
        stream.bank.buffer.seeds.index_fill_(0, row, stream.seed)
        text = controls.text("prompt")
        if text != stream.text:
            heard = self.model.hear(text)
            stream.notes = {
                "understood": [[" ".join(heard.words) or "any scene", 1.0]],
                "unknown": list(heard.unknown),
            }
            stream.text, stream.since, stream.done = text, stream.context, 0
            stream.chunks = int(controls.number("transition"))
        elif stream.begun and stream.done >= stream.chunks:
            return
        if stream.since is None or not stream.begun:
            stream.done = stream.chunks
        stream.done += 1
        goal = self.model.context(self.model.tokens([text]))[0]
        share = share_after(stream.done, stream.chunks)
        stream.context = goal
        if stream.since is not None and share < 1:
            stream.context = blend((stream.since, goal), (1 - share, share))
        at_once = controls.text("reach") == AT_ONCE
        self.buffer.set_context(stream.bank.buffer, row, stream.context[None], at_once)

    def _begin(self, bank: Bank, works: Sequence[Work]) -> None:
        """Fill the buffers of new streams, all of them together."""
        new = [work.stream for work in works if not work.stream.begun]
        if not new:
            return
        device = bank.buffer.x.device
        slots = torch.tensor([stream.slot for stream in new], device=device)
        seeds = torch.tensor([stream.seed for stream in new], device=device)
        self.buffer.begin(bank.buffer, slots, seeds)
        mask = torch.zeros(bank.slots, dtype=torch.bool, device=device)
        bank.pictures.reset(mask.index_fill(0, slots, True))
        with borrowed(bank.buffer, slots.tolist()) as memory:
            for _ in range(self.buffer.warmup):
                self.buffer.step(memory)
        for stream in new:
            stream.begun = True

    def _drawn(self, bank: Bank, works: Sequence[Work]) -> list[Result]:
        """The oldest chunk of every buffer, as pictures."""
        slots = [work.stream.slot for work in works]
        with borrowed(bank.buffer, slots) as memory:
            for _ in range(self.buffer.schedule.micro_steps):
                latents = self.buffer.step(memory).latents
                works[0].mark("pass", len(works), None)
        with borrowed(bank.pictures, slots) as past:
            pictures = self.autoencoder.decode(self.model.unmeasured(latents), past)
        works[0].mark("decode", len(works), None)
        results = []
        for work, drawn in zip(works, pictures.clamp(0, 1), strict=True):
            frames = covering(drawn, work.stream.size).repeat_interleave(HOLD, 0)
            results.append(work.done(frames, **work.stream.notes))
        return results


def covering(pictures: Tensor, size: Size) -> Tensor:
    """Pictures [T, 3, h, w] scaled until they cover `size`, and cut around their middle."""
    height, width = pictures.shape[-2:]
    scale = max(size[0] / height, size[1] / width)
    wide = (max(size[0], round(height * scale)), max(size[1], round(width * scale)))
    if wide != (height, width):
        pictures = functional.interpolate(
            pictures, size=wide, mode="bicubic", antialias=scale < 1
        ).clamp(0, 1)
    top, left = (wide[0] - size[0]) // 2, (wide[1] - size[1]) // 2
    return pictures[:, :, top : top + size[0], left : left + size[1]]


def _rows(stream: Stream) -> list[tuple[str, Tensor]]:
    """All tensors of a stream's past by name, as views to be written."""
    states = {"buffer": stream.bank.buffer, "pictures": stream.bank.pictures}
    return [
        (f"{name}/{number}", tensor)
        for name, state in states.items()
        for number, tensor in enumerate(state.rows(stream.slot, stream.slot + 1).tensors())
    ]


def build(context: PipelineContext) -> Dreaming:
    """The embedded text-to-video model. Options: `weights` (a folder of the training command, or a
    file of it), `random_weights` (speed without pictures, for measuring), `max_sessions`, `steps`.

    Raises:
        ConfigError: there are no weights.
    """
    options = context.options
    random = options.get("random_weights") in (True, "true", "1")
    given = Path(str(options["weights"])) if options.get("weights") else None
    if given is not None and given.is_dir():
        given = given / WEIGHTS
    try:
        if random:
            words = [word for preset in PRESETS for word in str(preset.values["prompt"]).split()]
            model = random_scene(words, context.device, context.dtype)
        else:
            model = load_scene(context.device, context.dtype, given)
    except (AssetError, OSError) as error:
        where = "" if given is None else f" at {given}"
        raise ConfigError(
            f"{NAME} has no weights{where}; train some with `python -m "
            "millrace.models.training.dream` and name the folder with --weights, or measure with "
            "--random-weights"
        ) from error
    return Dreaming(
        model,
        load_tiny(context.device, context.dtype).autoencoder,
        streams=int(options.get("max_sessions", 4)),
        steps=whole_number("steps", options.get("steps", STEPS), MOST_STEPS),
        random=random,
    )
