"""Sizes of the vision-language models, as plain data. This file imports no torch.

The numbers of the released models are those of their `config.json` (Qwen2.5-VL, arXiv 2502.13923).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VisionStemSpec:
    """Convolutions in the place of the tower's patch embedding: each stage halves the picture.

    Shapes, and what changed between two pictures, are learnt from far fewer examples so.

    Attributes:
        widths: channels of the stages; the last is the tower's `dim`.
        blocks: residual blocks after each.
    """

    widths: tuple[int, ...]
    blocks: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.blocks):
            raise ValueError(f"{len(self.widths)} widths of stages, {len(self.blocks)} of blocks")


@dataclass(frozen=True, slots=True)
class VisionSpec:
    """Dimensions of a `VisionTower`.

    Attributes:
        dim, ffn_dim, heads, layers: width, MLP width, attention heads, blocks.
        patch: pixels of a patch, each way.
        frames: pictures that one temporal grid takes (the temporal patch).
        merge: patches of a token, each way.
        window: pixels of an attention window, each way.
        full_layers: blocks that attend over the whole picture.
        out_dim: width of the tokens that it gives, the text model's.
        mean, std: of each colour channel of a picture in 0..1.
        min_pixels, max_pixels: of a picture as the model sees it.
        per_second: grids of a second of live video; each spans 1 / per_second seconds.
        carried: how many of the `frames` of a grid are the newest ones of the time before its turn
            (0 for the released sizes): looks overlap by these.
        stem: convolutions instead of the patch embedding, or None for the released architecture.
    """

    dim: int
    ffn_dim: int
    heads: int
    layers: int
    patch: int
    frames: int
    merge: int
    window: int
    full_layers: tuple[int, ...]
    out_dim: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    min_pixels: int
    max_pixels: int
    per_second: float
    carried: int = 0
    stem: VisionStemSpec | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.carried < self.frames:
            raise ValueError(
                f"carried {self.carried} must be 0 .. {self.frames - 1}: a turn shows new frames"
            )
        if self.stem and (self.stem.widths[-1], 2 ** len(self.stem.widths)) != (
            self.dim,
            self.patch,
        ):
            raise ValueError(f"stages {self.stem.widths} do not end at {self.dim} x {self.patch}")

    @property
    def factor(self) -> int:
        """Sides of a picture are multiples of this."""
        return self.patch * self.merge


@dataclass(frozen=True, slots=True)
class TextSpec:
    """Dimensions of a `Decoder`.

    Attributes:
        dim, ffn_dim, layers: width, MLP width, blocks.
        heads, kv_heads, head_dim: of attention; `heads` share `kv_heads` in groups.
        vocab: tokens.
        tied: the output layer is the embedding.
        rope_theta: base of the rotary frequencies.
        rope_sections: rotary pairs of the time, height and width axes; they add up to head_dim / 2.
        eps: of all normalisations.
        tokens_per_second: steps on the time axis of one second between two grids of one turn.
    """

    dim: int
    ffn_dim: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied: bool
    rope_theta: float
    rope_sections: tuple[int, int, int]
    eps: float
    tokens_per_second: float

    def __post_init__(self) -> None:
        if 2 * sum(self.rope_sections) != self.head_dim:
            raise ValueError(
                f"rope_sections {self.rope_sections} must add up to half of {self.head_dim}"
            )
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads do not share {self.kv_heads} evenly")


@dataclass(frozen=True, slots=True)
class VLSpec:
    """A vision-language model: a tower whose tokens a decoder reads among its words."""

    name: str
    vision: VisionSpec
    text: TextSpec

    def __post_init__(self) -> None:
        if self.vision.out_dim != self.text.dim:
            raise ValueError(f"out_dim {self.vision.out_dim} is not the decoder's {self.text.dim}")


_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

TINY_VL = VLSpec(
    name="tiny",
    vision=VisionSpec(
        dim=192,
        ffn_dim=384,
        heads=6,
        layers=1,
        patch=16,
        frames=4,
        merge=2,
        window=64,
        full_layers=(0,),
        out_dim=192,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        min_pixels=96 * 96,
        max_pixels=128 * 128,
        per_second=1.0,
        carried=2,
        stem=VisionStemSpec(widths=(32, 48, 96, 192), blocks=(0, 1, 1, 1)),
    ),
    text=TextSpec(
        dim=192,
        ffn_dim=512,
        layers=4,
        heads=6,
        kv_heads=2,
        head_dim=32,
        vocab=640,
        tied=True,
        rope_theta=10_000.0,
        rope_sections=(8, 4, 4),
        eps=1e-6,
        tokens_per_second=2.0,
    ),
)


def _qwen_vision(out_dim: int) -> VisionSpec:
    """The tower of all sizes of Qwen2.5-VL, whose last layer alone differs."""
    return VisionSpec(
        dim=1280,
        ffn_dim=3420,
        heads=16,
        layers=32,
        patch=14,
        frames=2,
        merge=2,
        window=112,
        full_layers=(7, 15, 23, 31),
        out_dim=out_dim,
        mean=_CLIP_MEAN,
        std=_CLIP_STD,
        min_pixels=100 * 28 * 28,
        max_pixels=768 * 28 * 28,
        per_second=1.0,
    )


QWEN2_5_VL_3B = VLSpec(
    name="qwen2.5-vl-3b",
    vision=_qwen_vision(2048),
    text=TextSpec(
        dim=2048,
        ffn_dim=11008,
        layers=36,
        heads=16,
        kv_heads=2,
        head_dim=128,
        vocab=151936,
        tied=True,
        rope_theta=1e6,
        rope_sections=(16, 24, 24),
        eps=1e-6,
        tokens_per_second=2.0,
    ),
)

QWEN2_5_VL_7B = VLSpec(
    name="qwen2.5-vl-7b",
    vision=_qwen_vision(3584),
    text=TextSpec(
        dim=3584,
        ffn_dim=18944,
        layers=28,
        heads=28,
        kv_heads=4,
        head_dim=128,
        vocab=152064,
        tied=False,
        rope_theta=1e6,
        rope_sections=(16, 24, 24),
        eps=1e-6,
        tokens_per_second=2.0,
    ),
)

RELEASED = {spec.name: spec for spec in (QWEN2_5_VL_3B, QWEN2_5_VL_7B)}
"""Sizes that are published; the StreamingVLM checkpoint has the second one."""
