"""Other systems that do the same with the same weights, so that a figure can be held to theirs."""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from ..clock import Clock
from ..config import Config
from ..pipeline import Pipeline
from ..room import check_fits
from .contender import Window, wait_for
from .energy import Meter


class RivalError(RuntimeError):
    """A comparison that cannot be made here; the message says why and what would help."""


class Rival(Protocol):
    """Another system, ready to run.

    Attributes:
        name: with its version.
        note: how it runs, and what it does that we do not, or the other way round.
        chunk: pictures that it takes at once.
        first_chunk: and of the first chunk of a stream.
        same_noise: whether it draws with our noise, so that pictures should be alike.
    """

    name: str
    note: str
    chunk: int
    first_chunk: int
    same_noise: bool

    def begin(self, steps: int) -> None:
        """A new stream."""
        ...

    def draw(self, pictures: Tensor) -> Tensor | None:
        """A chunk, float32 [T, 3, H, W] in 0..1 on the host, to pictures of that form, on the host
        too; None while it still holds them back."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a rival is to do.

    Attributes:
        model: name of our pipeline.
        size: width and height.
        device, dtype: of our model.
        settings: of our pipeline, weights among them.
        controls: further ones of our session, as read.
        folder: an empty one, for weights in the layout that the rival reads.
    """

    model: str
    size: tuple[int, int]
    device: str
    dtype: torch.dtype
    settings: Mapping[str, object]
    controls: Mapping[str, object]
    folder: Path

    @classmethod
    def of(cls, config: Config, folder: Path) -> Challenge:
        """What our pipeline is to do."""
        dtype: torch.dtype = getattr(torch, config.dtype)
        size = (config.width, config.height)
        return cls(config.pipeline, size, config.device, dtype, config.settings, {}, folder)

    @property
    def random(self) -> bool:
        return self.settings.get("random_weights") in (True, "true", "1")


@dataclass(frozen=True, slots=True)
class Entry:
    """One known rival.

    Attributes:
        package: that must be installed.
        install: how.
        models: names of our pipelines that it can be held against.
        weights: bytes that its own copy of the weights takes.
        build: `export` has written what it needs; makes it, beside our pipeline.
    """

    package: str
    install: str
    models: tuple[str, ...]
    weights: Callable[[Challenge], int]
    export: Callable[[Challenge], None]
    build: Callable[[Challenge, Pipeline], Rival]


def version_of(entry: Entry) -> str:
    """Its version.

    Raises:
        RivalError: it is not installed.
    """
    try:
        return metadata.version(entry.package)
    except metadata.PackageNotFoundError:
        raise RivalError(f"{entry.package} is not installed; {entry.install}") from None


class Challenger:
    """A rival as a contender: the same pictures, one chunk after another.

    Args:
        pictures: float32 [3, H, W] in 0..1 on the host, shown round and round.
    """

    def __init__(
        self, rival: Rival, clock: Clock, device: torch.device, pictures: list[Tensor]
    ) -> None:
        self._rival, self._clock, self._device = rival, clock, device
        self._pictures, self._at = pictures, 0
        self.name = rival.name

    def _take(self, count: int) -> Tensor:
        """The next pictures."""
        chosen = [self._pictures[(self._at + i) % len(self._pictures)] for i in range(count)]
        self._at += count
        return torch.stack(chosen)

    def first(self, steps: int | None) -> float:
        self._rival.begin(steps or 1)
        began = self._clock.now()
        shown = self._rival.draw(self._take(self._rival.first_chunk))
        while shown is None:
            shown = self._rival.draw(self._take(self._rival.chunk))
        return self._clock.now() - began

    def settle(self, steps: int | None) -> None:
        """A new stream each time, as not every rival can change its steps, brought to where its
        memory is full."""
        self.first(steps)
        for _ in range(SETTLING if self._rival.chunk > 1 else 1):
            self._rival.draw(self._take(self._rival.chunk))

    def window(self, seconds: float, meter: Meter | None) -> Window:
        frames, chunk = 0, self._rival.chunk
        wait_for(self._device)
        if meter is not None:
            meter.begin()
        began = self._clock.now()
        while not frames or self._clock.now() - began < seconds:
            self._rival.draw(self._take(chunk))
            frames += chunk
        wait_for(self._device)
        span = self._clock.now() - began
        return Window(frames, span, None if meter is None else meter.end(span))

    def close(self) -> None:
        self._rival.close()


RIVALS = {"diffusers": "rival_diffusers", "streamdiffusionv2": "rival_streamdiffusionv2"}
"""Name -> module in this folder, whose `ENTRY` it is."""


def entry_of(name: str, model: str) -> Entry:
    """A rival that is known, is installed, and can be held against a model of ours.

    Raises:
        RivalError: it is not.
    """
    if name not in RIVALS:
        raise RivalError(f"{name!r} is not a system to compare with; {', '.join(RIVALS)} are")
    entry: Entry = importlib.import_module(f".{RIVALS[name]}", __package__).ENTRY
    if model not in entry.models:
        raise RivalError(f"{name} can be compared with {', '.join(entry.models)}; not with {model}")
    version_of(entry)
    return entry


def check_memory(entry: Entry, challenge: Challenge) -> None:
    """Before anything is built: both copies of the weights must fit, and what streams need is not
    even counted.

    Raises:
        RivalError: they do not; with the numbers.
    """
    each = entry.weights(challenge)
    what = f"{challenge.model} beside {entry.package}"
    try:
        check_fits(what, {"our weights": each, "its weights": each}, challenge.device)
    except RuntimeError as error:
        raise RivalError(str(error)) from error


SETTLING = 6
"""Chunks until the memory of a video model is full."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """Of pictures in 0..1: peak signal to noise ratio in dB, and the largest difference."""

    psnr_db: float
    largest: float


def likeness(ours: Tensor, theirs: Tensor) -> Likeness:
    """How alike the same pictures came out, both [T, 3, H, W] in 0..1."""
    apart = ours.double().cpu() - theirs.double().cpu()
    square = apart.square().mean().clamp_min(1e-20)
    return Likeness(float(-10 * square.log10()), float(apart.abs().max()))


@contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Without remarks of these loggers, nor warnings: the table is what a reader wants to see."""
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
