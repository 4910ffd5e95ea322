"""StreamDiT's moving buffer: one forward denoises all chunks in flight, each at its own level.

The buffer holds, in the order of time, K finished reference frames and N chunks of c latent frames,
the newest the noisiest (arXiv 2507.03745, sections 3.1 and 3.2; the numbers are those of a
`Schedule`). All of them attend to one another. After s steps every chunk has moved one place
towards clean, the oldest leaves as it is now clean, and a chunk of noise enters. c = all frames is
plain text-to-video, c = 1 and s = 1 is diagonal denoising (FIFO-Diffusion, arXiv 2405.11473).

A stream begins with the uniform start of the paper: all chunks go down the levels together, and
each is kept as it is at the level that its place wants. That takes (N - 1) s steps, after which the
buffer is in its steady state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ..kernels import gaussian_noise
from .block import Reading
from .buffer_prompts import FlightPrompts, beside
from .dit import CausalDiT
from .ladder import Ladder
from .sigmas import TRAIN_STEPS, Schedule, uniform_levels
from .state import State, row_tensor

Solver = Literal["euler", "renoise"]
Swap = Literal["all", "entering"]
Denoise = Callable[[Tensor, Tensor, Reading], Tensor]
"""Latents, timesteps and prompt -> what `CausalDiT.forward_buffer` would answer."""


def moving_buffer(
    reference: int, chunks: int, frames: int, micro_steps: int, shift: float = 1.0
) -> Schedule:
    """The schedule of a buffer with evenly spaced levels: chunk j (0 the newest) begins at noise
    1 - j / chunks and takes micro_steps steps to the next place (before the shift)."""
    levels = uniform_levels(chunks * micro_steps, shift=shift)
    return Schedule(reference, chunks, frames, micro_steps, levels)


@dataclass(eq=False)
class BufferState(State):
    """All memory of streams in a `MovingBuffer`.

    Attributes:
        x: [rows, K + N c, channels, height, width], references and chunks, oldest first.
        kept: [rows, N c, channels, height, width], chunks at the levels that the start leaves them.
        ticks: int64 [rows], steps since the stream began.
        known: int64 [rows], reference frames that hold a picture; the others are noise.
        seeds: int64 [rows], of the noise.
        prompts: what the chunks are to become.
    """

    x: Tensor = row_tensor()
    kept: Tensor = row_tensor()
    ticks: Tensor = row_tensor()
    known: Tensor = row_tensor()
    seeds: Tensor = row_tensor()
    prompts: FlightPrompts = field(kw_only=True)


class Tick(NamedTuple):
    """What a step gives.

    Attributes:
        latents: [rows, c, channels, height, width], the oldest chunk.
        left: bool [rows], whether it is clean and has left the buffer; else it means nothing.
    """

    latents: Tensor
    left: Tensor


class MovingBuffer:
    """Runs a `CausalDiT` that was trained for it by a `Schedule`, row by row as `State`s run.

    Args:
        solver: "euler" follows the flow; "renoise" goes to the clean latent and back to the next
            level with new noise, as few-step models want it. None: "euler" for a model that
            predicts the flow, "renoise" for one that predicts the clean latent.
        swap: "all": a prompt counts at once for all chunks in flight (as in the paper; chunks that
            are nearly clean cannot follow). "entering": for chunks that enter from now on.
        denoise: what runs in place of the network alone; its answer means what the spec says.
        wordless: [text_len, text_dim], the prompt of those who say nothing, which guidance leads
            away from; None where there is no guidance.

    Raises:
        ValueError: the model takes a condition, which a buffer has none of.
    """

    def __init__(
        self,
        dit: CausalDiT,
        schedule: Schedule,
        solver: Solver | None = None,
        swap: Swap = "all",
        denoise: Denoise | None = None,
        wordless: Tensor | None = None,
    ) -> None:
        if dit.spec.cond_channels:
            raise ValueError("this model wants live pictures as a condition; a buffer has none")
        flow = dit.spec.prediction == "flow"
        self.dit, self.schedule, self.swap = dit, schedule, swap
        self.solver: Solver = solver or ("euler" if flow else "renoise")
        self._denoise: Denoise = denoise or dit.forward_buffer
        device = dit.patch_embedding.weight.device
        self._ladder = Ladder(schedule, device)
        slots = [0]
        if swap == "entering":
            # Oldest first; what has left the buffer looks as its successor does.
            chunks = [c for c in range(schedule.chunks, 0, -1) for _ in range(schedule.frames)]
            slots = [schedule.chunks] * schedule.reference + chunks
        self._slots = torch.tensor(slots, device=device)
        self._wordless = None if wordless is None else dit.read(wordless[None])

    @property
    def warmup(self) -> int:
        """Steps of a new stream before those of its first place begin."""
        return self._ladder.warmup

    def leaves(self, tick: int) -> bool:
        """Whether a chunk leaves at a stream's step of this number (from 0), known beforehand."""
        done = tick + 1 - self.warmup
        return done > 0 and done % self.schedule.micro_steps == 0

    # -- memory ---------------------------------------------------------------------------------

    def init_state(
        self,
        rows: int,
        height: int,
        width: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> BufferState:
        """Memory for `rows` streams of latent frames `height` x `width`; `begin` them.

        Raises:
            ValueError: the size is not a multiple of the patch.
        """
        spec, s = self.dit.spec, self.schedule
        spec.tokens(height, width)
        flying, frame = s.chunks * s.frames, (spec.in_channels, height, width)
        slots = 1 if self.swap == "all" else s.chunks + 1
        count = torch.zeros(rows, dtype=torch.int64, device=device)
        return BufferState(
            torch.zeros(rows, s.reference + flying, *frame, device=device, dtype=dtype),
            torch.zeros(rows, flying, *frame, device=device, dtype=dtype),
            count,
            count.clone(),
            count.clone(),
            prompts=FlightPrompts.empty(spec, rows, slots, device, dtype),
        )

    @torch.no_grad()
    def begin(
        self,
        state: BufferState,
        rows: Tensor,
        seeds: Tensor,
        source: Tensor | None = None,
        reference: Tensor | None = None,
    ) -> None:
        """Begin new streams in some rows; all chunks have the prompt that was set last.

        Args:
            rows: int64 [r].
            seeds: int64 [r], of their noise.
            source: [r, N c, channels, height, width], first chunks of a given video. They are put
                at their levels at once (SDEdit, arXiv 2108.01073), without a uniform start.
            reference: [r, up to K, channels, height, width], clean frames just before the first.
        """
        s, flying = self.schedule, state.kept.shape[1]
        shape = (s.frames, *state.x.shape[2:])
        chunks = torch.arange(s.chunks, device=state.x.device)
        noise = self._noise(state, seeds, chunks, 0, shape).flatten(1, 2)
        x = noise
        if source is not None:
            level = self._ladder.levels[self._ladder.start]
            x = source.lerp(noise, _over(self._per_frame(level)[None], source))
        state.ticks.index_fill_(0, rows, 0 if source is None else self.warmup)
        state.seeds.index_copy_(0, rows, seeds)
        state.kept.index_copy_(0, rows, x)
        # Places without a known picture are told to be pure noise, and are.
        before = gaussian_noise(
            seeds, -1, 0, (s.reference, *shape[1:]), state.x.device, state.x.dtype
        )
        known = 0 if reference is None else reference.shape[1]
        if reference is not None and known:
            before[:, s.reference - known :] = reference
        state.known.index_fill_(0, rows, known)
        state.x.index_copy_(0, rows, torch.cat((before, x), 1))
        assert state.x.shape[1] == s.reference + flying
        state.prompts.spread(rows)

    @torch.no_grad()
    def set_context(
        self, state: BufferState, rows: Tensor, context: Tensor, at_once: bool = False
    ) -> None:
        """Give rows (int64 [r]) another prompt, context [r, text_len, text_dim], see `swap`. For a
        transition over k chunks, blend the contexts and call this before each of k chunks.

        Args:
            at_once: for the chunks in flight too, where new ones bring their own.
        """
        state.prompts.put(rows, self.dit.read(context), at_once)

    # -- running --------------------------------------------------------------------------------

    @torch.no_grad()
    def step(
        self,
        state: BufferState,
        mask: Tensor | None = None,
        source: Tensor | None = None,
        guidance: Tensor | None = None,
    ) -> Tick:
        """One forward over the whole buffer of every row.

        Args:
            mask: bool [rows], rows that run; None for all. Others keep their state.
            source: [rows, c, channels, height, width], what enters under noise where a chunk
                leaves (a given video); None for noise alone.
            guidance: [rows], how far the answer is led beyond that of the wordless prompt (Ho and
                Salimans 2022, arXiv 2207.12598, with w + 1 as the scale): 1 is the plain answer.
                All rows then cost two forwards. None for none.
        """
        s, ladder, k = self.schedule, self._ladder, self.schedule.reference
        if mask is None:
            mask = torch.ones_like(state.ticks, dtype=torch.bool)
        place = ladder.places(state.ticks)
        x = state.x[:, k:]
        told = torch.cat((self._told_reference(state), self._per_frame(ladder.told[place])), 1)
        out = self._answer(state, told, guidance)[:, k:]
        now, after = (
            _over(self._per_frame(ladder.levels[index]), x) for index in (place, place + 1)
        )
        x = self._moved(state, x, out, now, after, place)

        # The uniform start: a chunk is kept as it is when it comes to the level of its place.
        ticks = state.ticks + 1
        waits = (ticks[:, None] <= ladder.start) & (ticks[:, None] <= self.warmup)
        kept = torch.where(_over(self._per_frame(waits), x), x, state.kept)
        x = torch.where(_over((ticks == self.warmup)[:, None], x), kept, x)

        done = ticks - self.warmup
        left = mask & (done > 0) & (done % s.micro_steps == 0)
        latents = x[:, : s.frames].clone()
        whole = torch.cat((state.x[:, :k], x), 1)
        moved = torch.cat((whole[:, s.frames :], self._entering(state, done, source)), 1)
        whole = torch.where(_over(left[:, None], x), moved, whole)
        state.x.copy_(torch.where(_over(mask[:, None], x), whole, state.x))
        state.kept.copy_(torch.where(_over(mask[:, None], x), kept, state.kept))
        state.ticks.add_(mask)
        state.known.add_(left * s.frames).clamp_(max=k)
        state.prompts.pass_on(left)
        return Tick(latents, left)

    def _answer(self, state: BufferState, told: Tensor, guidance: Tensor | None) -> Tensor:
        """What the network says of the buffer, led away from the wordless prompt where wanted.
        Flow and clean latents are linear in each other, so either may be led."""
        prompts = state.prompts.reading(self._slots)
        if guidance is None:
            return self._denoise(state.x, told, prompts)
        assert self._wordless is not None, "give the buffer the wordless prompt"
        x, t = torch.cat((state.x, state.x)), torch.cat((told, told))
        meant, plain = self._denoise(x, t, beside(prompts, self._wordless)).chunk(2)
        return plain.lerp(meant, guidance.to(meant.dtype).view(-1, 1, 1, 1, 1))

    def _moved(
        self, state: BufferState, x: Tensor, out: Tensor, now: Tensor, after: Tensor, place: Tensor
    ) -> Tensor:
        """Each chunk at its next level."""
        if self.dit.spec.prediction == "flow":
            flow, clean = out, x - now * out
        else:
            flow, clean = (x - out) / now, out
        if self.solver == "euler":
            return x + (after - now) * flow
        shape = (self.schedule.frames, *x.shape[2:])
        chunks = self._chunks(state)
        seeds = state.seeds[:, None].expand_as(place).flatten()
        step = (place + 1).flatten()
        noise = gaussian_noise(seeds, chunks.flatten(), step, shape, x.device, x.dtype)
        return clean.lerp(noise.view(x.shape), after)

    def _chunks(self, state: BufferState) -> Tensor:
        """Indices in their streams of the chunks in flight, oldest first: int64 [rows, N]."""
        oldest = (state.ticks - self.warmup).clamp(min=0) // self.schedule.micro_steps
        return oldest[:, None] + torch.arange(self.schedule.chunks, device=oldest.device)

    def _entering(self, state: BufferState, done: Tensor, source: Tensor | None) -> Tensor:
        s = self.schedule
        index = (done.clamp(min=0) // s.micro_steps + s.chunks - 1)[:, None]
        noise = self._noise(state, state.seeds, index, 0, (s.frames, *state.x.shape[2:]))[:, 0]
        return noise if source is None else source.lerp(noise, s.levels[0].sigma)

    def _noise(
        self, state: BufferState, seeds: Tensor, chunks: Tensor, step: int, shape: tuple[int, ...]
    ) -> Tensor:
        """[rows, chunks, *shape] for seeds [rows] and chunks [rows or none, chunks]."""
        seed, chunk = torch.broadcast_tensors(seeds[:, None], chunks)
        x = state.x
        noise = gaussian_noise(seed.flatten(), chunk.flatten(), step, shape, x.device, x.dtype)
        return noise.unflatten(0, seed.shape)

    def _per_frame(self, chunks: Tensor) -> Tensor:
        """[..., N] -> [..., N c]."""
        return chunks.repeat_interleave(self.schedule.frames, -1)

    def _told_reference(self, state: BufferState) -> Tensor:
        """Timesteps of the reference frames [rows, K]: clean, or noise while there is none."""
        k = self.schedule.reference
        place = torch.arange(k, device=state.x.device)
        return (place < k - state.known[:, None]) * float(TRAIN_STEPS)


def _over(values: Tensor, frames: Tensor) -> Tensor:
    """[rows, frames] -> [rows, frames, 1, 1, 1], in the type of the frames where it has one."""
    wide = values[..., None, None, None]
    return wide.to(frames.dtype) if wide.is_floating_point() else wide
