"""First phase: the vision tower alone, so that its tokens tell what stands where."""

from __future__ import annotations

import json
import time as clock
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ...vl.specs import VisionSpec
from ...vl.vision import VisionTower
from .labels import CELL, FINE, UNKNOWN, WHOLE, Look, look, moments
from .optimiser import Muon
from .story import SIZE_WEIGHTS, SIZES, Taste, tell

PER_STREAM = 2
SECONDS = 7.0
POSITIVE = 3.0
"""Weight of cells with something in them."""
FLOOR = 0.02
"""Variance below which a direction of patches counts as noise."""
EASY = 800
"""Steps on plain pictures alone: shapes are learnt there, and then seen elsewhere."""
SMALL = 2400
"""First steps, on pictures of one thing or two: four times as many in the same time."""


class Reader(nn.Module):
    """The tower with linear heads on its tokens; the heads are thrown away afterwards."""

    def __init__(self, spec: VisionSpec) -> None:
        super().__init__()
        self.tower = VisionTower(spec)
        self.cells = nn.Linear(spec.out_dim, sum(CELL.values()))
        self.masks = nn.Linear(spec.out_dim, 2 * FINE * FINE)
        self.whole = nn.Linear(spec.out_dim, sum(WHOLE.values()))

    def forward(self, pictures: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """[n, 2, 3, H, W] -> logits of cells [n, tokens, classes] and of all [n, classes]."""
        tokens, _ = self.tower(pictures)
        tokens = functional.rms_norm(tokens.float(), tokens.shape[-1:])
        cells = self.cells(tokens).split(list(CELL.values()), -1)
        whole = self.whole(tokens.mean(1)).split(list(WHOLE.values()), -1)
        named = dict(zip(CELL, cells, strict=True)) | {"mask": self.masks(tokens)}
        return named, dict(zip(WHOLE, whole, strict=True))


@torch.no_grad()
def prepare(reader: Reader, looks: list[list[Look]]) -> None:
    """Begin with filters that whiten patches, and with blocks that change nothing: edges are as
    loud as plain colour from the first step on (Jordan 2024, arXiv 2404.00498, 3.2)."""
    tower = reader.tower
    weight = tower.patch_embed.proj.weight
    patches = [tower._patches(batch(part)[0]).flatten(0, 1) for part in looks]
    spread = torch.cat([part - part.mean(0) for part in patches])
    values, vectors = torch.linalg.eigh(spread.T @ spread / len(spread))
    best = values.flip(0)[: len(weight)]
    filters = vectors.T.flip(0)[: len(weight)] / (best + FLOOR).sqrt()[:, None]
    weight.copy_(filters.view_as(weight))
    for block in tower.blocks:
        block.attn.proj.weight.zero_()  # type: ignore[union-attr, operator]
        block.mlp.down_proj.weight.zero_()  # type: ignore[union-attr, operator]


def batch(looks: list[Look]) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Pictures [n, 2, 3, H, W] and labels of looks of one size."""
    pictures = torch.from_numpy(np.stack([item.pictures for item in looks])).movedim(-1, 2)
    cells = {
        name: torch.from_numpy(np.stack([item.cells[name].ravel() for item in looks]))
        for name in CELL
    }
    cells["mask"] = torch.from_numpy(np.stack([item.masks for item in looks])).flatten(1, 2)
    whole = {name: torch.tensor([item.whole[name] for item in looks]) for name in WHOLE}
    return pictures.contiguous(), cells, whole


def draw(
    seed: int, count: int, factor: int, taste: Taste, size: tuple[int, int] | None = None
) -> list[Look]:
    """Looks of random streams of one size."""
    rng = np.random.default_rng([seed, 77])
    size = size or SIZES[int(rng.choice(len(SIZES), p=SIZE_WEIGHTS))]
    found: list[Look] = []
    while len(found) < count:
        stream = tell(int(rng.integers(1 << 40)), SECONDS, size, taste)
        for time in sorted(moments(rng, stream, PER_STREAM)):
            found.append(look(stream, time, factor))
    return found[:count]


def losses(
    reader: Reader, data: tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]
) -> dict[str, Tensor]:
    pictures, cells, whole = data
    with torch.autocast("cpu", torch.bfloat16):
        of_cells, of_whole = reader(pictures)
    out: dict[str, Tensor] = {}
    weight = torch.ones(CELL["kind"])
    weight[1:] = POSITIVE
    moving = torch.ones(CELL["motion"])
    moving[1:] = POSITIVE
    filming = torch.ones(WHOLE["view"])
    filming[1:] = POSITIVE
    logits = of_cells.pop("mask").float()
    out["mask"] = functional.binary_cross_entropy_with_logits(logits, cells["mask"])
    for name, logits in of_cells.items():
        rows, labels = logits.float().flatten(0, 1), cells[name].flatten()
        balance = {"kind": weight, "motion": moving}.get(name)
        out[name] = functional.cross_entropy(rows, labels, balance, ignore_index=UNKNOWN)
    for name, logits in of_whole.items():
        balance = filming if name == "view" else None
        out[name] = functional.cross_entropy(
            logits.float(), whole[name], balance, ignore_index=UNKNOWN
        )
    out = {name: loss for name, loss in out.items() if torch.isfinite(loss)}
    heavy = {"mask": 8.0, "kind": 4.0, "view": 1.5, "motion": 2.0}
    out["total"] = torch.stack([heavy.get(k, 1.0) * v for k, v in out.items()]).sum()
    return out


@torch.no_grad()
def accuracy(reader: Reader, sets: list[list[Look]]) -> dict[str, float]:
    """Share right of each label; of cells where something stands."""
    right: dict[str, list[float]] = {}
    for looks in sets:
        pictures, cells, whole = batch(looks)
        of_cells, of_whole = reader(pictures)
        mask = cells.pop("mask") > 0.5
        hits = ((of_cells.pop("mask") > 0) & mask).sum() / mask.sum()
        right.setdefault("mask", []).append(float(hits))
        something = cells["kind"] > 0
        for name, logits in (*of_cells.items(), *of_whole.items()):
            labels = cells[name] if name in cells else whole[name]
            known = labels != UNKNOWN
            if name == "kind":
                known = known & something
            right.setdefault(name, []).extend((logits.argmax(-1) == labels)[known].tolist())
        right.setdefault("moving", []).extend(
            (of_cells["motion"].argmax(-1) == cells["motion"])[cells["motion"] > 0].tolist()
        )
        filming = whole["view"] > 0
        right.setdefault("filming", []).extend(
            (of_whole["view"].argmax(-1) == whole["view"])[filming].tolist()
        )
    return {name: round(float(np.mean(hits)), 3) for name, hits in right.items() if hits}


def heldout(factor: int) -> list[list[Look]]:
    return [draw(10_000_000 + i, 48, factor, Taste(heldout=True)) for i in range(5)]


def train_tower(spec: VisionSpec, folder: Path, minutes: float, lr: float, size: int) -> None:
    """Train for so many minutes in all (resumed ones count), and save the tower."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    reader = Reader(spec)
    optimiser = Muon(reader, lr)
    step, spent = 0, 0.0
    last = folder / "tower.pt"
    if not last.exists() and (folder / "begin.pt").exists():
        state = torch.load(folder / "begin.pt", weights_only=True)
        own, step = reader.state_dict(), state["step"]
        for name, value in state["reader"].items():
            own[name][: len(value)] = value
        spent = float(state["spent"])
    elif not last.exists():
        easy = Taste(crowded=True, easy=True)
        prepare(reader, [draw(i + 7_000, 64, spec.factor, easy, (64, 64)) for i in range(4)])
    if last.exists():
        state = torch.load(last, weights_only=True)
        reader.load_state_dict(state["reader"])
        optimiser.load_state_dict(state["optimiser"])
        step, spent = state["step"], state["spent"]
    tests = heldout(spec.factor)
    near = [draw(20_000_000 + i, 64, spec.factor, Taste(easy=True), (64, 64)) for i in range(3)]
    log = (folder / "tower.jsonl").open("a")
    begun = clock.perf_counter() - spent
    for data in feed(step, size, spec.factor):
        spent = clock.perf_counter() - begun
        done = min(1.0, spent / (60 * minutes))
        optimiser.set_rate(min(1.0, (step + 1) / 100) * max(0.02, min(1.0, (1 - done) / 0.4)))
        found = losses(reader, data)
        optimiser.zero_grad(set_to_none=True)
        found["total"].backward()
        nn.utils.clip_grad_norm_(reader.parameters(), 3.0)
        optimiser.step()
        step += 1
        if step % 20 == 0:
            _write(log, {"step": step, "s": round(spent), **_plain(found)})
        if step % 400 == 0 or done >= 1:
            _write(log, {"step": step, "s": round(spent), "held out": accuracy(reader, tests)})
            _write(log, {"step": step, "small": accuracy(reader, near)})
            state = {"reader": reader.state_dict(), "optimiser": optimiser.state_dict()}
            torch.save({**state, "step": step, "spent": spent}, folder / "tower.part")
            (folder / "tower.part").replace(last)
        if done >= 1:
            return


def feed(
    first: int, size: int, factor: int
) -> Iterator[tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]]:
    step = first
    while True:
        easy = step < EASY or (step < 2 * EASY and step % 2 == 0)
        if step < SMALL:
            close = Taste(crowded=step % 2 == 0, easy=easy)
            yield batch(draw(step + 20_000, 2 * size, factor, close, (64, 64)))
        else:
            yield batch(draw(step + 20_000, size, factor, Taste(crowded=True)))
        step += 1


def _plain(found: dict[str, Tensor]) -> dict[str, float]:
    return {name: round(float(loss.detach()), 3) for name, loss in found.items()}


def _write(log: object, row: dict[str, object]) -> None:
    print(json.dumps(row), file=log, flush=True)  # type: ignore[call-overload]
