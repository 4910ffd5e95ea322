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
        scale: s_max, the noise of a still picture, 0..1; a number or a scalar tensor.
    """

    scale: float | Tensor

    def next(self, previous: float | Tensor, frames: Tensor, last: Tensor | None) -> Tensor:
        """Noise scale for a chunk, a scalar on the device of the frames (never asked back).

        Args:
            previous: scale of the chunk before; `self.scale` at the start.
            frames: [T, 3, H, W] in 0..1.
            last: [3, H, W], last frame of the chunk before, or None at the start.
        """
        motion = self.motion(frames, last)
        scale = self.scale
        if isinstance(scale, Tensor):
            scale = scale.to(motion.dtype)  # as a number would count
        target = scale - RANGE * (motion / FULL_MOTION).clamp(0, 1)
        return NEW_SHARE * target + (1 - NEW_SHARE) * previous

    @staticmethod
    def motion(frames: Tensor, last: Tensor | None) -> Tensor:
        """Largest root mean square difference of neighbouring frames, in units of -1..1 pixels."""
        wide = frames.float()
        steps = [*(wide[1:] - wide[:-1])] if len(wide) > 1 else []
        if last is not None:
            steps.append(wide[0] - last)
        if not steps:
            return wide.new_zeros(())
        longest = torch.stack([torch.linalg.vector_norm(step) for step in steps]).max()
        return longest * (2 * wide[0].numel() ** -0.5)
