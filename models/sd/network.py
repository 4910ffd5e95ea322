"""The UNet with what may be added to it: a LoRA and a ControlNet, both weighted row by row."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .control import Condition
from .lora import Lora
from .specs import SDSpec


class Network:
    """One network for all rows of a batch.

    Args:
        unet: diffusers' UNet2DConditionModel.
        lora: attached to the UNet, or None.
        controlnet: diffusers' ControlNetModel, or None.
        condition: makes its pictures from the frames.
    """

    def __init__(
        self,
        spec: SDSpec,
        unet: nn.Module,
        lora: Lora | None = None,
        controlnet: nn.Module | None = None,
        condition: Condition | None = None,
    ) -> None:
        assert (controlnet is None) == (condition is None)
        self.spec, self.unet, self.lora = spec, unet, lora
        self.controlnet, self._condition = controlnet, condition
        weight = next(unet.parameters())
        self.device, self.dtype = weight.device, weight.dtype

    @property
    def conditioned(self) -> bool:
        """Whether there is a ControlNet."""
        return self.controlnet is not None

    def condition(self, pictures: Tensor) -> Tensor:
        """What the ControlNet is shown of frames [T, 3, H, W] in 0..1; the same shape and range."""
        assert self._condition is not None
        return self._condition(pictures)

    def __call__(
        self,
        z: Tensor,
        timesteps: Tensor,
        text: Tensor,
        *,
        lora: Tensor | None = None,
        condition: Tensor | None = None,
        control: Tensor | None = None,
    ) -> Tensor:
        """The UNet's output for latents z [rows, C, h, w].

        Args:
            timesteps: [rows], 0..999.
            text: [rows, tokens, dim].
            lora: [rows], weight of the LoRA; None is none.
            condition: [rows, 3, 8h, 8w] in 0..1.
            control: [rows], weight of the ControlNet; None is none.
        """
        residuals: dict[str, Any] = {}
        if self.controlnet is not None and condition is not None and control is not None:
            residuals = self._residuals(z, timesteps, text, condition, control)
        if self.lora is None:
            return self._run(z, timesteps, text, residuals)
        with self.lora.weighted(lora):
            return self._run(z, timesteps, text, residuals)

    def _run(self, z: Tensor, timesteps: Tensor, text: Tensor, residuals: dict[str, Any]) -> Tensor:
        output: Tensor = self.unet(z, timesteps, text, return_dict=False, **residuals)[0]
        return output

    def _residuals(
        self, z: Tensor, timesteps: Tensor, text: Tensor, condition: Tensor, control: Tensor
    ) -> dict[str, Any]:
        assert self.controlnet is not None
        down, middle = self.controlnet(
            z, timesteps, text, controlnet_cond=condition, return_dict=False
        )
        weights = control.view(-1, 1, 1, 1)
        return {
            "down_block_additional_residuals": [part * weights for part in down],
            "mid_block_additional_residual": middle * weights,
        }


def channels_last(module: nn.Module) -> nn.Module:
    """Lay convolution weights out as their inputs are, where convolutions run faster so."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module
