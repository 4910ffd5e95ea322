"""The built-in video pipeline: encode, noise, stream batch, decode, for the embedded model.

It implements the same `Pipeline` protocol as a user's own model does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..models.autoencoder import AutoencoderState
from ..models.steady import SteadyState, steady, steady_state
from ..models.text import PromptEncoder, Understanding
from ..models.tiny import load_prompts, load_tiny, random_tiny
from ..models.video import VideoModel
from .controls import Control, Controls
from .lanes import Entry, Finished, Lanes, Prompt
from .motion import NoiseController
from .pipeline import PipelineContext, PipelineInfo, Preset, Result, StreamConfig, Work

STRIDE = 16
"""Pixels per token, each way: 8 of the autoencoder times a patch of 2."""
ENTRY_NOISE = 0.8
"""Noise that a chunk of a still picture enters with."""
SIGMAS = (ENTRY_NOISE, 0.5)
"""Noise of the levels that the embedded model was trained for."""

PRESETS = (
    Preset(
        "Watercolour",
        {"prompt": "watercolor painting"},
        "Soft washes on paper",
        "style_watercolor.jpg",
    ),
    Preset(
        "Oil paint", {"prompt": "oil painting"}, "Brush patches in rich colour", "style_oil.jpg"
    ),
    Preset("Comic", {"prompt": "comic book"}, "Flat colours and ink outlines", "style_comic.jpg"),
    Preset("Pencil", {"prompt": "pencil sketch"}, "Graphite on white paper", "style_sketch.jpg"),
    Preset("Neon", {"prompt": "neon lights"}, "Glowing outlines in the dark", "style_neon.jpg"),
    Preset("Noir", {"prompt": "film noir"}, "High-contrast black and white", "style_noir.jpg"),
    Preset("Vintage", {"prompt": "vintage photograph"}, "A faded warm print", "style_vintage.jpg"),
    Preset("Thermal", {"prompt": "thermal camera"}, "False-colour heat", "style_thermal.jpg"),
    Preset("Pop art", {"prompt": "pop art"}, "Bold printed colours", "style_pop.jpg"),
    Preset("Vapor", {"prompt": "vaporwave"}, "Cyan, magenta and glow", "style_vapor.jpg"),
    Preset("Mosaic", {"prompt": "mosaic tiles"}, "Small tiles with grout", "style_mosaic.jpg"),
    Preset(
        "Light trails",
        {"prompt": "light trails"},
        "Bright things draw in light; remembers the past",
        "style_trails.jpg",
    ),
    Preset(
        "Long exposure",
        {"prompt": "long exposure"},
        "Motion melts; remembers the past",
        "style_exposure.jpg",
    ),
    Preset(
        "Drying ink",
        {"prompt": "drying ink"},
        "Fresh ink dries to sepia; remembers the past",
        "style_drying.jpg",
    ),
)

CONTROLS = (
    Control("prompt", "Prompt", "text", "watercolor painting", help="What the picture becomes"),
    Control(
        "strength",
        "Strength",
        "float",
        1.0,
        0.0,
        1.0,
        0.05,
        help="From the camera to the full style",
    ),
    Control(
        "steps",
        "Steps",
        "int",
        1,
        1,
        len(SIGMAS),
        1,
        help="Denoising steps: more is steadier, slower",
    ),
    Control("seed", "Seed", "int", 0, 0, 2**31 - 1, 1, help="Which noise the picture grows from"),
)


@dataclass(eq=False)
class Bank:
    """Slots for streams of one picture size: their lanes, noise filters and decoders' memory."""

    lanes: Lanes
    steady: SteadyState
    autoencoder: AutoencoderState
    free: list[int]


@dataclass(eq=False)
class Stream:
    """What the host remembers of one stream; all tensors of its past are in the bank."""

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
                a stream batch, one level a tick, all levels in one forward (throughput).
        """
        self.model, self.prompts = model, prompts
        self.streams, self.sequential = streams, sequential
        self.controller = NoiseController(ENTRY_NOISE)
        self.banks: dict[tuple[int, int], Bank] = {}
        self.prompt_keys = 0
        self.info = PipelineInfo(
            name="tiny",
            title="Millrace tiny: live restyling on a CPU",
            description=(
                "A small video model that learned a fixed set of looks. It is not a general "
                "text-to-video model; a large one goes in its place."
            ),
            chunk=1,
            controls=CONTROLS,
            presets=PRESETS,
            size=(256, 256),
            size_multiple=STRIDE,
            max_side=768,
        )

    # -- the protocol ---------------------------------------------------------------------------

    def open(self, config: StreamConfig) -> Stream:
        bank = self._bank(config.height, config.width)
        if not bank.free:
            raise RuntimeError(
                f"all {self.streams} streams of {config.width}x{config.height} are in use; "
                "close one or start with a larger --max-sessions"
            )
        slot = bank.free.pop(0)
        bank.lanes.clear(slot)
        bank.steady.reset(self._row(slot))
        bank.autoencoder.reset(self._row(slot))
        return Stream(bank, slot, self.controller.scale)

    def close(self, stream: Stream) -> None:
        stream.bank.lanes.clear(stream.slot)
        stream.bank.free.append(stream.slot)
        stream.bank.free.sort()

    @torch.inference_mode()
    def step(self, batch: Sequence[Work]) -> list[Result]:
        for work in batch:
            self._enter(work)
        results: list[Result] = []
        for bank in self.banks.values():
            streams = {w.stream.slot: w.stream for w in batch if w.stream.bank is bank}
            for finished in self._advance(bank, list(streams)):
                stream = streams[finished.slot]
                frames = self._decode(bank, finished)
                results.append(Result(stream, finished.index, frames, stream.notes))
        return results

    # -- parts of it ----------------------------------------------------------------------------

    def _bank(self, height: int, width: int) -> Bank:
        if (height, width) not in self.banks:
            weight = self.model.bank
            latent = (1, height // 8, width // 8)
            lanes = Lanes(self.model.dit, self.streams, SIGMAS, latent, fresh_noise=False)
            shape = (self.model.spec.autoencoder.channels, *latent[1:])
            filters = steady_state(self.streams, shape, weight.device, weight.dtype)
            memory = self.model.autoencoder.init_state(
                self.streams, height, width, weight.device, weight.dtype
            )
            free = list(range(self.streams))
            self.banks[height, width] = Bank(lanes, filters, memory, free)
        return self.banks[height, width]

    def _row(self, slot: int) -> Tensor:
        mask = torch.zeros(self.streams, dtype=torch.bool, device=self.model.bank.device)
        mask[slot] = True
        return mask

    def _enter(self, work: Work) -> None:
        stream: Stream = work.stream
        if work.controls.resets != stream.resets:
            stream.resets = work.controls.resets
            stream.bank.lanes.reset(stream.slot)
            stream.bank.steady.reset(self._row(stream.slot))
            stream.bank.autoencoder.reset(self._row(stream.slot))
        if work.frames is None:
            return
        frames = work.frames.to(self.model.bank.dtype)
        stream.noise = self.controller.next(stream.noise, work.frames, stream.last_frame)
        stream.last_frame = work.frames[-1]
        prompt, changed = self._prompt(stream, work.controls)
        entry = Entry(
            index=work.index,
            cond=self._condition(stream, frames),
            sigma=stream.noise,
            timestep=1000 * stream.noise,
            steps=int(work.controls.number("steps")),
            seed=int(work.controls.number("seed")),
            prompt=prompt,
            new_scene=changed,
        )
        stream.bank.lanes.enter(stream.slot, entry)

    def _condition(self, stream: Stream, frames: Tensor) -> Tensor:
        """The live frames' latent without their sensor noise, [c, C, h, w]."""
        memory = stream.bank.steady.rows(stream.slot, stream.slot + 1)
        return steady(self.model.autoencoder.encode(frames[None]), memory)[0]

    def _prompt(self, stream: Stream, controls: Controls) -> tuple[Prompt, bool]:
        """The stream's prompt embedding, and whether it changed with this chunk."""
        wish = (controls.text("prompt"), controls.number("strength"))
        if stream.prompt is not None and wish == stream.wish:
            return stream.prompt, False
        text, strength = wish
        if stream.wish is None or stream.wish[0] != text or stream.understood is None:
            stream.understood = self.prompts.understand(text)
        first = stream.prompt is None
        stream.wish = wish
        weights = self.prompts.weights_of(stream.understood)
        self.prompt_keys += 1
        stream.prompt = Prompt(self.prompt_keys, self.model.context(weights, strength))
        stream.notes = {
            "understood": [[name, round(weight, 3)] for name, weight in stream.understood.weights],
            "unknown": list(stream.understood.unknown),
        }
        return stream.prompt, not first

    def _advance(self, bank: Bank, slots: list[int]) -> list[Finished]:
        if not self.sequential:
            return bank.lanes.advance(slots)
        return [f for slot in slots for f in bank.lanes.complete(slot)]

    def _decode(self, bank: Bank, finished: Finished) -> Tensor:
        memory = bank.autoencoder.rows(finished.slot, finished.slot + 1)
        frames = self.model.autoencoder.decode(finished.latent[None], memory)
        return frames[0].clamp_(0, 1)


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
