"""The command that makes the language model, stage by stage, resuming where it stopped.

The tower alone; streams recorded through it; the decoder on these recordings, with the tower as it
is. Rendering takes most of the time of the first two: `looking` and `recording` can do it in other
processes beside.

What is shipped learnt in several goes while the recipe changed. The tower: 43 minutes, then 34 with
its heads held still on looks that are smaller and darker (`train_tower(anchored=True)`). The
decoder, its rate falling at the end of each go: 12,865 steps on recordings of the first tower, the
last 753 of them with `forks.TWICE` as is so now, then 5,419 on recordings of the second, with
standing wishes (`plot.WISHED`).
"""

from __future__ import annotations

import argparse
import time as clock
from pathlib import Path

import torch

from ...vl.specs import TINY_VL
from .export import export
from .recording import draw_recording, load_tower
from .student import Course, Teacher
from .tower import train_tower

STAGES = ("tower", "record", "student", "export")
MINUTES = {"tower": 77.0, "record": 20.0, "student": 264.0}
"""Of one core of about 90 GFLOP/s each; the rates fall with the time that is given."""


def record(folder: Path, minutes: float) -> None:
    """Recordings until the time is up; those that are there are kept."""
    tower = load_tower(folder / "tower" / "tower.pt", TINY_VL.vision)
    target = folder / "recordings"
    target.mkdir(parents=True, exist_ok=True)
    stop, seed = clock.monotonic() + 60 * minutes, len(list(target.glob("*.rec")))
    while clock.monotonic() < stop:
        draw_recording(tower, seed).save(target / f"{seed:08d}.rec")
        seed += 1


def run(stage: str, folder: Path, minutes: float) -> None:
    """One stage; the others' checkpoints are looked for in `folder`."""
    tower = folder / "tower" / "tower.pt"
    if stage == "tower":
        train_tower(TINY_VL.vision, folder / "tower", minutes, 3e-3, folder / "looks")
    elif stage == "record":
        record(folder, minutes)
    elif stage == "student":
        recordings = folder / "recordings"
        Teacher(TINY_VL, folder / "student", Course(minutes), tower, recordings).run()
    else:
        print(export(folder / "student" / "last.pt"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/vl"))
    parser.add_argument("--stage", choices=STAGES, action="append", help="default: all")
    parser.add_argument("--minutes", type=float, help="of each stage that is named")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for stage in options.stage or STAGES:
        run(stage, options.folder, options.minutes or MINUTES.get(stage, 0.0))


if __name__ == "__main__":
    main()
