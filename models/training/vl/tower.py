"""First phase: the vision tower alone, so that its tokens tell what stands where, how it moves and
what has just happened to it."""

from __future__ import annotations

import json
import time as clock
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from ...vl.specs import VisionSpec
from ...vl.vision import VisionTower
from .labels import CELL, FINE, UNKNOWN, WHOLE
from .looking import SMALL, Batch, Looks, Pool, arrivals, batch, draw, one
from .optimiser import Muon
from .story import Taste

POSITIVE = 3.0
"""Weight of cells with something in them, of what moves, and of what has happened."""
HEAVY = {"mask": 8.0, "kind": 4.0, "event": 3.0, "motion": 2.0, "centre": 2.0, "view": 1.5}
EASY = 0.15
"""First part of the time, on small pictures: four times as many."""
FALL = 0.45
"""Last part of it, over which the rate falls."""
ROOM = 700
"""Chunks of looks that are kept to be seen again."""
MIXED = 4
"""Chunks that a batch is drawn from."""
FRESH = 3
"""Steps of which one renders a chunk, where no other process has, once there are `ENOUGH`."""
ENOUGH = 100


class Reader(nn.Module):
    """The tower with linear heads on its tokens; the heads are thrown away afterwards."""

    def __init__(self, spec: VisionSpec) -> None:
        super().__init__()
        self.tower = VisionTower(spec)
        self.cells = nn.Linear(spec.out_dim, sum(CELL.values()))
        self.masks = nn.Linear(spec.out_dim, 2 * FINE * FINE)
        self.whole = nn.Linear(spec.out_dim, sum(WHOLE.values()))

    def forward(self, pictures: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """[n, 4, 3, H, W] -> logits of cells [n, tokens, classes] and of all [n, classes]."""
        tokens, _ = self.tower(pictures)
        tokens = functional.rms_norm(tokens.float(), tokens.shape[-1:])
        cells = self.cells(tokens).split(list(CELL.values()), -1)
        whole = self.whole(tokens.mean(1)).split(list(WHOLE.values()), -1)
        named = dict(zip(CELL, cells, strict=True)) | {"mask": self.masks(tokens)}
        return named, dict(zip(WHOLE, whole, strict=True))


def _balance(name: str, classes: int) -> Tensor | None:
    """Weights of classes, of which the first is what mostly is."""
    weight = torch.full((classes,), POSITIVE)
    weight[0] = 1.0
    if name.startswith("number"):
        return weight
    if name not in ("kind", "motion", "before", "event", "view", "viewed", "filmed", "light"):
        return None
    return weight


def losses(reader: Reader, data: Batch) -> dict[str, Tensor]:
    """Of each label, and their weighted `total`."""
    pictures, cells, whole = data
    # The fused attention's gradient is slow on so few tokens.
    with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        of_cells, of_whole = reader(pictures)
    out: dict[str, Tensor] = {}
    mask = of_cells.pop("mask").float()
    out["mask"] = functional.binary_cross_entropy_with_logits(mask, cells["mask"])
    for name, logits in (*of_cells.items(), *of_whole.items()):
        labels = cells[name] if name in cells else whole[name]
        rows = logits.float().flatten(0, -2)
        balance = _balance(name, rows.shape[-1])
        out[name] = functional.cross_entropy(rows, labels.flatten(), balance, ignore_index=UNKNOWN)
    out = {name: loss for name, loss in out.items() if torch.isfinite(loss)}
    for name in [name for name in out if name.startswith("number")]:
        out["numbers"] = out.get("numbers", 0.0) + 0.3 * out.pop(name)
    out["total"] = torch.stack([HEAVY.get(k, 1.0) * v for k, v in out.items()]).sum()
    return out


@torch.no_grad()
def accuracy(reader: Reader, sets: list[Looks]) -> dict[str, float]:
    """Share right of each label; of cells where something stands. "x+": of those that are not the
    first class."""
    right: dict[str, list[bool]] = {}
    for looks in sets:
        pictures, cells, whole = batch(looks)
        of_cells, of_whole = reader(pictures)
        for name, logits in (*of_cells.items(), *of_whole.items()):
            if name == "mask":
                continue
            labels = cells[name] if name in cells else whole[name]
            hits, known = logits.argmax(-1) == labels, labels != UNKNOWN
            name = "numbers" if name.startswith("number") else name
            if name in cells:
                known = known & (cells["kind"] > 0)
            elif name == "numbers":
                known = known & (whole["count"] > 0)
            right.setdefault(name, []).extend(hits[known].tolist())
            if _balance(name, 2) is not None and name != "kind":
                right.setdefault(f"{name}+", []).extend(hits[known & (labels > 0)].tolist())
    return {name: round(float(np.mean(hits)), 3) for name, hits in right.items() if hits}


def heldout(factor: int) -> list[Looks]:
    return [draw(10_000_000 + i, 64, factor, Taste(heldout=True)) for i in range(6)]


def train_tower(
    spec: VisionSpec,
    folder: Path,
    minutes: float,
    lr: float,
    looks: Path | None = None,
    anchored: bool = False,
) -> None:
    """Train for so many minutes in all (resumed ones count), and save the tower.

    Args:
        looks: a folder into which `looking` renders in other processes.
        anchored: the heads stay as they are, so that a decoder that has learnt to read the tokens
            finds all where it was.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    reader = Reader(spec)
    optimiser = Muon(reader, lr)
    step, spent, seed = 0, 0.0, 0
    last = folder / "tower.pt"
    if last.exists():
        state = torch.load(last, weights_only=True)
        reader.load_state_dict(state["reader"])
        optimiser.load_state_dict(state["optimiser"])
        step, spent, seed = state["step"], state["spent"], state["seed"]
    if anchored:
        for head in (reader.cells, reader.masks, reader.whole):
            head.requires_grad_(False)
    pool, rng, tests = Pool(ROOM), np.random.default_rng(step), heldout(spec.factor)
    log = (folder / "tower.jsonl").open("a")
    begun = clock.perf_counter() - spent
    told = spent
    while spent < 60 * minutes:
        spent = clock.perf_counter() - begun
        done = min(1.0, spent / (60 * minutes))
        seed += _more(pool, seed, spec.factor, done < EASY, looks)
        optimiser.set_rate(min(1.0, (step + 1) / 100) * max(0.02, min(1.0, (1 - done) / FALL)))
        found = losses(reader, pool.batch(rng, MIXED))
        optimiser.zero_grad(set_to_none=True)
        found["total"].backward()
        nn.utils.clip_grad_norm_(reader.parameters(), 3.0)
        optimiser.step()
        step += 1
        if step % 20 == 0:
            _write(log, {"step": step, "s": round(spent), "taken": pool.taken, **_plain(found)})
        if spent > told + 120 or spent >= 60 * minutes:
            told = spent
            _write(log, {"step": step, "s": round(spent), "held out": accuracy(reader, tests)})
            state = {"reader": reader.state_dict(), "optimiser": optimiser.state_dict()}
            torch.save({**state, "step": step, "spent": spent, "seed": seed}, folder / "tower.part")
            (folder / "tower.part").replace(last)


def _more(pool: Pool, seed: int, factor: int, easy: bool, folder: Path | None) -> int:
    """Take in what others have rendered, or render a chunk. How many were rendered here."""
    small = [chunk for chunk in pool.chunks if chunk.size == SMALL]
    if not easy and small:
        for chunk in small:
            pool.chunks.remove(chunk)
    if folder is not None:
        for chunk in arrivals(folder):
            if easy == (chunk.size == SMALL):
                pool.add(chunk)
                return 0
    pool.steps += 1
    if len(pool.chunks) >= ENOUGH and pool.steps % FRESH:
        return 0
    pool.add(one(seed + 20_000, factor, easy))
    return 1


def _plain(found: dict[str, Tensor]) -> dict[str, float]:
    return {name: round(float(loss.detach()), 3) for name, loss in found.items()}


def _write(log: object, row: dict[str, object]) -> None:
    print(json.dumps(row), file=log, flush=True)  # type: ignore[call-overload]
