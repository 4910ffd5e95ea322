"""The embedded model as parts of the video pipeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, cast

from torch import Tensor

from ..models.autoencoder import AutoencoderState, PatchAutoencoder
from ..models.state import State
from ..models.steady import SteadyState, steady, steady_state
from ..models.text import PromptEncoder, Understanding
from ..models.tiny import load_prompts, load_tiny, random_tiny
from ..models.video import VideoModel
from .controls import Controls
from .diffusion import VideoDiffusion
from .eight_bits import narrow, store_of
from .levels import Levels
from .parts import CodecState, Course, Parts, Size
from .pipeline import PipelineContext
from .prompts import Prompt, PromptLibrary
from .recorders import queues_for, recorder_for
from .tiny_info import ENTRY_NOISE, SIGMAS, TINY_INFO

IDLE_BANKS = 2
"""At 256x256 a bank of four streams has 60 MB, at 768x768 nine times as much, and viewers may ask
for any size."""


class TinyCodec:
    """One picture to one latent frame, without its sensor noise."""

    leads = False
    small = True

    def __init__(self, autoencoder: PatchAutoencoder) -> None:
        self.autoencoder = autoencoder

    def latent_shape(self, size: Size) -> tuple[int, int, int, int]:
        return 1, self.autoencoder.spec.channels, size[0] // 8, size[1] // 8

    def memory(self, slots: int, size: Size) -> CodecState:
        weight = self.autoencoder.basis.weight
        shape = self.latent_shape(size)[1:]
        return CodecState(
            steady_state(slots, shape, weight.device, weight.dtype),
            self.autoencoder.init_state(slots, *size, weight.device, weight.dtype),
        )

    def encode(self, pictures: Tensor, state: State, lead: bool) -> Tensor:
        return steady(self.autoencoder.encode(pictures), cast(SteadyState, state))

    def decode(self, latents: Tensor, state: State, lead: bool) -> Tensor:
        return self.autoencoder.decode(latents, cast(AutoencoderState, state))


@dataclass(frozen=True, slots=True)
class TinyNoise:
    """The model is told the noise as it is; the same noise for all chunks keeps pictures steady."""

    levels: Levels = Levels(SIGMAS)
    fresh: bool = False
    still: float = ENTRY_NOISE

    def course(self, controls: Controls) -> Course:
        return _COURSE

    def timestep(self, noise: Tensor) -> Tensor:
        return 1000 * noise


_COURSE = Course("video", ENTRY_NOISE)


@dataclass(eq=False)
class TinyWish:
    """A mixture of looks, and how much of it."""

    _conditioner: TinyPrompts
    prompt: Prompt | None = None
    notes: dict[str, object] = field(default_factory=dict)
    _asked: tuple[str, float] | None = None
    _understood: Understanding | None = None

    def heed(self, controls: Controls) -> bool:
        asked = (controls.text("prompt"), controls.number("strength"))
        if self.prompt is not None and asked == self._asked:
            return False
        text, strength = asked
        if self._asked is None or self._asked[0] != text or self._understood is None:
            self._understood = self._conditioner.prompts.understand(text)
        first = self.prompt is None
        self._asked = asked
        self.prompt = self._conditioner.prompt(self._understood, strength)
        self.notes = {
            "understood": [[name, round(weight, 3)] for name, weight in self._understood.weights],
            "unknown": list(self._understood.unknown),
        }
        return not first

    def facts(self) -> Any:
        return self._asked

    def recall(self, facts: Any) -> None:
        if facts is not None:
            prompt, strength = facts
            self.heed(Controls(MappingProxyType({"prompt": prompt, "strength": strength})))


class TinyPrompts:
    """The looks of the embedded model, by a prompt's words."""

    def __init__(self, model: VideoModel, prompts: PromptEncoder) -> None:
        self.prompts, self.library = prompts, PromptLibrary()
        self._model = model

    def wish(self) -> TinyWish:
        return TinyWish(self)

    def prompt(self, understood: Understanding, strength: float) -> Prompt:
        weights = self.prompts.weights_of(understood)
        make: Callable[[], Tensor] = lambda: self._model.context(weights, strength)  # noqa: E731
        return self.library.get([understood.weights, strength], make)


def tiny_parts(model: VideoModel, prompts: PromptEncoder) -> Parts:
    """The pipeline's parts of a model of this family."""
    codec, conditioner = TinyCodec(model.autoencoder), TinyPrompts(model, prompts)
    return Parts(TINY_INFO, model.dit, codec, conditioner, TinyNoise(), IDLE_BANKS)


def build(context: PipelineContext) -> VideoDiffusion:
    """The embedded model. Options: `schedule` ("stream", "sequential"), `max_sessions`,
    `random_weights` (speed without quality, for measuring), `graphs` and `queues` (`recorders`);
    `fp8` and `kv_cache` (see `eight_bits`)."""
    options = context.options
    make = random_tiny if options.get("random_weights") else load_tiny
    model = make(device=context.device, dtype=context.dtype)
    spec = model.dit.spec
    model.dit.spec = replace(spec, ring=replace(spec.ring, store=store_of(options)))
    return VideoDiffusion(
        tiny_parts(model, load_prompts()),
        streams=int(options.get("max_sessions", 4)),
        sequential=options.get("schedule", "sequential") != "stream",
        recorder=recorder_for(context.device, options),
        queues=queues_for(context.device, options),
        notes=narrow(model.dit, context.device, options),
    )
