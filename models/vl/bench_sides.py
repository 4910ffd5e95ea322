"""The two sides of the benchmark: turns read by our own streams, and by transformers."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .model import VLModel
from .segments import Pictures, Segment, Words
from .stream import Stream, StreamingVL
from .twin import twin_of

SYSTEM, HEADER, TEXT = 24, 12, 1024
"""Words before all turns, of a turn's header, and most words of old captions that are kept."""
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Load:
    """What a run reads.

    Attributes:
        size: height and width of the pictures as the model sees them.
        window: turns whose pictures stay.
        turns: that are timed, after the window is full.
        words: said in each turn.
        grids: of pictures in each turn of one second.
        fps: new pictures in them.
    """

    size: tuple[int, int]
    window: int
    turns: int
    words: int
    grids: int
    fps: int = 2


@dataclass(slots=True)
class Times:
    """Milliseconds by what took them, only while `counting`."""

    clock: Clock
    device: torch.device
    counting: bool = False
    spent: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        begun = self._now()
        yield
        if self.counting:
            self.spent[name].append(1000 * (self._now() - begun))

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return self.clock()

    def median(self, name: str) -> float:
        return statistics.median(self.spent[name])


class Ours:
    """A stream of our own, with a window over its pictures."""

    def __init__(self, model: VLModel, load: Load, times: Times) -> None:
        spec = model.spec
        tokens = load.size[0] * load.size[1] // spec.vision.factor**2
        turn = 2 * HEADER + load.grids * tokens + load.words
        slots = SYSTEM + TEXT + (load.window + 2) * turn
        self.load, self.times, self.vocab = load, times, spec.text.vocab
        self.reader = StreamingVL(model, slots)
        self.stream: Stream = self.reader.open()
        self.reader.append([(self.stream, [Words("system", (1,) * SYSTEM, pinned=True)])])
        self.number = 0

    def turn(self, pictures: Tensor) -> None:
        """Everything of one second."""
        load, number, second = self.load, self.number, float(self.number)
        with self.times.of("second"):
            with self.times.of("see"):
                features, grid = self.reader.see(pictures)
            head = Words("header", (2,) * HEADER, number, second)
            joined = Pictures(
                features.flatten(0, 1), (load.grids, *grid[1:]), number, second, 1 / load.grids
            )
            with self.times.of("append"):
                self.reader.append([(self.stream, [head, joined, head])])
            self.stream.begin("caption", number, second)
            for word in range(load.words):
                with self.times.of("token"):
                    self.reader.step([(self.stream, (number + word) % self.vocab)])
            with self.times.of("forget"):
                self.reader.rearrange(self.stream, self._kept())
        self.number += 1

    def _kept(self) -> list[Segment]:
        words, kept = 0, []
        for segment in reversed(self.stream.table):
            recent = segment.turn > self.number - self.load.window
            if segment.kind == "vision" or segment.pinned:
                stays = recent or segment.pinned
            else:
                words += segment.length
                stays = recent or words <= TEXT
            if stays:
                kept.append(segment)
        return kept[::-1]


class Theirs:
    """The same turns by transformers' forward passes over its own growing cache, which is cut back
    to the length of our window after each turn."""

    def __init__(self, model: VLModel, load: Load, times: Times, held: Stream) -> None:
        from transformers import DynamicCache

        self.model, self.load, self.times = twin_of(model), load, times
        self.spec, self.device = model.spec, model.text.weight.device
        self.cache = DynamicCache(config=self.model.config.get_text_config())
        self.length = held.length
        self._read(torch.ones(1, self.length, dtype=torch.int64, device=self.device))

    def turn(self, pictures: Tensor) -> None:
        """Everything of one second."""
        grids = self.load.grids
        with self.times.of("second"):
            with self.times.of("see"):
                features = self._see(pictures)
            head = self._embed(torch.full((1, HEADER), 2, device=self.device))
            embeds = torch.cat((head, features[None], head), 1)
            with self.times.of("append"):
                self._read(None, embeds)
            for word in range(self.load.words):
                with self.times.of("token"):
                    self._read(torch.full((1, 1), word, device=self.device))
        assert len(features) % grids == 0
        # Not timed: a real loop would have to move keys here.
        self.cache.crop(self.length - self.cache.get_seq_length())

    def _embed(self, ids: Tensor) -> Tensor:
        return self.model.get_input_embeddings()(ids)

    @torch.no_grad()
    def _see(self, pictures: Tensor) -> Tensor:
        vision = self.spec.vision
        size, merge = vision.patch, vision.merge
        grids, frames, _, height, width = pictures.shape
        rows, columns = height // size, width // size
        mean = pictures.new_tensor(vision.mean)[:, None, None]
        std = pictures.new_tensor(vision.std)[:, None, None]
        split = ((pictures - mean) / std).reshape(
            grids, frames, 3, rows // merge, merge, size, columns // merge, merge, size
        )
        patches = split.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(grids * rows * columns, -1)
        grid = torch.tensor([[grids, rows, columns]], device=self.device)
        return self.model.model.visual(patches, grid_thw=grid).pooler_output

    @torch.no_grad()
    def _read(self, ids: Tensor | None, embeds: Tensor | None = None) -> Tensor:
        if embeds is None:
            assert ids is not None
            embeds = self._embed(ids)
        start = self.cache.get_seq_length()
        places = torch.arange(start, start + embeds.shape[1], device=self.device)
        hidden = self.model.model.language_model(
            inputs_embeds=embeds,
            position_ids=places.expand(3, 1, -1),
            past_key_values=self.cache,
            use_cache=True,
        ).last_hidden_state
        return self.model.lm_head(hidden[:, -1:])
