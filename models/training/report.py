"""Writes what was measured of the shipped model: figures, losses and pictures to judge by eye."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from ... import assets
from ..text import load_prompt_encoder
from ..tiny import PROMPTS, STYLES, load_tiny
from .clips import held_out_clip
from .evaluate import Runner, Score, one_hot, score, table
from .export import LICENCE, ORIGIN, register
from .pictures import save_grid, save_picture
from .prompts import score as score_prompts
from .styles import STYLES as FILTERS
from .stylizer import PHASES

FRAMES = 8
SIZE = 256


def write_report(folder: Path) -> None:
    """Measure the weights in `assets/`; write the report, the grid and the style buttons there."""
    model = load_tiny()
    runner = Runner(model, model.autoencoder)
    scores = [score(runner, index, FRAMES, SIZE) for index in range(len(STYLES))]
    prompts = score_prompts(load_prompt_encoder(assets.path(PROMPTS)))
    figures = {
        "frames": FRAMES,
        "size": SIZE,
        "styles": [asdict(s) for s in scores],
        "prompts": {"top1": prompts.top1, "error": prompts.error},
        "losses": {name: last_losses(folder / name) for name in ("autoencoder", *PHASES)},
    }
    (assets.FOLDER / "training_report.json").write_text(json.dumps(figures, indent=1) + "\n")
    (assets.FOLDER / "training_report.md").write_text(text(scores, figures))
    draw_grid(runner, assets.FOLDER / "training_grid.jpg")
    draw_buttons(runner)
    for name in ("training_report.json", "training_report.md", "training_grid.jpg"):
        register(assets.FOLDER / name, LICENCE, "", ORIGIN)


def last_losses(folder: Path) -> dict[str, float]:
    """Mean of each loss over the last fifty log lines of a stage."""
    log = folder / "log.jsonl"
    if not log.exists():
        return {}
    lines = [json.loads(line) for line in log.read_text().splitlines()][-50:]
    names = sorted({name for line in lines for name in line} - {"step"})
    means = {}
    for name in names:
        values = [line[name] for line in lines if name in line]
        means[name] = round(sum(values) / len(values), 5)
    return {"steps": lines[-1]["step"] + 1, **means} if lines else {}


def text(scores: list[Score], figures: dict[str, object]) -> str:
    """The report in words."""
    past = [s for s in scores if s.needs_past]
    gains = ", ".join(
        f"{s.style} {s.psnr['1'] - s.psnr['1_off']:+.1f} dB at 1 step, "
        f"{s.psnr['2'] - s.psnr['2_off']:+.1f} dB at 2"
        for s in past
    )
    return f"""# The embedded video model: what it learned

A small model that learned a fixed set of looks from classical filters; it is the place where a
large one goes. Figures are on photographs that were never trained on (astronaut, coffee): pans,
zooms, still shots with sensor noise of sigma 0.03 and bright things crossing, {FRAMES} frames of
{SIZE}x{SIZE} each, against the filter's own output on the clean clip. Made by
`python -m millrace.models.training report`.

{table(scores)}

`*` needs the past. PSNR in dB; flicker and warp error in 1/255 (still noisy source; exact pan).

What the cache is worth where the past is needed: {gains}.

Prompts: {figures["prompts"]} on held-out, hand-written prompts.

Losses at the end of each stage: {figures["losses"]}

`training_grid.jpg`: for each style the filter's output above the model's, one step, on held-out
clips.
"""


@torch.inference_mode()
def draw_grid(runner: Runner, path: Path) -> None:
    """Rows of (filter, model) pairs: a style a column, on two held-out clips."""
    rows = []
    for name, kind in (("astronaut", "objects"), ("coffee", "pan")):
        clip = held_out_clip(name, kind, 8, SIZE)
        above, below = [], []
        for index, style in enumerate(FILTERS):
            above.append(style.filter(clip.clean)[0, -1].clamp(0, 1))
            below.append(runner.run(clip.source, one_hot(index), 1)[0, -1])
        rows += [above[:8], below[:8], above[8:], below[8:]]
    save_grid(rows, path)


@torch.inference_mode()
def draw_buttons(runner: Runner) -> None:
    """`style_NAME.jpg`, what the model makes of one held-out photograph, for the page's presets."""
    clip = held_out_clip("astronaut", "objects", 8, SIZE)
    for index, name in enumerate(STYLES):
        path = assets.FOLDER / f"style_{name}.jpg"
        save_picture(_thumbnail(runner.run(clip.source, one_hot(index), 1)[0, -1]), path)
        register(path, LICENCE, "photograph: astronaut, NASA, public domain", ORIGIN)


def _thumbnail(picture: Tensor) -> Tensor:
    small = torch.nn.functional.interpolate(picture[None], size=(112, 112), mode="area")
    return small[0]
