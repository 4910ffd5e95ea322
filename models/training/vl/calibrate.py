"""When to speak and when to ring: thresholds, chosen on streams that no report is made of."""

from __future__ import annotations

import argparse

import torch

from .evaluate import Examiner, Run, load, shows_of
from .measures import Sheet

CHOSEN_ON = Run(60, 12, 8, 0, 550_000_000)
SPEAKS = (-1.0, 0.0, 1.0, 2.0)
FIRES = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
SLACKS = (0.5, 1.0, 2.0, 4.0, 6.0)
"""How far below the threshold an alert is armed again."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="", help="last.pt of a run; else what is shipped")
    parser.add_argument("--streams", type=int, default=CHOSEN_ON.streams)
    options = parser.parse_args()
    torch.set_num_threads(1)
    run = Run(CHOSEN_ON.seconds, options.streams, CHOSEN_ON.alerts, 0, CHOSEN_ON.seed)
    model = load(options.checkpoint)
    shows = shows_of(model, run)
    for speak in SPEAKS:
        examiner = Examiner(model, "default", shows, run, speak)
        found = examiner.play(progress=False)
        told = {k: found[k] for k in ("caption f1", "repeated captions", "captions a quiet minute")}
        print(f"speak {speak:+.1f}", told, flush=True)
        if speak:
            continue
        for fire in FIRES:
            for slack in SLACKS:
                sheet = Sheet()
                for watch in examiner.watches:
                    watch.score(sheet, fire, fire - slack)
                told = {k: sheet.report()[k] for k in ("alert f1", "false alerts a quiet minute")}
                print(f"fire {fire:.1f} rearm {fire - slack:+.1f}", told)


if __name__ == "__main__":
    main()
