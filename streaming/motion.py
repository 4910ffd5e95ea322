"""How much noise a chunk enters with: less when the picture moves (motion-aware noise control).

StreamDiffusionV2 (arXiv 2511.07399), section on the motion-aware noise controller; constants as
released: differences are root mean squares of pixels in -1..1, full scale 0.2, range 0.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

FULL_MOTION = 0.2
RANGE = 0.1
NEW_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class NoiseController:
    """s_t = 0.9 (s_max - 0.1 d) + 0.1 s_(t-1), d the largest step between frames over 0.2.

    Attributes:
        scale: s_max, the noise of a still picture, 0..1.
    """

    scale: float

    def next(self, previous: float | Tensor, frames: Tensor, last: Tensor | None) -> Tensor:
        """Noise scale for a chunk, a scalar on the device of the frames (never asked back).

        Args:
            previous: scale of the chunk before; `self.scale` at the start.
            frames: [T, 3, H, W] in 0..1.
            last: [3, H, W], last frame of the chunk before, or None at the start.
        """
        motion = self.motion(frames, last)
        target = self.scale - RANGE * (motion / FULL_MOTION).clamp(0, 1)
        return NEW_SHARE * target + (1 - NEW_SHARE) * previous

    @staticmethod
    def motion(frames: Tensor, last: Tensor | None) -> Tensor:
        """Largest root mean square difference of neighbouring frames, in units of -1..1 pixels."""
        clip = frames if last is None else torch.cat((last[None], frames))
        if len(clip) < 2:
            return frames.new_zeros((), dtype=torch.float32)
        step = clip[1:].float() - clip[:-1].float()
        return 2 * step.square().mean((1, 2, 3)).sqrt().max()
