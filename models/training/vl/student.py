"""Second phase: the decoder learns to tell, to answer and to wait, on packed lessons."""

from __future__ import annotations

import json
import time as clock
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...vl.model import VLModel
from ...vl.specs import VLSpec
from ...vl.tiny_words import FIRST_STAMP, SILENT, STAMPS
from .lesson import Lesson, draw_lesson, draw_size, draw_words, tensors
from .optimiser import Muon
from .packed import Seen, packed_hidden

Row = dict[str, object]
PLACES = 0.1
"""Weight of telling thirds of the picture apart."""
STAMPED = 0.2
"""Weight of every token's knowing its second."""


@dataclass(frozen=True, slots=True)
class Course:
    """Attributes:
    minutes: of training in all, resumed ones included.
    lr: of the decoder.
    tower_lr: of the tower; 0 leaves it as it is.
    lessons: of one step.
    forks: of a lesson.
    words: forks of one more lesson in each step, which has no pictures; 0 for none.
    longest: turns of such a lesson.
    live_every: steps of which one has lessons with pictures.
    fall: last part of the time, over which the rate falls.
    short: first part of the time, with short streams: more of them, and easier to search.
    """

    minutes: float
    lr: float = 2e-3
    tower_lr: float = 0.0
    lessons: int = 2
    forks: int = 64
    words: int = 64
    longest: int = 80
    live_every: int = 1
    fall: float = 0.5
    short: float = 0.2
    seed: int = 1


class Tally:
    """Right and all answers by kind since it was last read."""

    def __init__(self) -> None:
        self.right: dict[str, int] = defaultdict(int)
        self.all: dict[str, int] = defaultdict(int)

    def add(self, kind: str, right: bool) -> None:
        self.right[kind] += right
        self.all[kind] += 1

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
    features: of the pictures, [looks, h * w, dim].
    grid: (1, h, w).
    stamped: how badly the stream's tokens know their second halfway through, a loss.
    """

    logits: Tensor
    target: Tensor
    weight: Tensor
    owner: Tensor
    features: Tensor
    grid: tuple[int, int, int]
    stamped: Tensor


def run_lesson(model: VLModel, data: dict[str, Tensor], learn_tower: bool) -> Read:
    """One lesson through the tower and the decoder."""
    with torch.autocast("cpu", torch.bfloat16):
        with torch.set_grad_enabled(learn_tower and torch.is_grad_enabled()):
            if len(data["pictures"]):
                seen, grid = model.vision(data["pictures"])
            else:
                seen, grid = data["pictures"].new_zeros(0, 0, model.spec.text.dim), (1, 0, 0)
        features = seen.flatten(0, 1)
        embeds = model.text.embed(data["ids"])
        where = data["source"] >= 0
        embeds = embeds.to(features.dtype).index_put((where,), features[data["source"][where]])
        own = data["owner"][len(data["stream"]) :]
        pairs = Seen(data["stream"], data["forks"], own, embeds.dtype)
        halfway: list[Tensor] = []
        hidden = packed_hidden(model.text, embeds, data["positions"], pairs, halfway)
        learnt = data["weight"] > 0
        logits = model.text.logits(hidden[learnt]).float()
    target, weight, owner = (data[name][learnt] for name in ("target", "weight", "owner"))
    stamped = _stamped(model, halfway[0].float(), data["ids"][: len(data["stream"])])
    return Read(logits, target, weight, owner, seen, grid, stamped)


def _stamped(model: VLModel, states: Tensor, ids: Tensor) -> Tensor:
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


class Whereabouts(nn.Module):
    """Reads off a token in which third of the picture it lies; thrown away afterwards.

    The decoder's slow rotations tell rows and columns hardly apart, and the tower sees distances
    alone, so that nothing else would make it look where the picture ends.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.head = nn.Linear(dim, 6)

    def forward(self, read: Read) -> Tensor:
        """The loss of a lesson's tokens."""
        _, height, width = read.grid
        rows = torch.arange(height)[:, None].expand(height, width)
        columns = torch.arange(width)[None].expand(height, width)
        tokens = functional.rms_norm(read.features.float(), read.features.shape[-1:])
        thirds = self.head(tokens).flatten(0, 1)
        loss = thirds.new_zeros(())
        for part, (place, size) in enumerate(((rows, height), (columns, width))):
            wanted = ((2 * place + 1) * 3 // (2 * size)).flatten().repeat(len(tokens))
            loss = loss + functional.cross_entropy(thirds[:, 3 * part : 3 * part + 3], wanted)
        return loss


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
        state = torch.load(tower, weights_only=True)["reader"]
        own = {k.removeprefix("tower."): v for k, v in state.items() if k.startswith("tower.")}
        model.visual.load_state_dict(own)
    return model


class Teacher:
    """Trains, keeps the averaged weights, and saves all of it now and then."""

    def __init__(self, spec: VLSpec, folder: Path, course: Course, tower: Path | None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.spec, self.folder, self.course = spec, folder, course
        self.model = begin(spec, tower)
        self.decoder = Muon(self.model.text, course.lr)
        self.tower = Muon(self.model.vision, course.tower_lr) if course.tower_lr else None
        self.whereabouts = Whereabouts(spec.text.dim)
        self.places = Muon(self.whereabouts, 1e-3)
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.step, self.spent, self.stamped = 0, 0.0, 0.0
        last = folder / "last.pt"
        if last.exists():
            self._resume(torch.load(last, weights_only=True))

    def _resume(self, state: Row) -> None:
        self.model.load_state_dict(state["model"])  # type: ignore[arg-type]
        self.decoder.load_state_dict(state["decoder"])  # type: ignore[arg-type]
        if self.tower and "tower" in state:
            self.tower.load_state_dict(state["tower"])  # type: ignore[arg-type]
        self.average = state["average"]  # type: ignore[assignment]
        self.step, self.spent = int(state["step"]), float(state["spent"])  # type: ignore

    def follow(self, checkpoint: Path) -> None:
        """Begin with the averaged weights of another run."""
        weights = torch.load(checkpoint, weights_only=True)["average"]
        self.model.load_state_dict(weights)
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}

    def save(self) -> None:
        part = self.folder / "last.part"
        state = {"model": self.model.state_dict(), "decoder": self.decoder.state_dict()}
        more: Row = {"average": self.average, "step": self.step, "spent": self.spent}
        if self.tower:
            more["tower"] = self.tower.state_dict()
        torch.save({**state, **more}, part)
        part.replace(self.folder / "last.pt")

    def rate(self) -> float:
        done = min(1.0, self.spent / (60 * self.course.minutes))
        return min(1.0, (self.step + 1) / 60) * max(0.01, min(1.0, (1 - done) / self.course.fall))

    def once(self, tally: Tally) -> float:
        """One step; its loss."""
        course = self.course
        optimisers = [self.decoder, *([self.tower, self.places] if self.tower else [])]
        for optimiser in optimisers:
            optimiser.set_rate(self.rate())
            optimiser.zero_grad()
        total = 0.0
        live = self.step % course.live_every == 0
        for index in range(course.lessons if live else 0):
            seed = course.seed * 10_000_000 + self.step * course.lessons + index
            size = draw_size(seed)
            # Later every other step is short, and these are what the tower learns from as well.
            short = self.step % 2 == 0 or self.spent < 60 * course.minutes * course.short
            count = course.forks // 2 if short else course.forks
            lesson = draw_lesson(seed, size, self.spec.vision.factor, count, False, short)
            learn = short and self.tower is not None
            read = run_lesson(self.model, tensors(lesson), learn)
            losses = functional.cross_entropy(read.logits, read.target, reduction="none")
            loss = (losses * read.weight).sum() / read.weight.sum()
            total += float(loss.detach()) / course.lessons
            if learn:
                loss = loss + PLACES * self.whereabouts(read)
            ((loss + STAMPED * read.stamped) / course.lessons).backward()
            grade(tally, lesson, read)
        if course.words:
            lesson = draw_words(course.seed * 10_000_000 + self.step, course.words, course.longest)
            read = run_lesson(self.model, tensors(lesson), False)
            losses = functional.cross_entropy(read.logits, read.target, reduction="none")
            loss = (losses * read.weight).sum() / read.weight.sum()
            ((loss + STAMPED * read.stamped) / course.lessons).backward()
            grade(tally, lesson, read, "words ")
            self.stamped = float(read.stamped.detach())
        self._step(optimisers)
        return total

    def _step(self, optimisers: list[Muon]) -> None:
        nn.utils.clip_grad_norm_(self.model.text.parameters(), 1.0)
        if self.tower:
            nn.utils.clip_grad_norm_(self.model.vision.parameters(), 1.0)
        for optimiser in optimisers:
            optimiser.step()
        self._blend()
        self.step += 1

    @torch.no_grad()
    def _blend(self) -> None:
        decay = min(0.998, (1 + self.step) / (10 + self.step))
        for name, value in self.model.state_dict().items():
            self.average[name].lerp_(value, 1 - decay)

    def run(self) -> None:
        """Until the time is up."""
        begun, tally, losses = clock.perf_counter() - self.spent, Tally(), []
        with (self.folder / "log.jsonl").open("a") as log:
            while self.spent < 60 * self.course.minutes:
                losses.append(self.once(tally))
                self.spent = clock.perf_counter() - begun
                if self.step % 25 == 0:
                    mean = round(sum(losses) / len(losses), 4)
                    row: Row = {"step": self.step, "s": round(self.spent), "loss": mean}
                    write(log, {**row, "stamped": round(self.stamped, 3)})
                    losses = []
                if self.step % 100 == 0:
                    write(log, {"step": self.step, "seen": tally.read()})
                if self.step % 200 == 0:
                    write(log, {"step": self.step, "held out": self.examine()})
                    self.save()
            self.save()

    @torch.no_grad()
    def examine(self, lessons: int = 12) -> dict[str, float]:
        """Accuracies of the averaged weights on held-out streams with held-out photographs."""
        now = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        tally = Tally()
        for index in range(lessons):
            seed = 900_000_000 + index
            lesson = draw_lesson(seed, draw_size(seed), self.spec.vision.factor, 80, True)
            grade(tally, lesson, run_lesson(self.model, tensors(lesson), False))
        self.model.load_state_dict(now)
        return tally.read()


def write(log: TextIO, row: Row) -> None:
    print(json.dumps(row), file=log, flush=True)
