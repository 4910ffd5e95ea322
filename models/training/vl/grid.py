"""A picture for a human eye: held-out streams with what the model says of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from textwrap import wrap

import numpy as np
import torch
from PIL import Image, ImageDraw

from .... import assets
from ..manifest import record
from ..photos import credit_lines, heldout_photos
from .evaluate import load
from .player import Player, load_show
from .story import Taste, tell
from .world import picture

TILE, LINES, COLUMNS = 160, 3, 5
SECONDS = 24.0
ORIGIN = "python -m millrace.models.training.vl.grid"


def rows(checkpoint: str, seeds: list[int]) -> list[Image.Image]:
    """One row for each stream: the turns at which it speaks, with its words and the second."""
    model = load(checkpoint)
    streams = [tell(s, SECONDS, (96, 160), Taste(quiet=0.0, heldout=True)) for s in seeds]
    shows = [load_show(model, stream) for stream in streams]
    player = Player(model, "default", shows)
    for number in range(len(shows[0].turns)):
        player.turn(number)
    found = []
    for seat in player.seats:
        told = [(n, text) for n, text in enumerate(seat.said) if text][:COLUMNS]
        row = Image.new("RGB", (TILE * COLUMNS, 98 + 12 * LINES), "white")
        for column, (number, text) in enumerate(told):
            pixels = picture(seat.show.stream, number + 0.5)
            tile = Image.fromarray((pixels * 255).astype(np.uint8))
            row.paste(tile, (column * TILE, 0))
            draw = ImageDraw.Draw(row)
            words = wrap(f"{number} s: {text}", 26, max_lines=LINES, placeholder=" ...")
            for line, part in enumerate(words):
                draw.text((column * TILE + 2, 97 + 12 * line), part, fill="black")
        found.append(row)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="")
    parser.add_argument("--out", type=Path, default=assets.FOLDER / "tiny_vl_grid.jpg")
    options = parser.parse_args()
    torch.set_num_threads(1)
    images = rows(options.checkpoint, [700_000_000 + index for index in range(8)])
    whole = Image.new("RGB", (images[0].width, sum(image.height for image in images)))
    top = 0
    for image in images:
        whole.paste(image, (0, top))
        top += image.height
    whole.save(options.out, quality=72)
    if options.out.parent == assets.FOLDER:
        credits = "Shows photographs: " + credit_lines(heldout_photos()).replace("\n", "; ")
        record(options.out.name, "Apache-2.0", credits, ORIGIN)


if __name__ == "__main__":
    main()
