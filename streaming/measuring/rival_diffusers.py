"""The diffusers image-to-image loop of the UNet models, as it comes: StableDiffusionImg2ImgPipeline
with the same UNet, the same tiny autoencoder, the same prompt embedding and the same timesteps.

Its scheduler is diffusers' LCMScheduler, whose steps are those of our stream (`models.sd.specs`);
it draws with our noise, so that the pictures should be the same but for rounding.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...kernels import gaussian_noise
from ...models.loaders import load_model
from ...models.sd.library import WEIGHTS, require
from ...models.sd.parts import random_sd
from ...models.sd.specs import SPECS, SDSpec, level_indices, levels
from ..controls import Controls
from ..pipeline import Pipeline
from ..sd import UNetStylizer
from .rivals import Challenge, Entry, RivalError, quiet, version_of

MODELS = ("sd-turbo", "sd1.5-lcm")
PARTS = ("unet", "vae")
LOGGERS = ("diffusers", "transformers")
PLAIN = {"cfg": "none", "add_noise": True}
"""Controls that diffusers' loop has no counterpart of, and what they must be."""


def weights(challenge: Challenge) -> int:
    """Bytes of its own copy, and of ours."""
    return SPECS[challenge.model].parameters * challenge.dtype.itemsize


def export(challenge: Challenge) -> None:
    """Write the random weights in the layout of a released model.

    Raises:
        RivalError: our model has something that the rival is not given.
    """
    added = [name for name in ("lora", "controlnet") if challenge.settings.get(name)]
    own = challenge.settings.get("weights")
    if own and (Path(str(own)) / "lora").is_dir():
        added.append("its own LoRA")
    if added:
        raise RivalError(f"diffusers is compared without {', '.join(added)}; leave that out")
    if challenge.random:
        # The same numbers as in ours, as they follow from the names and shapes alone.
        model = random_sd(SPECS[challenge.model], "cpu", challenge.dtype)
        for name, part in zip(PARTS, (model.network.unet, model.autoencoder.vae), strict=True):
            cast(Any, part).save_pretrained(challenge.folder / name)


def build(challenge: Challenge, pipeline: Pipeline) -> DiffusersLoop:
    """The pipeline of diffusers, from the exported or the released folder.

    Raises:
        RivalError: controls that it has no counterpart of.
    """
    assert isinstance(pipeline, UNetStylizer)
    controls = Controls.defaults(pipeline.info.controls)
    controls = controls.changed(pipeline.info.controls, challenge.controls)
    other = [name for name, value in PLAIN.items() if controls[name] != value]
    if other:
        raise RivalError(f"diffusers is compared with plain guidance and noise; not {other}")
    folder = challenge.folder if challenge.random else Path(str(challenge.settings["weights"]))
    return DiffusersLoop(challenge, pipeline, controls, folder)


class DiffusersLoop:
    """See `rivals.Rival`."""

    note = "eager, as it comes; pictures go in and out as float32 RGB"
    same_noise = True

    def __init__(
        self, challenge: Challenge, ours: UNetStylizer, controls: Controls, folder: Path
    ) -> None:
        diffusers = require("diffusers")
        self.name = f"diffusers {version_of(ENTRY)}"
        self.chunk = self.first_chunk = ours.info.chunk
        self._spec, self._controls = ours.model.spec, controls
        self._device = torch.device(challenge.device)
        self._text = ours.model.prompts.get(controls.text("prompt")).embedding[None]
        with quiet(*LOGGERS):
            unet, vae = (
                _network(kind, folder / name, self._device, challenge.dtype)
                for kind, name in (
                    (diffusers.UNet2DConditionModel, "unet"),
                    (diffusers.AutoencoderTiny, "vae"),
                )
            )
            self._pipe = diffusers.StableDiffusionImg2ImgPipeline(
                vae=vae,
                text_encoder=None,
                tokenizer=None,
                unet=unet,
                scheduler=_scheduler(diffusers, self._spec, controls, self._device),
                safety_checker=None,
                feature_extractor=None,
                requires_safety_checker=False,
            )
        self._pipe.set_progress_bar_config(disable=True)
        self._timesteps: list[int] = []

    def begin(self, steps: int) -> None:
        spec = self._spec
        chosen = level_indices(spec, self._controls.number("strength"), steps)
        self._timesteps = [int(level.timestep) for level in levels(spec, chosen)]

    @torch.inference_mode()
    def draw(self, pictures: Tensor) -> Tensor:
        # It remarks on timesteps that do not begin at pure noise, which ours never do.
        with quiet(*LOGGERS):
            shown = self._pipe(
                prompt_embeds=self._text.expand(len(pictures), -1, -1),
                image=pictures.to(self._device),
                strength=1.0,
                timesteps=self._timesteps,
                num_inference_steps=len(self._timesteps),
                guidance_scale=1.0,
                output_type="pt",
            ).images
        return cast(Tensor, shown).float().cpu()

    def close(self) -> None:
        del self._pipe


def _network(kind: Any, folder: Path, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """As `from_pretrained` makes it, which without its package accelerate first draws a billion
    random numbers."""
    config = kind.load_config(folder)
    network: nn.Module = load_model(
        lambda: kind.from_config(config), folder / WEIGHTS, device, dtype
    )
    return network


def _scheduler(diffusers: Any, spec: SDSpec, controls: Controls, device: torch.device) -> Any:
    """diffusers' LCMScheduler with our noise in place of that of torch's generator."""

    class SameNoise(diffusers.LCMScheduler):
        def _noise(self, like: Tensor, step: int) -> Tensor:
            seed = int(controls.number("seed"))
            return gaussian_noise(seed, 0, step, tuple(like.shape[1:]), device, like.dtype)

        def add_noise(self, original: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
            mixed: Tensor = super().add_noise(original, self._noise(original, 0), timesteps)
            return mixed

        def step(self, model_output: Tensor, *given: Any, **named: Any) -> Any:
            named["return_dict"] = False
            before, clean = super().step(model_output, *given, **named)
            index = self.step_index
            if index < len(self.timesteps):
                noise, time = self._noise(clean, index), self.timesteps[index].view(1)
                before = super().add_noise(clean, noise, time)
            return before, clean

    betas = spec.betas
    return SameNoise(
        beta_start=betas.first,
        beta_end=betas.last,
        beta_schedule="scaled_linear",
        num_train_timesteps=betas.steps,
        original_inference_steps=spec.indices,
        clip_sample=False,
        prediction_type=spec.prediction,
        steps_offset=1,
    )


ENTRY = Entry(
    "diffusers", "install it with pip install 'millrace[sd]'", MODELS, weights, export, build
)
