"""Does an endless stream drift? `python -m millrace.models.vl.drift` runs one for 100,000 steps.

A small model with random weights reads turns, says a few words in each and forgets old pictures,
and so does a twin of it in float64, with the same weights and the same words. What must hold:

- memory: not a byte more in the arena, not a slot more in use once the window is full;
- places stay bounded, and are counted anew on the way;
- no drift: keys are as far from those that the twin holds at the end as they were at the beginning,
  and so are the logits. A key that is rotated over and over from its rounded self would be off by
  a percent after a dozen moves; here it stays at the rounding of its type.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor

from .keeping import REBASE
from .model import VLModel
from .rotary import rotate
from .segments import Pictures, Piece, Segment, Words
from .specs import TINY_VL, VLSpec
from .stream import Stream, StreamingVL

WORDS = 8
"""Said in each turn, one step each."""
GRID = (1, 2, 2)
VISION_TURNS, TEXT_TURNS = 4, 12
SLOTS = 512
SPEC = replace(
    TINY_VL,
    name="drift",
    vision=replace(TINY_VL.vision, layers=1, out_dim=64),
    text=replace(
        TINY_VL.text,
        dim=64,
        ffn_dim=128,
        layers=3,
        heads=4,
        head_dim=32,
        vocab=256,
        rope_theta=1e6,
    ),
)
SOME = 0.1
"""Part of a run that counts as its beginning, and as its end."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a run came to.

    Attributes:
        steps: one-token steps.
        tokens: read in all.
        arena_bytes: of the arena, before and after.
        most_slots: in use after any turn, in the first part and in the last.
        furthest: largest place of any turn.
        rebased: how often places were counted anew.
        key_error: root mean square of rotated keys from the twin's, by that of the twin's, in the
            first and in the last part.
        turn_error: likewise, of rotated keys from their own raw ones rotated in float64, at the
            end.
        logit_error: likewise from the twin's, of logits, in the first and in the last part.
    """

    steps: int
    tokens: int
    dtype: str
    arena_bytes: tuple[int, int]
    most_slots: tuple[int, int]
    furthest: float
    rebased: int
    key_error: tuple[float, float]
    turn_error: float
    logit_error: tuple[float, float]

    def faults(self) -> list[str]:
        """What does not hold, in words."""
        floor = float(torch.finfo(getattr(torch, self.dtype)).eps)
        out = []
        if self.arena_bytes[0] != self.arena_bytes[1]:
            out.append(f"the arena went from {self.arena_bytes[0]} to {self.arena_bytes[1]} bytes")
        if self.most_slots[1] > self.most_slots[0]:
            out.append(f"slots in use went from {self.most_slots[0]} to {self.most_slots[1]}")
        if self.furthest > REBASE + SLOTS:
            out.append(f"places reached {self.furthest}")
        if self.turn_error > floor:
            out.append(f"keys are off by {self.turn_error} of what their raw ones say")
        for name, (first, last) in (("keys", self.key_error), ("logits", self.logit_error)):
            if last > 1.25 * first:
                out.append(f"the error of {name} grew from {first} to {last}")
        return out


class _Twins:
    """Two models with the same weights that are told the same."""

    def __init__(self, spec: VLSpec, dtype: torch.dtype, seed: int) -> None:
        self.spec = spec
        generator = torch.Generator().manual_seed(seed)
        model = VLModel(spec)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                # Large enough for attention to choose; norms stay near one.
                weight.normal_(0, 0.15, generator=generator)
                if "norm" in name or "ln_q" in name:
                    weight.add_(1)
        self.readers = []
        for kind in (dtype, torch.float64):
            one = VLModel(spec)
            one.load_state_dict({k: v.to(dtype) for k, v in model.state_dict().items()})
            ready = one.to(dtype).to(kind).eval().requires_grad_(False)
            self.readers.append(StreamingVL(ready, SLOTS))
        self.streams = [reader.open() for reader in self.readers]

    @property
    def stream(self) -> Stream:
        return self.streams[0]

    def append(self, pieces: Sequence[Piece]) -> None:
        for reader, stream in zip(self.readers, self.streams, strict=True):
            reader.append([(stream, pieces)])

    def step(self, token: int) -> tuple[Tensor, Tensor]:
        """Logits of both, [vocab]."""
        pairs = zip(self.readers, self.streams, strict=True)
        ours, exact = (reader.step([(stream, token)])[0].double() for reader, stream in pairs)
        return ours, exact

    def begin(self, turn: int) -> None:
        for stream in self.streams:
            stream.begin("caption", turn)

    def forget(self) -> None:
        for reader, stream in zip(self.readers, self.streams, strict=True):
            reader.rearrange(stream, _kept(stream.table))

    def keys(self) -> tuple[Tensor, Tensor]:
        """Rotated keys of both, of all that is held."""
        held = [
            reader.arena.rotated.index_select(1, reader.arena.index(stream.slots)).double()
            for reader, stream in zip(self.readers, self.streams, strict=True)
        ]
        return held[0], held[1]

    def turn_error(self) -> float:
        """How far rotated keys are from their own raw ones, rotated in float64."""
        arena, slots = self.readers[0].arena, self.stream.slots
        index = arena.index(slots)
        turn = self.readers[1].arena.turns(arena.places[:, slots])
        exact = rotate(arena.raw.index_select(1, index).double(), turn)
        return _error(arena.rotated.index_select(1, index).double(), exact)


def _kept(table: Sequence[Segment]) -> list[Segment]:
    last = max(segment.turn for segment in table)
    return [
        segment
        for segment in table
        if segment.pinned
        or segment.turn > last - (VISION_TURNS if segment.kind == "vision" else TEXT_TURNS)
    ]


def _error(ours: Tensor, exact: Tensor) -> float:
    return float((ours - exact).square().mean().sqrt() / exact.square().mean().sqrt())


def run(steps: int, dtype: torch.dtype, seed: int = 0) -> Report:
    """Read turns until `steps` words were said."""
    twins = _Twins(SPEC, dtype, seed)
    turns = max(steps // WORDS, 20)
    some = max(int(turns * SOME), TEXT_TURNS + 1)
    noise = np.random.default_rng(seed)
    twins.append([Words("system", tuple(range(16)), pinned=True)])
    before, used, furthest, rebased, tokens = _bytes(twins), [], 0.0, 0, 16
    key_errors, logit_errors = [], []
    for turn in range(turns):
        words = noise.integers(0, SPEC.text.vocab, WORDS + 2).tolist()
        # Rounded first, so that both read the same pictures.
        features = torch.from_numpy(noise.standard_normal((GRID[1] * GRID[2], SPEC.text.dim)))
        pictures = Pictures(features.to(dtype), GRID, turn, float(turn))
        twins.append([Words("header", tuple(words[:2]), turn, float(turn)), pictures])
        twins.begin(turn)
        outs = [twins.step(word) for word in words[2:]]
        tokens += 2 + len(features) + WORDS
        position = twins.stream.position
        twins.forget()
        furthest = max(furthest, position)
        rebased += twins.stream.position < position - REBASE / 2
        used.append(SLOTS - twins.readers[0].arena.free)
        if turn < some or turn >= turns - some:
            logit_errors.append(_error(*(torch.stack(part) for part in zip(*outs, strict=True))))
            key_errors.append(_error(*twins.keys()))
    full = used[TEXT_TURNS:]
    return Report(
        steps=turns * WORDS,
        tokens=tokens,
        dtype=str(dtype).removeprefix("torch."),
        arena_bytes=(before, _bytes(twins)),
        most_slots=(max(full[:some]), max(full[-some:])),
        furthest=furthest,
        rebased=rebased,
        key_error=_ends(key_errors, some),
        turn_error=twins.turn_error(),
        logit_error=_ends(logit_errors, some),
    )


def _bytes(twins: _Twins) -> int:
    return sum(reader.arena.nbytes for reader in twins.readers)


def _ends(errors: Sequence[float], some: int) -> tuple[float, float]:
    """Mean of the first turns and of the last ones; the first dozen have too little past."""
    return float(np.mean(errors[:some])), float(np.mean(errors[-some:]))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m millrace.models.vl.drift", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    if given.steps < 1:
        parser.error("--steps: expected 1 or more")
    report = run(given.steps, getattr(torch, given.dtype), given.seed)
    print(json.dumps(asdict(report), indent=2))
    for fault in report.faults():
        print(f"fault: {fault}", file=sys.stderr)
    return 1 if report.faults() else 0


if __name__ == "__main__":
    sys.exit(main())
