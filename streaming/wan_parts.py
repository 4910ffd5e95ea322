"""The causal Wan models as parts of the video pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..models.dit import CausalDiT
from ..models.policies import WanPolicy
from ..models.sigmas import TRAIN_STEPS, WAN_SHIFT
from ..models.state import State
from ..models.video_autoencoder import VideoAutoencoder
from .clean_lanes import CleanLanes
from .controls import Controls
from .lanes import Lanes
from .levels import Levels
from .parts import CodecState, Conditioner, Course, Parts, Room, Size
from .pipeline import PipelineInfo
from .wan_info import IMAGE, TEXT

SPAN = 200
"""Timesteps that a level must lie below 1000 times the strength: 100 that the model is not told of,
and 100 by which motion takes noise away."""
_SOURCES: dict[str, Literal["text", "image"]] = {TEXT: "text", IMAGE: "image"}


class ClipCodec:
    """Four pictures to each latent frame, with the first picture of a stream before them.

    The autoencoders of this family make a latent frame of the first picture alone. A stream here
    shows its first picture twice, once for that frame and once in the first chunk, so that all
    chunks are alike and come out with no delay of their own; the picture that the first latent
    frame is decoded to is dropped.
    """

    leads = True
    small = False

    def __init__(
        self,
        autoencoder: VideoAutoencoder,
        frames: int,
        normalise: bool,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.autoencoder, self._frames, self._normalise = autoencoder, frames, normalise
        self._device, self._dtype = device, dtype

    def latent_shape(self, size: Size) -> tuple[int, int, int, int]:
        stride = self.autoencoder.stride
        return self._frames, self.autoencoder.channels, size[0] // stride, size[1] // stride

    def memory(self, slots: int, size: Size) -> CodecState:
        init, given = self.autoencoder.init_state, (slots, *size, self._device, self._dtype)
        return CodecState(init(*given, decode=False), init(*given, encode=False))

    def encode(self, pictures: Tensor, state: State, lead: bool) -> Tensor:
        return self.autoencoder.encode(pictures, state, first=lead, normalise=self._normalise)

    def decode(self, latents: Tensor, state: State, lead: bool) -> Tensor:
        return self.autoencoder.decode(latents, state, first=lead)


@dataclass(frozen=True, slots=True)
class WanNoise:
    """Entry noise that follows motion, told less by a constant; or noise alone.

    Attributes:
        levels: of the distilled steps.
        still: share of noise of a still picture.
        told_less: see `WanPolicy`.
        alone: the levels are those of weights that begin from noise alone.
    """

    levels: Levels
    still: float
    told_less: float
    alone: bool
    fresh: bool = True

    @classmethod
    def of(cls, policy: WanPolicy) -> WanNoise:
        looked_up = any(TRAIN_STEPS * one.sigma != one.timestep for one in policy.levels)
        nominal = tuple(level.timestep / TRAIN_STEPS for level in policy.levels)
        levels = Levels(nominal, WAN_SHIFT if looked_up else None)
        return cls(levels, policy.noise, policy.told_less, policy.source == "noise")

    def course(self, controls: Controls) -> Course:
        source = _SOURCES.get(controls.text("mode"))
        if source is not None:
            steps = min(int(controls.number("steps")), len(self.levels))
            if self.alone:
                return Course(source, 1.0, self.levels.nominal[:steps])
            return Course(source, 1.0, tuple(1 - step / steps for step in range(steps)))
        strength = controls.number("strength")
        if strength == self.still:
            return Course("video", strength)
        # A level that is noisier than what comes in would only take away what was found.
        below = strength - SPAN / TRAIN_STEPS
        later = tuple(level for level in self.levels.nominal[1:] if level < below)
        return Course("video", strength, (strength - self.told_less / TRAIN_STEPS, *later))

    def timestep(self, noise: Tensor) -> Tensor:
        # Whole steps, as in training; the bit more is for products that end just below one.
        whole = (TRAIN_STEPS * noise.float() + 1e-3).floor()
        return (whole - self.told_less).clamp_min(0)


def wan_parts(
    info: PipelineInfo,
    dit: CausalDiT,
    autoencoder: VideoAutoencoder,
    conditioner: Conditioner,
    policy: WanPolicy,
    room: Room | None = None,
) -> Parts:
    """The pipeline's parts of a model of this family."""
    weight = dit.patch_embedding.weight
    codec = ClipCodec(autoencoder, policy.frames, policy.normalise, weight.device, weight.dtype)
    lanes = CleanLanes if policy.history == "clean" else Lanes
    return Parts(info, dit, codec, conditioner, WanNoise.of(policy), 0, lanes, room)
