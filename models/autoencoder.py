"""A streaming autoencoder that a CPU can afford: patchified, shallow, with one frame of memory.

Latents are [R, F, C, H/8, W/8], one latent frame per picture. A linear path (8x8 patches projected
on their principal components, an orthonormal basis) carries most of the picture, so that distances
between latents are nearly distances between pixels; small convolutional nets add what a linear map
cannot. The decoder looks at the features of the previous frame, kept in `AutoencoderState`, which
steadies fine texture in time. The linear shortcut follows DC-AE (arXiv 2410.10733, section 3.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..kernels import pixel_shuffle, pixel_unshuffle
from .layers import Conv
from .specs import AutoencoderSpec
from .state import State, row_tensor


class ConvBlock(nn.Module):
    """x + 1x1(silu(3x3(silu(x)))), the last convolution zero at the start of training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = Conv(width, width, 3)
        self.out = Conv(width, width, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.mix(F.silu(x), activation="silu"), residual=x)


class MemoryBlock(nn.Module):
    """A ConvBlock that also sees the previous frame's input at the same place: a causal convolution
    of two frames in time, its weight split by frame so that nothing is concatenated."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.now = Conv(width, width, 3)
        self.past = Conv(width, width, 1, bias=False)
        self.out = Conv(width, width, 1)
        nn.init.zeros_(self.past.weight)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, past: Tensor) -> Tensor:
        """x, past: [N, C, H, W], `past` being x of one frame earlier (zeros before the first)."""
        mixed = self.now(F.silu(x), residual=self.past(F.silu(past)))
        return self.out(F.silu(mixed), residual=x)


@dataclass
class AutoencoderState(State):
    """What the decoder remembers: features of the previous frame, [rows, width, H/8, W/8]."""

    past: Tensor = row_tensor()


class PatchAutoencoder(nn.Module):
    """Pictures [R, F, 3, H, W] in 0..1 <-> latents [R, F, channels, H/8, W/8]."""

    def __init__(self, spec: AutoencoderSpec) -> None:
        super().__init__()
        self.spec = spec
        coarse, fine, channels = spec.coarse_width, spec.fine_width, spec.channels
        self.basis = Conv(192, channels, 1, bias=False)
        self.encode_fine = nn.Sequential(
            Conv(48, fine, 3),
            *(ConvBlock(fine) for _ in range(spec.encoder_fine_blocks)),
        )
        self.encode_coarse = nn.Sequential(
            Conv(4 * fine, coarse, 1),
            *(ConvBlock(coarse) for _ in range(spec.encoder_coarse_blocks)),
        )
        self.encode_out = Conv(coarse, channels, 1)
        self.unbasis = Conv(channels, 192, 1, bias=False)
        self.decode_in = Conv(channels, coarse, 3)
        self.decode_memory = MemoryBlock(coarse)
        self.decode_coarse = nn.Sequential(
            *(ConvBlock(coarse) for _ in range(spec.decoder_coarse_blocks))
        )
        self.decode_up = Conv(coarse, 4 * fine, 1)
        self.decode_fine = nn.Sequential(
            *(ConvBlock(fine) for _ in range(spec.decoder_fine_blocks))
        )
        self.decode_out = Conv(fine, 48, 3)
        for last in (self.encode_out, self.decode_out):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    @torch.no_grad()
    def set_basis(self, components: Tensor) -> None:
        """Start from principal components: [channels, 192], orthonormal rows, of 8x8 patches as
        `pixel_unshuffle(pixel_unshuffle(2 x - 1, 4), 2)` lays them out."""
        self.basis.weight.copy_(components[:, :, None, None])
        self.unbasis.weight.copy_(components.t()[:, :, None, None])

    def init_state(
        self,
        rows: int,
        height: int,
        width: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> AutoencoderState:
        """Memory for `rows` streams of pictures of height x width pixels (multiples of 8)."""
        shape = (rows, self.spec.coarse_width, height // 8, width // 8)
        past = torch.zeros(shape, device=device, dtype=dtype)
        return AutoencoderState(past=past.contiguous(memory_format=torch.channels_last))

    def encode(self, pictures: Tensor) -> Tensor:
        """[R, F, 3, H, W] in 0..1 -> [R, F, C, H/8, W/8]. Without memory: each frame by itself."""
        rows, frames = pictures.shape[:2]
        patches = pixel_unshuffle(pictures.flatten(0, 1), 4)
        fine = torch.add(patches.new_full((), -1.0), patches, alpha=2)
        shrink, *rest = self.encode_coarse
        coarse = cast(Conv, shrink).over_patches(self.encode_fine(fine), 2)
        for block in rest:
            coarse = block(coarse)
        z = self.encode_out(F.silu(coarse), residual=self.basis.over_patches(fine, 2))
        return z.mul(self.spec.scale).unflatten(0, (rows, frames))

    def decode(
        self, latents: Tensor, state: AutoencoderState, mask: Tensor | None = None
    ) -> Tensor:
        """[R, F, C, h, w] -> [R, F, 3, 8h, 8w] in 0..1, going on from `state`.

        Renews the memory of the rows where `mask` [R] is true, or of all; the pictures of others
        are void.
        """
        rows, frames = latents.shape[:2]
        z = latents.flatten(0, 1).div(self.spec.scale)
        z = z.contiguous(memory_format=torch.channels_last)
        x = self.decode_in(z)
        clip = x.unflatten(0, (rows, frames))
        past = state.past.to(x.dtype)
        if frames > 1:
            past = torch.cat([past[:, None], clip[:, :-1]], dim=1).flatten(0, 1)
        past = past.contiguous(memory_format=torch.channels_last)
        pictures = self._decode_rest(z, x, past).unflatten(0, (rows, frames))
        last = clip[:, -1].detach().to(state.past.dtype)
        if mask is not None:
            last = torch.where(mask[:, None, None, None], last, state.past)
        state.past.copy_(last)
        return pictures

    def _decode_rest(self, z: Tensor, x: Tensor, past: Tensor) -> Tensor:
        x = self.decode_coarse(self.decode_memory(x, past))
        x = self.decode_fine(F.pixel_shuffle(self.decode_up(F.silu(x)), 2))
        fine = self.decode_out(F.silu(x), residual=F.pixel_shuffle(self.unbasis(z), 2))
        return torch.add(z.new_full((), 0.5), pixel_shuffle(fine, 4), alpha=0.5)
