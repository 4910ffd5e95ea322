"""How much memory a causal Wan model takes, told before anything is loaded. Imports no torch.

Every number follows from the specs: parameters of each layer, the memory of streams, what prompts
are read into. `weights`, `past` and `pictures` are exact; `work`, what is needed in passing while a
chunk is made, is a bound from above of the largest layers, held against what PyTorch allocates on a
CPU; workspace of the libraries below it is not counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from .specs import (
    TAEHV_WAN21,
    UMT5_XXL,
    WAN_VAE,
    AutoencoderName,
    DiTSpec,
    RingSpec,
    TAEHVSpec,
    WanVAESpec,
)

BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
PICTURES = 4
"""Of one latent frame."""
_SMALL_COPIES = 5
"""Whole activations of the small autoencoder's widest layer that live at once."""
_LARGE_COPIES = 12
"""The same of the large one: what its convolutions take and give, laid out anew on the way."""
_COLUMNS = 35
"""The same where a convolution over time is made of columns, 27 for each value: on a CPU, in types
for which it has no other way."""
_PLAIN = ("float32", "float64")
"""Those types."""
_COPIES = 8
"""Activations of a transformer's width that live at once beside those within its feed-forward
layer."""


@dataclass(slots=True)
class _Tally:
    """Sums over a network: parameters, and numbers remembered of one stream.

    Attributes:
        widest: most numbers of one activation, of four pictures.
    """

    parameters: int = 0
    memory: int = 0
    widest: int = 0


def estimate(
    spec: DiTSpec,
    size: tuple[int, int],
    sessions: int,
    steps: int,
    dtype: str,
    autoencoder: AutoencoderName,
    *,
    frames: int = 1,
    text_encoder: bool = True,
    cpu: bool = True,
    vae: WanVAESpec = WAN_VAE,
    taehv: TAEHVSpec = TAEHV_WAN21,
) -> dict[str, int]:
    """Bytes on the device by part: "weights", "past" (keys and values), "prompts", "pictures" (what
    the autoencoder remembers), "work" and "text encoder".

    Args:
        size: width and height of the pictures.
        sessions: streams that memory is made for.
        steps: noise levels, each with a past of its own; 1 for one shared past.
        frames: latent frames of a chunk.
        text_encoder: whether prompts are read on this device.
        cpu: whether the device is one.

    Raises:
        ValueError: a size that the model does not take, or an unknown dtype.
    """
    if dtype not in BYTES:
        raise ValueError(f"dtype {dtype!r} is not one of {', '.join(BYTES)}")
    each, (width, height) = BYTES[dtype], size
    tokens = spec.tokens(height // 8, width // 8)
    rows = sessions * steps
    encoder, decoder = _coder(autoencoder, height, width, vae, taehv)
    parameters = dit_parameters(spec) + encoder.parameters + decoder.parameters
    reading = 2 * spec.layers * spec.text_len * spec.dim * each
    latents = 2 * rows * frames * spec.in_channels * (height // 8) * (width // 8)
    large = _COLUMNS if cpu and dtype in _PLAIN else _LARGE_COPIES
    copies = _SMALL_COPIES if autoencoder == "taehv" else large
    coding = copies * sessions * frames * max(encoder.widest, decoder.widest) * each
    parts = {
        "weights": parameters * each,
        "past": ring_bytes(spec, spec.ring, rows, tokens, frames, each) + latents * each,
        # Each of its own, and once more joined for a batch of different ones.
        "prompts": reading * (sessions + (rows if sessions > 1 else 0)),
        "pictures": sessions * (encoder.memory + decoder.memory) * each,
        "work": max(forward_bytes(spec, rows, tokens, frames, each), coding),
        "text encoder": _reading_bytes() if text_encoder else 0,
    }
    return {name: count for name, count in parts.items() if count}


def told(parts: Mapping[str, int]) -> str:
    """An estimate in words: "5.1 GB (weights 2.8, past 1.6, ..)"."""
    each = ", ".join(f"{name} {count / 1e9:.1f}" for name, count in parts.items())
    return f"{sum(parts.values()) / 1e9:.1f} GB ({each})"


def _reading_bytes() -> int:
    """Of the text encoder, which visits the device block by block, in bfloat16; two of them."""
    spec = UMT5_XXL
    block = 4 * spec.dim * spec.heads * spec.head_dim + 3 * spec.dim * spec.ffn_dim
    return 2 * block * BYTES["bfloat16"]


def dit_parameters(spec: DiTSpec) -> int:
    """Of a `CausalDiT` without a stem."""
    if spec.stem is not None:
        raise ValueError("a model with a stem is not counted here")
    dim, ffn = spec.dim, spec.ffn_dim
    patch = spec.patch[0] * spec.patch[1] * spec.patch[2]
    channels = spec.in_channels + spec.cond_channels
    attention = 4 * _linear(dim, dim) + 2 * dim
    block = 6 * dim + 2 * attention + 2 * dim + _linear(dim, ffn) + _linear(ffn, dim)
    head = 2 * dim + _linear(dim, spec.out_channels * patch)
    outside = (
        _linear(channels * patch, dim)
        + _linear(spec.text_dim, dim)
        + _linear(dim, dim)
        + _linear(spec.freq_dim, dim)
        + _linear(dim, dim)
        + _linear(dim, 6 * dim)
    )
    return outside + spec.layers * block + head


def forward_bytes(spec: DiTSpec, rows: int, tokens: int, frames: int, each: int) -> int:
    """Of a forward of a `CausalDiT` in passing: a feed-forward layer before and after its bend, and
    the sines of all places in the ring, which are kept in 32 bits."""
    slots = spec.ring.sinks + spec.ring.window + frames
    sines = 2 * 4 * rows * slots * tokens * spec.head_dim
    return rows * tokens * frames * (2 * spec.ffn_dim + _COPIES * spec.dim) * each + sines


def ring_bytes(
    spec: DiTSpec, ring: RingSpec, rows: int, tokens: int, frames: int, each: int
) -> int:
    """Of a `KVRing`: keys and values, and its counters."""
    slots = ring.sinks + ring.window + frames
    numbers = 2 * spec.layers * rows * slots * tokens * spec.dim
    # Codes of a byte, and four bytes for the scale of each head.
    held = numbers * each if ring.store == "plain" else numbers + 4 * numbers // spec.head_dim
    return held + 8 * rows * (1 + ring.sinks)


def _linear(inner: int, outer: int, kernel: int = 1) -> int:
    return inner * outer * kernel + outer


# -- autoencoders -------------------------------------------------------------------------------


def _coder(
    name: AutoencoderName, height: int, width: int, vae: WanVAESpec, taehv: TAEHVSpec
) -> tuple[_Tally, _Tally]:
    """Encoder and decoder. The large one is loaded whole, though only half of it may run."""
    large = (_Large(vae, height, width).encoder(), _Large(vae, height, width).decoder())
    small = _small(taehv, height, width)
    if name == "wan":
        return large
    if name == "taehv":
        return small
    decoder = _Tally(
        small[1].parameters + small[0].parameters + large[1].parameters,
        small[1].memory,
        small[1].widest,
    )
    return large[0], decoder


@dataclass(slots=True)
class _Large:
    """Walks through a `WanVAE`, layer by layer."""

    spec: WanVAESpec
    height: int
    width: int
    tally: _Tally = field(default_factory=_Tally)
    frames: int = PICTURES

    def encoder(self) -> _Tally:
        widths = [self.spec.width * times for times in (1, *self.spec.multipliers)]
        self.conv(self.spec.image_channels, widths[0])
        for level, (before, width) in enumerate(zip(widths, widths[1:], strict=False)):
            self.residual(before, width)
            for _ in range(self.spec.blocks - 1):
                self.residual(width, width)
            if level < len(self.spec.merges):
                self.down(width, self.spec.merges[level])
        self.middle(widths[-1])
        self.end(widths[-1], 2 * self.spec.latent_channels)
        self.tally.parameters += _linear(*[2 * self.spec.latent_channels] * 2)
        return self.tally

    def decoder(self) -> _Tally:
        for merge in self.spec.merges:
            self.height, self.width = self.height // 2, self.width // 2
            self.frames = self.frames // 2 if merge else self.frames
        channels = self.spec.latent_channels
        widths = [self.spec.width * times for times in reversed(self.spec.multipliers)]
        self.tally.parameters += _linear(channels, channels)
        self.conv(channels, widths[0])
        self.middle(widths[0])
        before = widths[0]
        for level, width in enumerate(widths):
            self.residual(before, width)
            for _ in range(self.spec.blocks):
                self.residual(width, width)
            if level < len(self.spec.merges):
                self.up(width, self.spec.merges[-1 - level])
                before = width // 2
        self.end(widths[-1], self.spec.image_channels)
        return self.tally

    def conv(self, inner: int, outer: int, kernel: int = 27, kept: int = 2) -> None:
        area = self.height * self.width
        self.tally.parameters += _linear(inner, outer, kernel)
        self.tally.memory += kept * area * inner
        self.tally.widest = max(self.tally.widest, self.frames * area * max(inner, outer))

    def residual(self, inner: int, outer: int) -> None:
        self.tally.parameters += inner + outer
        self.conv(inner, outer)
        self.conv(outer, outer)
        if inner != outer:
            self.tally.parameters += _linear(inner, outer)

    def middle(self, width: int) -> None:
        self.residual(width, width)
        self.tally.parameters += width + _linear(width, 3 * width) + _linear(width, width)
        self.residual(width, width)

    def end(self, width: int, outer: int) -> None:
        self.tally.parameters += width
        self.conv(width, outer)

    def down(self, width: int, in_time: bool) -> None:
        self.tally.parameters += _linear(width, width, 9)
        self.height, self.width = self.height // 2, self.width // 2
        if in_time:
            self.conv(width, width, 3, kept=1)
            self.frames //= 2

    def up(self, width: int, in_time: bool) -> None:
        if in_time:
            self.conv(width, 2 * width, 3)
            self.frames *= 2
        self.height, self.width = 2 * self.height, 2 * self.width
        self.tally.parameters += _linear(width, width // 2, 9)


def _small(spec: TAEHVSpec, height: int, width: int) -> tuple[_Tally, _Tally]:
    """Encoder and decoder of a `TAEHV`."""
    wide, levels = spec.encoder_width, len(spec.encoder_strides)
    encoder, decoder = _Tally(), _Tally()
    encoder.parameters = _linear(spec.image_channels, wide, 9)
    encoder.parameters += _linear(wide, spec.latent_channels, 9)
    encoder.widest = PICTURES * height * width * wide
    for level, merged in enumerate(spec.encoder_strides, 1):
        area = (height >> level) * (width >> level)
        encoder.parameters += merged * wide * wide + 9 * wide * wide
        encoder.parameters += spec.blocks * _memory_block(wide)
        encoder.memory += spec.blocks * area * wide
    widths = spec.decoder_widths
    decoder.parameters = _linear(spec.latent_channels, widths[0], 9)
    decoder.parameters += _linear(widths[-1], spec.image_channels, 9)
    decoder.widest = PICTURES * height * width * max(widths[-2:])
    for (level, grown), (inner, outer) in zip(
        enumerate(spec.decoder_strides), _pairs(widths), strict=True
    ):
        area = (height >> levels - level) * (width >> levels - level)
        decoder.parameters += grown * inner * inner + 9 * inner * outer
        decoder.parameters += spec.blocks * _memory_block(inner)
        decoder.memory += spec.blocks * area * inner
    return encoder, decoder


def _memory_block(width: int) -> int:
    return _linear(2 * width, width, 9) + 2 * _linear(width, width, 9)


def _pairs(widths: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    return zip(widths, widths[1:], strict=False)
