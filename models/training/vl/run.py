"""The command that makes the shipped language model, stage by stage, resuming where it stopped.

The tower alone, then the decoder on the frozen tower, then both, then the files.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from ...vl.specs import TINY_VL
from .export import export
from .student import Course, Teacher
from .tower import train_tower

STAGES = ("tower", "student", "joint", "export")
MINUTES = {"tower": 24.0, "student": 45.0, "joint": 15.0}
"""Of one core of about 90 GFLOP/s each; the rates fall with the time that is given."""


def run(stage: str, folder: Path, minutes: float) -> None:
    """One stage; the others' checkpoints are looked for in `folder`."""
    if stage == "tower":
        train_tower(TINY_VL.vision, folder / "tower", minutes, 2e-3, 16)
    elif stage == "student":
        tower = folder / "tower" / "tower.pt"
        Teacher(TINY_VL, folder / "student", Course(minutes), tower).run()
    elif stage == "joint":
        course = Course(minutes, lr=6e-4, tower_lr=2e-4, fall=0.8, short=0.0, seed=2)
        teacher = Teacher(TINY_VL, folder / "joint", course, None)
        if not teacher.step:
            teacher.follow(folder / "student" / "last.pt")
        teacher.run()
    else:
        print(export(folder / "joint" / "last.pt"))


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
