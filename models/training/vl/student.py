"""Second phase: the decoder learns to tell, to answer and to wait, on packed lessons."""

from __future__ import annotations

import json
import time as clock
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ...vl.model import VLModel
from ...vl.specs import VLSpec
from ...vl.tiny_words import FIRST_STAMP, SILENT, STAMPS
from .gist import Gist
from .lesson import Lesson, draw_lesson, tensors
from .optimiser import Muon
from .packed import Seen, packed_hidden
from .recording import Recording, arrivals, draw_recording, load_tower, tower_of

Row = dict[str, object]
STAMPED, GIST = 0.1, 0.3
"""Weights of every token's knowing its second, and of the closing stamps' knowing what is seen."""
READER = 2e-3
"""Rate of the heads that read a look's gist."""
NOISE = 0.02
"""Of features while learning: there are few of them."""
HELD_OUT = 900_000_000
"""Seed of the first recording that is examined."""


@dataclass(frozen=True, slots=True)
class Course:
    """Attributes:
    minutes: of training in all, resumed ones included.
    lr: of the decoder.
    lessons: of one step.
    forks: of a lesson.
    fall: last part of the time, over which the rate falls.
    fewest: recordings without which learning does not begin.
    examined: held-out recordings.
    """

    minutes: float
    lr: float = 2e-3
    lessons: int = 2
    forks: int = 64
    fall: float = 0.28
    fewest: int = 24
    examined: int = 12
    seed: int = 1


class Tally:
    """Right and all answers by kind since it was last read."""

    def __init__(self) -> None:
        self.right: dict[str, int] = defaultdict(int)
        self.all: dict[str, int] = defaultdict(int)

    def add(self, kind: str, right: bool) -> None:
        self.right[kind] += right
        self.all[kind] += 1

    def add_all(self, kind: str, right: list[bool]) -> None:
        self.right[kind] += sum(right)
        self.all[kind] += len(right)

    def read(self) -> dict[str, float]:
        found = {k: round(self.right[k] / n, 3) for k, n in sorted(self.all.items()) if n > 4}
        self.right.clear()
        self.all.clear()
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """Attributes:
    logits: at the n learnt tokens, [n, vocab].
    target, weight, owner: of these, [n].
    halfway: states of all tokens after half of the layers, [L, dim].
    """

    logits: Tensor
    target: Tensor
    weight: Tensor
    owner: Tensor
    halfway: Tensor

    @property
    def loss(self) -> Tensor:
        losses = functional.cross_entropy(self.logits, self.target, reduction="none")
        return (losses * self.weight).sum() / self.weight.sum()


def run_lesson(model: VLModel, data: dict[str, Tensor]) -> Read:
    """One lesson through the decoder."""
    with torch.autocast("cpu", torch.bfloat16):
        embeds = model.text.embed(data["ids"])
        where = data["source"] >= 0
        features = data["features"].to(embeds.dtype)
        embeds = embeds.index_put((where,), features[data["source"][where]])
        own = data["owner"][len(data["stream"]) :]
        pairs = Seen(data["stream"], data["forks"], own, torch.bfloat16)
        halfway: list[Tensor] = []
        hidden = packed_hidden(model.text, embeds, data["positions"], pairs, halfway)
        learnt = data["weight"] > 0
        logits = model.text.logits(hidden[learnt]).float()
    target, weight, owner = (data[name][learnt] for name in ("target", "weight", "owner"))
    return Read(logits, target, weight, owner, halfway[0].float())


def stamped(model: VLModel, states: Tensor, ids: Tensor) -> Tensor:
    """How badly the tokens of a stream know the stamp before them, told by its own embedding.

    A question finds a second by what its tokens carry of their stamp; left to itself the one half
    of that circuit waits for the other.
    """
    marks = (ids >= FIRST_STAMP) & (ids < FIRST_STAMP + STAMPS)
    last = torch.where(marks, torch.arange(len(ids)), 0).cummax(0).values
    known = last > 0
    own = functional.rms_norm(states[: len(ids)][known], states.shape[-1:])
    stamps = model.text.weight[FIRST_STAMP : FIRST_STAMP + STAMPS]
    return functional.cross_entropy(own @ stamps.T.float(), ids[last[known]] - FIRST_STAMP)


def grade(tally: Tally, lesson: Lesson, read: Read, of: str = "") -> None:
    """Count forks of which every word would be said, and turns rightly told or left silent."""
    says, target, owner = read.logits.detach().argmax(-1), read.target, read.owner
    hits = (says == target).tolist()
    of_fork: dict[int, bool] = defaultdict(lambda: True)
    for hit, number in zip(hits, owner.tolist(), strict=True):
        of_fork[number] = of_fork[number] and hit
    for number, fork in enumerate(lesson.forks):
        tally.add(of + fork.kind, of_fork[number])
    told = owner < 0
    for word, wanted in zip(says[told].tolist(), target[told].tolist(), strict=True):
        tally.add("turn silent" if wanted == SILENT else "turn word", word == wanted)


def begin(spec: VLSpec, tower: Path | None) -> VLModel:
    """A model with small random words and the trained tower of the first phase."""
    torch.manual_seed(3)
    model = VLModel(spec)
    with torch.no_grad():
        nn.init.normal_(model.model.embed_tokens.weight, std=0.08)
        for layer in model.model.layers:
            for out in (layer.self_attn.o_proj, layer.mlp.down_proj):  # type: ignore[union-attr]
                out.weight.mul_(0.5)  # type: ignore[union-attr, operator]
    if tower is not None:
        model.visual.load_state_dict(load_tower(tower, spec.vision).state_dict())
    return model


class Teacher:
    """Trains on the recordings of a folder, keeps the averaged weights, and saves all of it now and
    then. New recordings are taken in while it trains."""

    def __init__(
        self, spec: VLSpec, folder: Path, course: Course, tower: Path | None, recordings: Path
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.course, self.source = folder, course, recordings
        self.model = begin(spec, tower)
        self.model.visual.requires_grad_(False)
        self.decoder = Muon(self.model.text, course.lr)
        self.gist = Gist(spec.text.dim)
        self.reader = torch.optim.Adam(self.gist.parameters(), lr=READER)
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.step, self.spent = 0, 0.0
        self.recordings: list[Recording] = []
        self.known: set[str] = set()
        last = folder / "last.pt"
        if last.exists():
            self._resume(torch.load(last, weights_only=True))
        eye = tower_of(self.model)
        seeds = range(HELD_OUT, HELD_OUT + course.examined)
        self.heldout = [draw_recording(eye, seed, heldout=seed % 2 == 0) for seed in seeds]

    def _resume(self, state: Row) -> None:
        self.model.load_state_dict(state["model"])  # type: ignore[arg-type]
        self.decoder.load_state_dict(state["decoder"])  # type: ignore[arg-type]
        self.average = state["average"]  # type: ignore[assignment]
        if "gist" in state:  # taught from the middle of a run on, perhaps
            self.gist.load_state_dict(state["gist"])  # type: ignore[arg-type]
            self.reader.load_state_dict(state["reader"])  # type: ignore[arg-type]
        self.step, self.spent = int(state["step"]), float(state["spent"])  # type: ignore

    def take_in(self) -> None:
        """Recordings that have come; where there are too few, some are made here."""
        self.recordings += arrivals(self.source, self.known)
        while len(self.recordings) < self.course.fewest:
            seed = 50_000_000 + len(self.recordings)
            self.recordings.append(draw_recording(tower_of(self.model), seed))

    def save(self) -> None:
        part = self.folder / "last.part"
        state = {"model": self.model.state_dict(), "decoder": self.decoder.state_dict()}
        more: Row = {"average": self.average, "step": self.step, "spent": self.spent}
        gist: Row = {"gist": self.gist.state_dict(), "reader": self.reader.state_dict()}
        torch.save({**state, **more, **gist}, part)
        part.replace(self.folder / "last.pt")

    def rate(self) -> float:
        done = min(1.0, self.spent / (60 * self.course.minutes))
        return min(1.0, (self.step + 1) / 60) * max(0.01, min(1.0, (1 - done) / self.course.fall))

    def once(self, tally: Tally) -> float:
        """One step; its loss."""
        course, total = self.course, 0.0
        self.decoder.set_rate(self.rate())
        self.decoder.zero_grad()
        self.reader.zero_grad()
        rng = np.random.default_rng([course.seed, self.step])
        for _ in range(course.lessons):
            recording = self.recordings[int(rng.integers(len(self.recordings)))]
            lesson = draw_lesson(rng, recording, course.forks)
            data = tensors(lesson)
            data["features"] += NOISE * torch.randn_like(data["features"])
            read = run_lesson(self.model, data)
            loss = read.loss
            total += float(loss.detach()) / course.lessons
            ids = data["ids"][: len(data["stream"])]
            loss = loss + STAMPED * stamped(self.model, read.halfway, ids)
            shown, right = self.gist(read.halfway[data["closing"]], data["shown"])
            ((loss + GIST * shown) / course.lessons).backward()
            grade(tally, lesson, read)
            for name, hits in right.items():
                tally.add_all(f"gist {name}", hits)
        nn.utils.clip_grad_norm_(self.model.text.parameters(), 1.0)
        self.decoder.step()
        self.reader.step()
        self._blend()
        self.step += 1
        return total

    @torch.no_grad()
    def _blend(self) -> None:
        decay = min(0.997, (1 + self.step) / (10 + self.step))
        for name, value in self.model.state_dict().items():
            self.average[name].lerp_(value, 1 - decay)

    def run(self) -> None:
        """Until the time is up."""
        begun, tally, losses = clock.perf_counter() - self.spent, Tally(), []
        with (self.folder / "log.jsonl").open("a") as log:
            while self.spent < 60 * self.course.minutes:
                if self.step % 25 == 0 or not self.recordings:
                    self.take_in()
                losses.append(self.once(tally))
                self.spent = clock.perf_counter() - begun
                if self.step % 25 == 0:
                    mean = round(sum(losses) / len(losses), 4)
                    row: Row = {"step": self.step, "s": round(self.spent), "loss": mean}
                    write(log, {**row, "recordings": len(self.recordings)})
                    losses = []
                if self.step % 200 == 0:
                    write(log, {"step": self.step, "seen": tally.read()})
                if self.step % 400 == 0:
                    write(log, {"step": self.step, "held out": self.examine()})
                    self.save()
            self.save()

    @torch.no_grad()
    def examine(self) -> dict[str, float]:
        """Accuracies of the averaged weights on held-out streams, half on held-out photographs."""
        now = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        tally = Tally()
        for index, recording in enumerate(self.heldout):
            lesson = draw_lesson(np.random.default_rng(index), recording, 150)
            grade(tally, lesson, run_lesson(self.model, tensors(lesson)))
        self.model.load_state_dict(now)
        return tally.read()


def write(log: TextIO, row: Row) -> None:
    print(json.dumps(row), file=log, flush=True)
