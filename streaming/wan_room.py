"""Whether a Wan model and its streams fit into the memory that is free, told with the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..models.estimate import estimate
from ..models.specs import AutoencoderName, DiTSpec, TAEHVSpec, WanVAESpec
from .parts import Size
from .room import check_fits

RESIDENT = ("weights",)
"""Parts that are there once for all streams."""


@dataclass(frozen=True, slots=True)
class WanRoom:
    """What a pipeline takes on its device.

    Attributes:
        name: of the model.
        steps: noise levels of a stream.
        frames: latent frames of a chunk.
        reads: whether a text encoder reads prompts on the device.
    """

    name: str
    dit: DiTSpec
    vae: WanVAESpec
    taehv: TAEHVSpec
    autoencoder: AutoencoderName
    device: str
    dtype: str
    steps: int
    frames: int
    reads: bool

    def parts(self, slots: int, size: Size) -> dict[str, int]:
        """Bytes by part for so many streams of a size (height and width)."""
        return estimate(
            self.dit,
            (size[1], size[0]),
            slots,
            self.steps,
            self.dtype,
            self.autoencoder,
            frames=self.frames,
            text_encoder=self.reads,
            cpu=self.device == "cpu",
            vae=self.vae,
            taehv=self.taehv,
        )

    def check_loading(self, slots: int, size: Size) -> None:
        """Before anything is loaded.

        Raises:
            RuntimeError: the model and so many streams of this size do not fit.
        """
        self._refuse(self.parts(slots, size), slots, size)

    def check(self, slots: int, size: Size) -> None:
        """Before memory for streams is made, the weights being there. See `parts.Room`."""
        parts = self.parts(slots, size)
        self._refuse({n: b for n, b in parts.items() if n not in RESIDENT}, slots, size)

    def _refuse(self, parts: Mapping[str, int], slots: int, size: Size) -> None:
        streams = "one stream" if slots == 1 else f"{slots} streams"
        fewer = [] if slots == 1 else ["fewer --max-sessions"]
        fewer += ["a smaller --size"] if max(size) > 256 else []
        fewer += ["fewer levels (--option steps=2)"] if self.steps > 2 else []
        what = f"{self.name} with {streams} of {size[1]}x{size[0]}"
        check_fits(what, parts, self.device, fewer)
