"""How much memory a UNet model takes, told before anything is loaded. Imports no torch.

What stays is exact: weights, and frames in flight. What is needed in passing is counted layer by
layer from the network's own configuration, as the most numbers that are there at once, and is a
bound from above for PyTorch's own allocations; libraries below it (cuDNN) take workspace of their
own, which is not counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..estimate import BYTES
from .specs import SDSpec

TAESD_WIDTH = 64
KEPT_PROMPTS = 64
KEPT_PLANS = 32
KEPT_NOISES = 64
"""As `text.PROMPTS`, `denoiser.PLANS` and `denoiser.NOISES` bound them."""
_CODING = 5
"""Whole activations of the autoencoder's widest stage that live at once: a block's input, what its
convolutions take and give, and both once more where they are laid out anew."""
_PICTURES = 15
"""Channels of pictures around the autoencoder: as they came, scaled, stacked, clamped and float."""
_EMBEDDED = 5 * 16
"""Channels at full resolution that live at once while a ControlNet makes features of its picture,
which is over before anything else begins."""


@dataclass(frozen=True, slots=True)
class Extra:
    """What is loaded besides the model.

    Attributes:
        parameters: of a LoRA and of a ControlNet together.
        controlnet: whether there is one.
    """

    parameters: int = 0
    controlnet: bool = False


def estimate(
    spec: SDSpec,
    size: tuple[int, int],
    sessions: int,
    frames: int,
    dtype: str,
    steps: int,
    extra: Extra | None = None,
) -> dict[str, int]:
    """Bytes on the device by part: "weights" and "frames" in flight (exact), "prompts" (the most
    that is kept of them, and of noise) and "work", what a forward, an encode or a decode needs in
    passing (a bound from above).

    Args:
        size: width and height of the pictures.
        sessions: streams that share a forward.
        frames: that a stream takes at once.
        steps: of a frame; all of them are in flight in a stream batch, and each may have a negative
            prompt.
        extra: what is added to the model.

    Raises:
        ValueError: an unknown dtype.
    """
    if dtype not in BYTES:
        raise ValueError(f"dtype {dtype!r} is not one of {', '.join(BYTES)}")
    extra = extra or Extra()
    each, (width, height) = BYTES[dtype], size
    exact = max(each, 4)  # Latents are never kept in less than 32 bits.
    pictures, area = sessions * frames, (height // 8) * (width // 8)
    rows, kept = 2 * steps * pictures, sessions * spec.max_steps * frames
    channels = int(spec.unet["in_channels"])
    walk = Walk.through(spec.unet, area)
    forward = rows * walk.most
    if extra.controlnet:
        # What it adds, unweighted and weighted, and the sums.
        forward = max(forward + 3 * rows * walk.skipped, rows * _EMBEDDED * height * width)
    coding = pictures * height * width * (_CODING * TAESD_WIDTH + _PICTURES)
    text = spec.tokens * spec.text_dim
    conditions = kept * 3 * height * width * each if extra.controlnet else 0
    return {
        "weights": (spec.parameters + extra.parameters) * each,
        # A latent and its anchor.
        "frames": 2 * kept * channels * area * exact + conditions,
        "prompts": (KEPT_PROMPTS + KEPT_PLANS * rows) * text * each
        + (KEPT_NOISES + KEPT_PLANS * steps * sessions) * channels * area * exact,
        "work": (max(forward, coding) + walk.layer) * each + 8 * rows * channels * area * exact,
    }


@dataclass(slots=True)
class Walk:
    """Goes through a UNet and counts what lives at once, in numbers for one picture.

    Attributes:
        unet: configuration of diffusers' UNet2DConditionModel.
        area: of the latent, in pixels, at the level that was reached.
        skips: what the way down has kept for the way up.
        most: numbers that were there at once.
        skipped: all that was ever kept.
        layer: weights of the largest layer, which may be laid out anew while it runs.
    """

    unet: Mapping[str, Any]
    area: int
    skips: list[int] = field(default_factory=list)
    most: int = 0
    skipped: int = 0
    layer: int = 0

    @classmethod
    def through(cls, unet: Mapping[str, Any], area: int) -> Walk:
        """The whole network, for a latent of `area` pixels."""
        walk = cls(unet, area)
        walk._down()
        walk._middle()
        walk._up()
        return walk

    def _down(self) -> None:
        widths, kinds = self.unet["block_out_channels"], self.unet["down_block_types"]
        before = widths[0]
        self._keep(before)
        for level, (width, kind) in enumerate(zip(widths, kinds, strict=True)):
            for _ in range(self.unet["layers_per_block"]):
                self._layer(before, width, "CrossAttn" in kind)
                self._keep(width)
                before = width
            if level < len(widths) - 1:
                self._resnet(width, width)  # a convolution, which is less
                self.area //= 4
                self._keep(width)

    def _middle(self) -> None:
        width = self.unet["block_out_channels"][-1]
        self._layer(width, width, True)
        self._layer(width, width, True)

    def _up(self) -> None:
        widths, kinds = self.unet["block_out_channels"][::-1], self.unet["up_block_types"]
        before, layers = widths[0], self.unet["layers_per_block"] + 1
        for level, (width, kind) in enumerate(zip(widths, kinds, strict=True)):
            # The caller holds what a block was given until the block is done.
            given = before * self.area
            for _ in range(layers):
                joined = before + self.skips[-1] // self.area
                self._layer(joined, width, "CrossAttn" in kind, given)
                given += self.skips.pop()
                before = width
            if level < len(widths) - 1:
                self.area *= 4
                self._resnet(width, width, given)

    def _keep(self, width: int) -> None:
        self.skips.append(width * self.area)
        self.skipped += width * self.area

    def _layer(self, inner: int, width: int, attends: bool, given: int = 0) -> None:
        self._resnet(inner, width, given)
        if attends:
            # Residual, normed and as tokens; 8 + 4 + 4 widths of a gated feed-forward layer, and
            # what goes into it and is added to it.
            self._live(22 * width, given)

    def _resnet(self, inner: int, width: int, given: int = 0) -> None:
        """Input, normed and bent; two convolutions, each input and output laid out anew."""
        self._live(3 * inner + 4 * width, given)
        self.layer = max(self.layer, 9 * inner * width)

    def _live(self, channels: int, given: int) -> None:
        self.most = max(self.most, sum(self.skips) + given + channels * self.area)
