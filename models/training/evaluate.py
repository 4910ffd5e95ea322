"""Measures the video model against the filters that it imitates, on photographs never trained on.

All runs go through `forward_clip`, which equals the streaming run (tests/models/test_dit.py).
Pictures are bfloat16 or float32 as the module is; figures are on 8-bit-like 0..1 pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

from ..autoencoder import PatchAutoencoder
from ..steady import steady, steady_state
from ..video import VideoModel
from .clips import held_out_clip
from .photos import heldout_photos
from .styles import STYLES, Style
from .stylizer import Stylizer, renoise

SIGMAS = (0.8, 0.5)
"""Noise levels that are measured: the entry level and the second step's."""
WARM = 2
"""Frames at the start of a clip that figures leave out, the cache being empty then."""


@dataclass(frozen=True, slots=True)
class Score:
    """One style's figures. PSNR in dB over held-out clips; errors in 1/255.

    psnr: {"1": ..., "2": ..., "1_off": ..., "2_off": ...} by steps, cache on or off.
    flicker, warp: mean absolute change between frames of a still noisy source, and along the
        known motion of an exact pan, by steps; `filter_flicker`, `filter_warp` are the filter's.
    """

    style: str
    needs_past: bool
    psnr: dict[str, float]
    flicker: dict[str, float]
    filter_flicker: float
    warp: dict[str, float]
    filter_warp: float
    ceiling: float
    """PSNR of the autoencoder alone on the filter's output."""


def psnr(a: Tensor, b: Tensor) -> float:
    """Mean over frames of 10 log10(1 / mse)."""
    mse = (a - b).square().flatten(-3).mean(-1).clamp(min=1e-10)
    return float((-10 * mse.log10()).mean())


def ssim(a: Tensor, b: Tensor) -> float:
    """Mean structural similarity of pictures [..., 3, H, W] in 0..1, each colour by itself.

    Wang, Bovik, Sheikh, Simoncelli (2004), section III-B: a Gaussian window of 11 pixels with sigma
    1.5, K1 = 0.01, K2 = 0.03; the border that the window does not fit into is left out.
    """
    places = torch.arange(11, dtype=a.dtype, device=a.device) - 5
    window = torch.exp(-places.square() / (2 * 1.5**2))
    window = window / window.sum()
    a, b = (part.reshape(-1, 1, *part.shape[-2:]) for part in (a, b))

    def mean(x: Tensor) -> Tensor:
        return functional.conv2d(
            functional.conv2d(x, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1)
        )

    ma, mb = mean(a), mean(b)
    va, vb, cov = mean(a * a) - ma * ma, mean(b * b) - mb * mb, mean(a * b) - ma * mb
    c1, c2 = 0.01**2, 0.03**2
    found = (2 * ma * mb + c1) * (2 * cov + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2))
    return float(found.mean())


class Runner:
    """Runs the model over clips as the engine would, at one or two steps."""

    def __init__(
        self, model: Stylizer | VideoModel, autoencoder: PatchAutoencoder, seed: int = 0
    ) -> None:
        self.dit, self.bank, self.autoencoder, self.seed = model.dit, model.bank, autoencoder, seed
        self.dtype = next(model.parameters()).dtype
        self.device = next(model.parameters()).device

    @torch.inference_mode()
    def run(self, source: Tensor, mix: Tensor, steps: int, cache: bool = True) -> Tensor:
        """source [1, T, 3, H, W], mix [1, K] -> pictures of the same shape, clamped to 0..1."""
        generator = torch.Generator(device=self.device).manual_seed(self.seed)
        cond = self.autoencoder.encode(source.to(self.dtype))
        shape = (cond.shape[2], cond.shape[3], cond.shape[4])
        cond = steady(cond, steady_state(1, shape, self.device, self.dtype))
        context = torch.einsum("bk,kld->bld", mix.to(self.bank), self.bank)
        clean = cond
        for sigma in SIGMAS[:steps]:
            level = torch.full((1, source.shape[1]), sigma, device=self.device)
            x = renoise(clean.float(), level, generator).to(self.dtype)
            clean = self.dit.forward_clip(x, level * 1000, context, cond, cache=cache)
        return self.decode(clean)

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        height, width = 8 * latents.shape[-2], 8 * latents.shape[-1]
        state = self.autoencoder.init_state(1, height, width, self.device, self.dtype)
        every = torch.ones(1, dtype=torch.bool, device=self.device)
        return self.autoencoder.decode(latents, state, every).float().clamp(0, 1)

    def round_trip(self, pictures: Tensor) -> Tensor:
        with torch.inference_mode():
            return self.decode(self.autoencoder.encode(pictures.to(self.dtype)))


def one_hot(style: int) -> Tensor:
    return torch.nn.functional.one_hot(torch.tensor([style]), len(STYLES)).float()


def exact_pan(name: str, frames: int, size: int, step: int = 2) -> Tensor:
    """[1, T, 3, size, size]: a held-out photograph panned by whole pixels: each frame is the one
    before shifted by exactly `step`."""
    side = size + step * frames
    photo = held_out_clip(name, "still", 1, (side + 7) // 8 * 8).clean[0, 0]
    views = [photo[:, :size, step * t : step * t + size] for t in range(frames)]
    return torch.stack(views)[None]


def flicker(clip: Tensor) -> float:
    """Mean absolute change between frames, in 1/255."""
    return 255 * float((clip[:, 1:] - clip[:, :-1]).abs().mean())


def warp_error(clip: Tensor, step: int = 2, border: int = 16) -> float:
    """Mean absolute difference between each frame and the one before moved along an exact pan."""
    inner = slice(border, -border)
    moved = clip[:, :-1, :, inner, border + step : -border]
    now = clip[:, 1:, :, inner, border : -border - step]
    return 255 * float((now - moved).abs().mean())


def score(runner: Runner, index: int, frames: int, size: int) -> Score:
    """All figures of one style."""
    style: Style = STYLES[index]
    mix = one_hot(index)
    names = [photo.name for photo in heldout_photos()]
    sums: dict[str, list[float]] = {"1": [], "2": [], "1_off": [], "2_off": [], "ceiling": []}
    for name in names:
        for kind in ("pan", "zoom", "objects", "still"):
            clip = held_out_clip(name, kind, frames, size)
            target = style.filter(clip.clean).clamp(0, 1)
            for steps in (1, 2):
                for cache in (True, False):
                    out = runner.run(clip.source, mix, steps, cache)
                    key = str(steps) + ("" if cache else "_off")
                    sums[key].append(psnr(out[:, WARM:], target[:, WARM:]))
            sums["ceiling"].append(psnr(runner.round_trip(target)[:, WARM:], target[:, WARM:]))
    still = held_out_clip(names[0], "still", frames, size).source
    pan = exact_pan(names[0], frames, size)
    runs = {str(n): runner.run(still, mix, n)[:, WARM:] for n in (1, 2)}
    pans = {str(n): runner.run(pan, mix, n)[:, WARM:] for n in (1, 2)}
    mean = {key: round(sum(v) / len(v), 2) for key, v in sums.items()}
    return Score(
        style=style.name,
        needs_past=style.needs_past,
        psnr={key: mean[key] for key in ("1", "2", "1_off", "2_off")},
        flicker={key: round(flicker(v), 2) for key, v in runs.items()},
        filter_flicker=round(flicker(style.filter(still).clamp(0, 1)[:, WARM:]), 2),
        warp={key: round(warp_error(v), 2) for key, v in pans.items()},
        filter_warp=round(warp_error(style.filter(pan).clamp(0, 1)[:, WARM:]), 2),
        ceiling=mean["ceiling"],
    )


def table(scores: list[Score]) -> str:
    """The figures as a Markdown table with a row of means."""
    head = (
        "| style | PSNR 1 step | 2 steps | 1 step, cache off | 2 steps, cache off | autoencoder "
        "| flicker 1 / 2 / filter | warp error 1 / 2 / filter |\n|---|---|---|---|---|---|---|---|"
    )
    lines = [head]
    for s in scores:
        name = s.style + (" *" if s.needs_past else "")
        lines.append(
            f"| {name} | {s.psnr['1']:.1f} | {s.psnr['2']:.1f} | {s.psnr['1_off']:.1f} "
            f"| {s.psnr['2_off']:.1f} | {s.ceiling:.1f} "
            f"| {s.flicker['1']:.1f} / {s.flicker['2']:.1f} / {s.filter_flicker:.1f} "
            f"| {s.warp['1']:.1f} / {s.warp['2']:.1f} / {s.filter_warp:.1f} |"
        )
    keys = ("1", "2", "1_off", "2_off")
    means = [math.fsum(s.psnr[key] for s in scores) / len(scores) for key in keys]
    lines.append("| **mean** | " + " | ".join(f"**{m:.1f}**" for m in means) + " | | | |")
    return "\n".join(lines)
