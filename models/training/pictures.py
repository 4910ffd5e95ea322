"""Pictures to look at, through Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor


def save_picture(picture: Tensor, path: Path) -> None:
    """[3, H, W] in 0..1 as the file type of `path`."""
    array = picture.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(array).save(path, quality=88)


def save_grid(rows: Sequence[Sequence[Tensor]], path: Path) -> None:
    """Rows of equally large [3, H, W] pictures; short rows are filled with black."""
    columns = max(len(row) for row in rows)
    blank = torch.zeros_like(rows[0][0])
    lines = [torch.cat([*row, *[blank] * (columns - len(row))], 2) for row in rows]
    save_picture(torch.cat(lines, 1), path)
