"""The vision tower of Qwen2.5-VL: patches, windowed attention, merging (arXiv 2502.13923, 2.1.1).
With a stem of convolutions in the place of the patches, it is the embedded model's.

Parameter names and the function computed are those of the released weights. Windows run as batches
of equal ones, at most four kinds of them however large the picture is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn as nn
import torch.nn.functional as functional
from torch import Tensor

from ...kernels import attention
from ..layers import Linear, RMSNorm
from .gated import GatedMLP
from .rotary import picture_angles, rotate, table, wide
from .specs import VisionSpec, VisionStemSpec

_EPS = 1e-6
_LOUDER = 2.0
"""By how much what changes is made louder than what stays."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """How the patches of a picture lie in windows.

    Attributes:
        order: int64 [patches], patch (row-major) at each place: windows of a kind together, in each
            window the patches of a token together.
        back: int64 [tokens], place of each token, row-major.
        kinds: (windows, patches of each) of every kind of window, in the order of the places.
        turn: [patches, 1, 2, head_dim], rotation of the patch at each place.
    """

    order: Tensor
    back: Tensor
    kinds: tuple[tuple[int, int], ...]
    turn: Tensor


@lru_cache(maxsize=16)
def tiling(
    spec: VisionSpec, grid: tuple[int, int], dtype: torch.dtype, device: torch.device
) -> Tiling:
    """The tiling of a picture of `grid` (height, width) tokens; edges have smaller windows."""
    with torch.inference_mode(False):
        side, merge = spec.window // spec.factor, spec.merge
        height, width = grid
        tokens = torch.arange(height * width).view(height, width)
        groups: dict[tuple[int, int], list[Tensor]] = {}
        for row in tokens.split(side, 0):
            for window in row.split(side, 1):
                groups.setdefault((window.shape[0], window.shape[1]), []).append(window.flatten())
        kinds = tuple((len(windows), h * w * merge * merge) for (h, w), windows in groups.items())
        sequence = torch.cat([torch.cat(windows) for windows in groups.values()])
        inside = torch.arange(merge)
        rows = (sequence // width * merge)[:, None, None] + inside[:, None]
        columns = (sequence % width * merge)[:, None, None] + inside
        rows, columns = (part.flatten() for part in torch.broadcast_tensors(rows, columns))
        angle = picture_angles(rows, columns, spec.dim // spec.heads)
        return Tiling(
            order=(rows * (width * merge) + columns).to(device),
            back=sequence.argsort().to(device),
            kinds=kinds,
            turn=table(angle, dtype)[:, None].to(device),
        )


class PatchEmbed(nn.Module):
    """Pixels of a patch, of all pictures of a grid, to a vector."""

    def __init__(self, spec: VisionSpec) -> None:
        super().__init__()
        kernel = (spec.frames, spec.patch, spec.patch)
        self.proj = nn.Conv3d(3, spec.dim, kernel, kernel, bias=False)

    def forward(self, patches: Tensor) -> Tensor:
        """[..., 3 * frames * patch * patch] -> [..., dim]; patches do not overlap."""
        return functional.linear(patches, self.proj.weight.flatten(1))


class StemBlock(nn.Module):
    """Two convolutions beside the identity; a new block changes nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(functional.relu(self.conv1(x)))


class VisionStem(nn.Module):
    """Pictures of a grid to a vector for each patch, by convolutions.

    They are given what changed from picture to picture as well, and where in the picture they are:
    attention over patches knows distances alone.
    """

    def __init__(self, spec: VisionSpec, stem: VisionStemSpec) -> None:
        super().__init__()
        first = 3 * (2 * spec.frames - 1) + 2
        widths = (first, *stem.widths[:-1])
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1)
            for a, b in zip(widths, stem.widths, strict=True)
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(*(StemBlock(width) for _ in range(count)))
            for width, count in zip(stem.widths, stem.blocks, strict=True)
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pictures: Tensor) -> Tensor:
        """Normalised pictures [n, frames, 3, H, W] -> [n, rows * columns, dim], row-major."""
        changes = _LOUDER * (pictures[:, 1:] - pictures[:, :-1])
        height, width = pictures.shape[-2:]
        y = torch.linspace(-1, 1, height, dtype=pictures.dtype, device=pictures.device)
        x = torch.linspace(-1, 1, width, dtype=pictures.dtype, device=pictures.device)
        room = (len(pictures), 1, height, width)
        places = y[:, None].expand(room), x.expand(room)
        out = torch.cat((pictures.flatten(1, 2), changes.flatten(1, 2), *places), 1)
        out = out.contiguous(memory_format=torch.channels_last)
        for down, blocks in zip(self.down, self.blocks, strict=True):
            out = blocks(functional.relu(down(out)))
        return out.flatten(2).transpose(1, 2)


class VisionAttention(nn.Module):
    def __init__(self, spec: VisionSpec) -> None:
        super().__init__()
        self.heads = spec.heads
        self.qkv = Linear(spec.dim, 3 * spec.dim)
        self.proj = Linear(spec.dim, spec.dim)

    def forward(
        self, x: Tensor, turn: Tensor, kinds: tuple[tuple[int, int], ...], residual: Tensor
    ) -> Tensor:
        """x [n, patches, dim], of which the patches of a window see each other."""
        parts = self.qkv(x).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.unbind(2)
        query, key = rotate(query, turn), rotate(key, turn)
        if len(kinds) == 1 and kinds[0][0] == 1:
            out = attention(query, key, value)
            return self.proj(out.flatten(2), residual=residual)
        outs, start = [], 0
        for windows, size in kinds:
            part = slice(start, start + windows * size)
            of_kind = (t[:, part].reshape(-1, size, *t.shape[2:]) for t in (query, key, value))
            outs.append(attention(*of_kind).reshape(len(x), windows * size, -1))
            start += windows * size
        out = torch.cat(outs, 1) if len(outs) > 1 else outs[0]
        return self.proj(out, residual=residual)


class VisionBlock(nn.Module):
    def __init__(self, spec: VisionSpec) -> None:
        super().__init__()
        self.norm1 = RMSNorm(spec.dim, _EPS)
        self.norm2 = RMSNorm(spec.dim, _EPS)
        self.attn = VisionAttention(spec)
        self.mlp = GatedMLP(spec.dim, spec.ffn_dim, bias=True, linear=Linear)

    def forward(self, x: Tensor, turn: Tensor, kinds: tuple[tuple[int, int], ...]) -> Tensor:
        x = self.attn(self.norm1(x), turn, kinds, residual=x)
        return self.mlp(self.norm2(x), residual=x)


class PatchMerger(nn.Module):
    """The patches of a token to one vector of the decoder's width."""

    def __init__(self, spec: VisionSpec) -> None:
        super().__init__()
        joined = spec.dim * spec.merge**2
        self.ln_q = RMSNorm(spec.dim, _EPS)
        self.mlp = nn.Sequential(Linear(joined, joined), nn.GELU(), Linear(joined, spec.out_dim))
        self.joined = joined

    def forward(self, x: Tensor) -> Tensor:
        """[n, patches, dim] -> [n, tokens, out_dim]."""
        return self.mlp(self.ln_q(x).reshape(len(x), -1, self.joined))


class VisionTower(nn.Module):
    """Pictures to the tokens that a decoder reads."""

    def __init__(self, spec: VisionSpec) -> None:
        super().__init__()
        self.spec = spec
        if spec.stem is None:
            self.patch_embed = PatchEmbed(spec)
        else:
            self.stem = VisionStem(spec, spec.stem)
        self.blocks = nn.ModuleList(VisionBlock(spec) for _ in range(spec.layers))
        self.merger = PatchMerger(spec)

    def forward(self, pictures: Tensor) -> tuple[Tensor, tuple[int, int, int]]:
        """Encode grids of pictures; grids do not see each other.

        Args:
            pictures: [n, frames, 3, H, W] in 0..1; sides are multiples of `spec.factor`.

        Returns:
            [n, h * w, out_dim], row-major; and (1, h, w).

        Raises:
            ValueError: sizes that the tower does not take.
        """
        spec = self.spec
        frames, channels, height, width = pictures.shape[1:]
        if frames != spec.frames or channels != 3 or height % spec.factor or width % spec.factor:
            raise ValueError(
                f"pictures of {frames} x {channels} x {height} x {width}; this tower takes "
                f"{spec.frames} x 3 x multiples of {spec.factor}"
            )
        grid = height // spec.factor, width // spec.factor
        weight = self.merger.ln_q.weight
        tiles = tiling(spec, grid, wide(weight.dtype), weight.device)
        normal = self._normal(pictures.to(weight.dtype))
        embed = self._patches(normal) if spec.stem is None else self.stem(normal)
        x = embed[:, tiles.order]
        whole = ((1, x.shape[1]),)
        for index, block in enumerate(self.blocks):
            x = block(x, tiles.turn, whole if index in spec.full_layers else tiles.kinds)
        return self.merger(x)[:, tiles.back], (1, *grid)

    def _normal(self, pictures: Tensor) -> Tensor:
        mean = pictures.new_tensor(self.spec.mean)[:, None, None]
        return (pictures - mean) * (1 / pictures.new_tensor(self.spec.std)[:, None, None])

    def _patches(self, normal: Tensor) -> Tensor:
        """[n, frames, 3, H, W] -> [n, patches, dim]."""
        size = self.spec.patch
        tiles = normal.unflatten(-1, (-1, size)).unflatten(-3, (-1, size))
        # [n, frames, 3, rows, size, columns, size] -> patches of (channel, frame, y, x)
        return self.patch_embed(tiles.permute(0, 3, 5, 2, 1, 4, 6).flatten(3).flatten(1, 2))
