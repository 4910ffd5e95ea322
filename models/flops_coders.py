"""What the autoencoders cost, counted from their specs. This file imports no torch.

Of a chunk in the middle of a stream; see `flops` for what is counted and what is not.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .flops import Cost, Tally
from .specs import AutoencoderSpec, TAEHVSpec, WanVAESpec

PICTURES = 4
"""Of one latent frame of the video autoencoders."""
IMAGE = 3
Size = tuple[int, int]
"""Height and width of the pictures."""


@dataclass(slots=True)
class _Walk:
    """Goes through a network, layer by layer, over frames of a size that changes on the way.

    Attributes:
        memory: numbers of a stream's memory that are read and written.
    """

    height: int
    width: int
    frames: int
    tally: Tally = field(default_factory=Tally)
    memory: int = 0

    @property
    def positions(self) -> int:
        return self.frames * self.height * self.width

    def conv(
        self, inner: int, outer: int, kernel: int = 9, bias: bool = True, kept: int = 0
    ) -> None:
        """Of so many taps; `kept` frames of its input are remembered."""
        self.tally.layer("convolutions", inner * kernel, outer, self.positions, bias)
        self.memory += 2 * kept * self.height * self.width * inner

    def scale(self, down: int = 1, up: int = 1) -> None:
        self.height, self.width = self.height * up // down, self.width * up // down

    def cost(self, rows: int, each: int, passing: int) -> Cost:
        self.tally.parts = {kind: rows * flops for kind, flops in self.tally.parts.items()}
        return self.tally.cost(each, rows * self.memory, rows * passing)


def _passing(size: Size, frames: int, stride: int, pictures: int, channels: int) -> int:
    cells = (size[0] // stride) * (size[1] // stride)
    return frames * (pictures * IMAGE * size[0] * size[1] + channels * cells)


# -- the tiny autoencoder of large models -------------------------------------------------------


def taehv_encode(spec: TAEHVSpec, size: Size, frames: int, each: int, rows: int = 1) -> Cost:
    """`TAEHV.encode` of the pictures of `frames` latent frames."""
    walk, wide = _Walk(*size, PICTURES * frames), spec.encoder_width
    walk.conv(spec.image_channels, wide)
    for merged in spec.encoder_strides:
        walk.frames //= merged
        walk.conv(merged * wide, wide, 1, bias=False)
        walk.scale(down=2)
        walk.conv(wide, wide, bias=False)
        _memory_blocks(walk, wide, spec.blocks)
    walk.conv(wide, spec.latent_channels)
    return walk.cost(rows, each, _passing(size, frames, 8, PICTURES, spec.latent_channels))


def taehv_decode(spec: TAEHVSpec, size: Size, frames: int, each: int, rows: int = 1) -> Cost:
    """`TAEHV.decode` of `frames` latent frames."""
    widths = spec.decoder_widths
    walk = _Walk(size[0] // 8, size[1] // 8, frames)
    walk.conv(spec.latent_channels, widths[0])
    for grown, inner, outer in zip(spec.decoder_strides, widths, widths[1:], strict=False):
        _memory_blocks(walk, inner, spec.blocks)
        walk.conv(inner, grown * inner, 1, bias=False)
        walk.scale(up=2)
        walk.frames *= grown
        walk.conv(inner, outer, bias=False)
    walk.conv(widths[-1], spec.image_channels)
    return walk.cost(rows, each, _passing(size, frames, 8, PICTURES, spec.latent_channels))


def _memory_blocks(walk: _Walk, width: int, count: int) -> None:
    for _ in range(count):
        walk.conv(2 * width, width)
        walk.conv(width, width)
        walk.conv(width, width)
        # One frame of `width` channels, kept and read again.
        walk.memory += 2 * walk.height * walk.width * width


# -- the large one ------------------------------------------------------------------------------


def wan_encode(spec: WanVAESpec, size: Size, frames: int, each: int, rows: int = 1) -> Cost:
    """`WanVAE.encode` of the pictures of `frames` latent frames."""
    widths = [spec.width * times for times in (1, *spec.multipliers)]
    walk = _Walk(*size, PICTURES * frames)
    walk.conv(spec.image_channels, widths[0], 27, kept=2)
    for level, (before, width) in enumerate(zip(widths, widths[1:], strict=False)):
        _residual(walk, before, width)
        for _ in range(spec.blocks - 1):
            _residual(walk, width, width)
        if level < len(spec.merges):
            walk.scale(down=2)
            walk.conv(width, width)
            if spec.merges[level]:
                walk.frames //= 2
                walk.conv(width, width, 3, kept=1)
    _middle(walk, widths[-1])
    _end(walk, widths[-1], 2 * spec.latent_channels)
    # The means alone are asked for.
    walk.conv(2 * spec.latent_channels, spec.latent_channels, 1)
    return walk.cost(rows, each, _passing(size, frames, 8, PICTURES, spec.latent_channels))


def wan_decode(spec: WanVAESpec, size: Size, frames: int, each: int, rows: int = 1) -> Cost:
    """`WanVAE.decode` of `frames` latent frames."""
    widths = [spec.width * times for times in reversed(spec.multipliers)]
    stride = 2 ** len(spec.merges)
    walk = _Walk(size[0] // stride, size[1] // stride, frames)
    walk.conv(spec.latent_channels, spec.latent_channels, 1)
    walk.conv(spec.latent_channels, widths[0], 27, kept=2)
    _middle(walk, widths[0])
    before = widths[0]
    for level, width in enumerate(widths):
        _residual(walk, before, width)
        for _ in range(spec.blocks):
            _residual(walk, width, width)
        if level < len(spec.merges):
            if spec.merges[-1 - level]:
                walk.conv(width, 2 * width, 3, kept=2)
                walk.frames *= 2
            walk.scale(up=2)
            walk.conv(width, width // 2)
            before = width // 2
    _end(walk, widths[-1], spec.image_channels)
    return walk.cost(rows, each, _passing(size, frames, 8, PICTURES, spec.latent_channels))


def _residual(walk: _Walk, inner: int, outer: int) -> None:
    walk.tally.weights += inner + outer
    walk.conv(inner, outer, 27, kept=2)
    walk.conv(outer, outer, 27, kept=2)
    if inner != outer:
        walk.conv(inner, outer, 1)


def _middle(walk: _Walk, width: int) -> None:
    _residual(walk, width, width)
    walk.tally.weights += width
    walk.conv(width, 3 * width, 1)
    walk.tally.add("attention", 4 * walk.positions * walk.height * walk.width * width)
    walk.conv(width, width, 1)
    _residual(walk, width, width)


def _end(walk: _Walk, width: int, outer: int) -> None:
    walk.tally.weights += width
    walk.conv(width, outer, 27, kept=2)


# -- the embedded one ---------------------------------------------------------------------------


def patch_encode(spec: AutoencoderSpec, size: Size, frames: int, each: int, rows: int = 1) -> Cost:
    """`PatchAutoencoder.encode` of so many pictures."""
    walk = _Walk(size[0] // 4, size[1] // 4, frames)
    walk.conv(16 * IMAGE, spec.fine_width)
    _conv_blocks(walk, spec.fine_width, spec.encoder_fine_blocks)
    walk.scale(down=2)
    walk.conv(4 * spec.fine_width, spec.coarse_width, 1)
    _conv_blocks(walk, spec.coarse_width, spec.encoder_coarse_blocks)
    walk.conv(spec.coarse_width, spec.channels, 1)
    walk.conv(64 * IMAGE, spec.channels, 1, bias=False)
    return walk.cost(rows, each, _passing(size, frames, 8, 1, spec.channels))


def patch_decode(spec: AutoencoderSpec, size: Size, frames: int, each: int, rows: int = 1) -> Cost:
    """`PatchAutoencoder.decode` of so many latent frames."""
    walk, wide = _Walk(size[0] // 8, size[1] // 8, frames), spec.coarse_width
    walk.conv(spec.channels, 64 * IMAGE, 1, bias=False)
    walk.conv(spec.channels, wide)
    walk.conv(wide, wide)
    walk.conv(wide, wide, 1, bias=False)
    walk.conv(wide, wide, 1)
    walk.memory += 2 * walk.height * walk.width * wide
    _conv_blocks(walk, wide, spec.decoder_coarse_blocks)
    walk.conv(wide, 4 * spec.fine_width, 1)
    walk.scale(up=2)
    _conv_blocks(walk, spec.fine_width, spec.decoder_fine_blocks)
    walk.conv(spec.fine_width, 16 * IMAGE)
    return walk.cost(rows, each, _passing(size, frames, 8, 1, spec.channels))


def _conv_blocks(walk: _Walk, width: int, count: int) -> None:
    for _ in range(count):
        walk.conv(width, width)
        walk.conv(width, width, 1)
