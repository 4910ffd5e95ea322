"""The command that makes the language model, stage by stage, resuming where it stopped.

The tower alone; the decoder on it, first with the tower as it is; captions without pictures, on
which finding a second again is learnt; then all together. The shipped weights came about in these
stages but with changes of the recipe between them (the form of answers about the past among
others), so that this command repeats the way, not the bits.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from ...vl.specs import TINY_VL
from .export import export
from .student import Course, Teacher
from .tower import train_tower

STAGES = ("tower", "student", "recite", "final", "export")
MINUTES = {"tower": 24.0, "student": 22.0, "recite": 5.0, "final": 18.0}
"""Of one core of about 90 GFLOP/s each; the rates fall with the time that is given."""
BEFORE = {"recite": "student", "final": "recite"}


def course(stage: str, minutes: float) -> Course:
    """How a stage of the decoder goes."""
    if stage == "student":
        return Course(minutes, short=0.3)
    if stage == "recite":
        return Course(minutes, fall=0.01, short=1.0, lessons=1, words=80, longest=24, live_every=4)
    return Course(
        minutes, lr=1.8e-3, tower_lr=3e-4, fall=0.75, short=0.0, lessons=1, longest=50, seed=3
    )


def run(stage: str, folder: Path, minutes: float) -> None:
    """One stage; the others' checkpoints are looked for in `folder`."""
    if stage == "tower":
        train_tower(TINY_VL.vision, folder / "tower", minutes, 2e-3, 16)
    elif stage == "export":
        print(export(folder / "final" / "last.pt"))
    else:
        tower = folder / "tower" / "tower.pt" if stage == "student" else None
        teacher = Teacher(TINY_VL, folder / stage, course(stage, minutes), tower)
        if stage in BEFORE and not teacher.step:
            teacher.follow(folder / BEFORE[stage] / "last.pt")
        teacher.run()


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
