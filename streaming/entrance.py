"""How chunks get into the lanes: encoded, given noise and a prompt; streams begun where needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ..models.graphs import Call
from .banks import Bank
from .brought import shares_on
from .entries import Entry
from .motion import NoiseController
from .parts import Course, Parts, Size, Wish
from .pipeline import Work

LEAD = -2
"""Index of the chunk that begins a stream of an autoencoder with a lead: no other has it, and -1
stands for none."""


@dataclass(eq=False)
class Stream:
    """What the host remembers of one stream; all tensors of its past are in the bank.

    Attributes:
        noise: that the last chunk entered with; before it that of a still picture.
        begun: whether the lanes and the decoder have had its lead.
        watched: whether the encoder has had the lead of the source, and every chunk since.
    """

    size: Size
    bank: Bank
    slot: int
    wish: Wish
    noise: float | Tensor
    last_frame: Tensor | None = None
    resets: int = 0
    begun: bool = False
    watched: bool = False

    @property
    def prompt(self) -> object:
        return self.wish.prompt

    @property
    def notes(self) -> dict[str, object]:
        return self.wish.notes

    def forget(self) -> None:
        """Begin anew in the slot that it has; chunks in flight go on without a past."""
        self.bank.forget(self.slot)
        self.begun = self.watched = False

    def move(self, bank: Bank, slot: int) -> None:
        """Begin anew in another slot, whose memory is new."""
        self.bank, self.slot = bank, slot
        self.begun = self.watched = False


@dataclass(frozen=True, slots=True, eq=False)
class Arrival:
    """A new chunk, what its viewer wants of it by now, and how it is to be drawn."""

    work: Work
    frames: Tensor
    course: Course
    new_scene: bool

    @property
    def stream(self) -> Stream:
        stream: Stream = self.work.stream
        return stream


class Entrance:
    """Puts the new chunks of one size into the lanes together.

    Args:
        parts: the model.
        mark: told when a stage is over, with the rows that it had.
    """

    def __init__(self, parts: Parts, mark: Callable[[str, int], None]) -> None:
        self._parts, self._mark = parts, mark

    def enter(self, bank: Bank, works: Sequence[Work]) -> None:
        """Bring in what is new of these, all of this bank and ordered by slot."""
        arrivals = [self._arrival(work, work.frames) for work in works if work.frames is not None]
        if not arrivals:
            return
        latents: dict[int, Tensor] = {}
        if self._parts.codec.leads:
            self._begin(bank, arrivals)
        seen = [arrival for arrival in arrivals if arrival.course.source == "video"]
        if seen:
            slots = [arrival.stream.slot for arrival in seen]
            encoded = bank.encode(slots, [arrival.frames for arrival in seen])
            latents = dict(zip(slots, encoded, strict=True))
            self._done(bank, "encode", len(seen))
        for arrival in arrivals:
            bank.lanes.enter(arrival.stream.slot, self._entry(arrival, latents))

    def _done(self, bank: Bank, stage: Literal["encode", "decode"], rows: int) -> None:
        """A stage is over, where it ran."""
        with bank.queues.on(stage):
            self._mark(stage, rows)

    def _arrival(self, work: Work, frames: Tensor) -> Arrival:
        stream: Stream = work.stream
        new_scene = stream.wish.heed(work.controls)
        return Arrival(work, frames, self._parts.noise.course(work.controls), new_scene)

    def _entry(self, arrival: Arrival, latents: dict[int, Tensor]) -> Entry:
        stream, course = arrival.stream, arrival.course
        if course.source == "video":
            stream.noise, told = self._noise(arrival)
            stream.last_frame = arrival.frames[-1]
            return self._made(arrival, latents[stream.slot], stream.noise, told)
        return self._of_noise(arrival, len(stream.bank.lanes.x[0]))

    def _noise(self, arrival: Arrival) -> tuple[Tensor, Tensor]:
        """What a live chunk enters with, and what the model is told of it."""
        stream, scale, graphs = arrival.stream, arrival.course.noise, arrival.stream.bank.graphs
        last = stream.last_frame
        before = scale if last is None else stream.noise
        if graphs is None or last is None:
            noise = NoiseController(scale).next(before, arrival.frames, last)
            return noise, self._parts.noise.timestep(noise)
        shares = shares_on(arrival.frames.device)
        inputs = (arrival.frames, last, shares.of(before), shares.of(scale))
        key = ("motion", tuple(arrival.frames.shape))
        noise, told = graphs.run(key, Call(self._moved, inputs)).unbind(0)
        return noise, told

    def _moved(self, frames: Tensor, last: Tensor, before: Tensor, scale: Tensor) -> Tensor:
        """The same as a function of tensors, [2]."""
        noise = NoiseController(scale).next(before, frames, last)
        return torch.stack((noise, self._parts.noise.timestep(noise)))

    def _of_noise(self, arrival: Arrival, frames: int) -> Entry:
        first = arrival.course.ladder[0]
        blank = torch.zeros_like(arrival.stream.bank.lanes.x[0, :frames])
        full, told = blank.new_ones((), dtype=torch.float32), 1000 * first
        return self._made(arrival, blank, full, full * told)

    def _made(self, arrival: Arrival, latent: Tensor, noise: Tensor, told: Tensor) -> Entry:
        work, course = arrival.work, arrival.course
        prompt = arrival.stream.wish.prompt
        assert prompt is not None
        steps = int(work.controls.number("steps"))
        if work.effort.passes is not None:
            steps = min(steps, work.effort.passes)
        return Entry(
            index=work.index,
            cond=latent,
            sigma=noise,
            timestep=told,
            steps=min(steps, len(course.ladder) or steps),
            seed=int(work.controls.number("seed")),
            prompt=prompt,
            new_scene=arrival.new_scene,
            past=work.effort.window,
            ladder=course.ladder,
            commit=work.effort.commit,
        )

    # -- the first latent frame of a stream -------------------------------------------------------

    def _begin(self, bank: Bank, arrivals: Sequence[Arrival]) -> None:
        """Leads: of the encoder for whoever is watched from now on, and of the lanes and the
        decoder for new streams. All passes of a lead come at once, and its pictures are dropped."""
        for arrival in arrivals:
            if arrival.course.source != "video":
                arrival.stream.watched = False
        latents = self._first_looks(bank, arrivals)
        new = [arrival for arrival in arrivals if not arrival.stream.begun]
        if not new:
            return
        kept: dict[int, Entry] = {}
        for arrival in new:
            slot, source = arrival.stream.slot, arrival.course.source
            entry = self._lead(arrival, latents.get(slot))
            if source == "image":
                kept[slot] = entry
            else:
                bank.lanes.enter(slot, entry)
            arrival.stream.begun = True
        if kept:
            bank.lanes.remember(kept)
        slots = [arrival.stream.slot for arrival in new]
        finished = bank.lanes.complete(*(slot for slot in slots if slot not in kept))
        found = {done.slot: done.latent for done in finished}
        found |= {slot: entry.cond for slot, entry in kept.items()}
        bank.decode_leads(slots, [found[slot] for slot in slots])
        self._done(bank, "decode", len(slots))

    def _first_looks(self, bank: Bank, arrivals: Sequence[Arrival]) -> dict[int, Tensor]:
        """Latents of first pictures, by slot: of streams that are watched from now on, and of new
        ones that begin with a picture."""
        looks = [
            arrival
            for arrival in arrivals
            if (arrival.course.source == "video" and not arrival.stream.watched)
            or (arrival.course.source == "image" and not arrival.stream.begun)
        ]
        if not looks:
            return {}
        slots = [arrival.stream.slot for arrival in looks]
        bank.forget_source(slots)
        encoded = bank.encode(slots, [arrival.frames[:1] for arrival in looks], lead=True)
        for arrival in looks:
            arrival.stream.watched = arrival.course.source == "video"
        self._done(bank, "encode", len(looks))
        return dict(zip(slots, encoded, strict=True))

    def _lead(self, arrival: Arrival, latent: Tensor | None) -> Entry:
        if latent is None:
            entry = self._of_noise(arrival, 1)
        else:
            still = torch.full((), arrival.course.noise, device=latent.device)
            entry = self._made(arrival, latent, still, self._parts.noise.timestep(still))
        return replace(entry, index=LEAD, new_scene=False)
