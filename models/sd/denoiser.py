"""The denoising step of a batch of frames, each at a noise level and with wishes of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from torch import Tensor

from ...kernels import gaussian_noise
from ..bring import bring
from ..graphs import Call, Graphs
from ..state import State, row_tensor
from . import steps
from .cache import Kept
from .network import Network
from .specs import NoiseLevel
from .text import Prompt

Cfg = Literal["none", "full", "self", "onetime"]
CFG: tuple[Cfg, ...] = ("none", "full", "self", "onetime")
NOISES = 64
"""Noise of (seed, step) that is kept; it stays the same from frame to frame."""
PLANS = 32
"""Combinations of wishes and levels in one batch that are kept ready on the device."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """How a frame is to be drawn, from its first step to its last.

    Attributes:
        prompt, negative: what it should become, and what it should not.
        levels: the noise levels that it passes.
        cfg: what guidance leads away from; see `steps.guided`.
        guidance: how far; 1 is not at all.
        delta: how much of the residual counts in "self" and "onetime", 0..1.
        noise: add new noise at each level after the first; else only the clean share remains.
        seed: of its noise, which is the same for every frame.
        lora, control: weight of the loaded LoRA and of the ControlNet; 0 is none.
    """

    prompt: Prompt
    negative: Prompt
    levels: tuple[NoiseLevel, ...]
    cfg: Cfg = "none"
    guidance: float = 1.0
    delta: float = 1.0
    noise: bool = True
    seed: int = 0
    lora: float = 1.0
    control: float = 1.0

    def asks_negative(self, level: int) -> bool:
        """Whether this step needs the network's answer to the negative prompt."""
        if self.guidance == 1:
            return False
        return self.cfg == "full" or (self.cfg == "onetime" and level == 0)


@dataclass(frozen=True, slots=True)
class Task:
    """One step of a chunk: its row in the state, its wishes, and which of its levels is next."""

    row: int
    drawing: Drawing
    level: int


@dataclass(eq=False)
class SDState(State):
    """Chunks in flight. A chunk keeps its row from its entry to its end.

    Attributes:
        z: [rows, T, C, h, w], noisy latents.
        anchor: like z, what residual guidance leads away from; stored once for a frame.
        condition: [rows, T, 3, H, W] in 0..1 for a ControlNet, or None.
    """

    z: Tensor = row_tensor()
    anchor: Tensor = row_tensor()
    condition: Tensor | None = row_tensor()


@dataclass(frozen=True, slots=True)
class _Plan:
    """All of a batch that does not depend on the pictures, on the device.

    Numbers are [n, 1, 1, 1, 1], a row for each task; `a` and `b` have rows for the negatives too.
    `negatives` are the tasks that have one; `text` and `timesteps` are those of the network's rows.
    """

    a: Tensor
    b: Tensor
    skip: Tensor
    out: Tensor
    next_a: Tensor
    next_b: Tensor
    guidance: Tensor
    delta: Tensor
    noise: Tensor
    timesteps: Tensor
    text: Tensor
    lora: Tensor | None
    control: Tensor | None
    negatives: Tensor | None

    @property
    def names(self) -> tuple[str, ...]:
        """Of the fields that there are here."""
        return tuple(f.name for f in fields(self) if getattr(self, f.name) is not None)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What they hold."""
        return tuple(getattr(self, name) for name in self.names)

    def with_tensors(self, tensors: Sequence[Tensor]) -> _Plan:
        """The same with others in their places."""
        return replace(self, **dict(zip(self.names, tensors, strict=True)))


class Denoiser:
    """Runs a `Network` on rows of an `SDState`.

    Args:
        frames: T, pictures of a chunk.
        latent: C, h, w of a latent.
        graphs: where steps are recorded, of one state alone; None runs each as it is. Every number
            of rows has a recording of its own: a row more costs the network as much as a real one.
    """

    def __init__(
        self,
        network: Network,
        frames: int,
        latent: tuple[int, int, int],
        graphs: Graphs | None = None,
    ) -> None:
        self.network, self._graphs = network, graphs
        self.frames, self.latent = frames, latent
        self.device = network.device
        self.dtype = torch.float64 if network.dtype == torch.float64 else torch.float32
        self._noises = Kept[Tensor](NOISES)
        self._plans = Kept[_Plan](PLANS)
        self._indices = Kept[Tensor](4 * PLANS)

    def init_state(self, rows: int) -> SDState:
        """Memory for `rows` chunks in flight."""
        shape = (rows, self.frames, *self.latent)
        z = torch.zeros(shape, dtype=self.dtype, device=self.device)
        condition = None
        if self.network.conditioned:
            channels, height, width = 3, 8 * self.latent[1], 8 * self.latent[2]
            pixels = (rows, self.frames, channels, height, width)
            condition = torch.zeros(pixels, dtype=self.network.dtype, device=self.device)
        return SDState(z, torch.zeros_like(z), condition)

    def enter(
        self, state: SDState, row: int, clean: Tensor, drawing: Drawing, pictures: Tensor
    ) -> None:
        """Put a chunk into a row, at the first level of its drawing.

        Args:
            clean: [T, C, h, w], latents of its frames.
            pictures: [T, 3, H, W] in 0..1, the frames themselves.
        """
        level = drawing.levels[0]
        # The same noise for every frame: it is what keeps a still picture still.
        noise = self._noise(drawing.seed, 0)
        state.z[row] = level.clean * clean.to(self.dtype) + level.noise * noise
        state.anchor[row] = clean
        if state.condition is not None:
            state.condition[row] = self.network.condition(pictures)

    def step(self, state: SDState, tasks: Sequence[Task]) -> Tensor:
        """One step of some rows, all in one forward; their latents move to their next level.

        Returns:
            [len(tasks), T, C, h, w], the clean latents that they point to now.
        """
        plan = self._plans.get(
            tuple((task.drawing, task.level) for task in tasks), lambda: self._plan(tasks)
        )
        rows = self._index(tuple(task.row for task in tasks))
        if self._graphs is None:
            return self._over(state, plan, rows)

        def step(rows: Tensor, *parts: Tensor) -> Tensor:
            return self._over(state, plan.with_tensors(parts), rows)

        sizes = tuple((name, tuple(getattr(plan, name).shape)) for name in plan.names)
        call = Call(step, (rows,), plan.tensors, memory=(state.z, state.anchor))
        return self._graphs.run(("pass", sizes), call)

    def _over(self, state: SDState, plan: _Plan, rows: Tensor) -> Tensor:
        """A function of tensors and of the memory alone."""
        z = state.z.index_select(0, rows)
        anchor = state.anchor.index_select(0, rows)
        both, all_rows = z, rows
        if plan.negatives is not None:
            both = torch.cat((z, z.index_select(0, plan.negatives)))
            all_rows = torch.cat((rows, rows.index_select(0, plan.negatives)))
        answers = self._ask(state, both, all_rows, plan)
        estimates = steps.to_clean(answers, both, plan.a, plan.b, self.network.spec.prediction)
        clean, negative = estimates[: len(rows)], estimates[len(rows) :]
        if plan.negatives is not None:
            anchor.index_copy_(0, plan.negatives, negative)
            state.anchor.index_copy_(0, rows, anchor)
        own = plan.a[: len(rows)]
        clean = steps.guided(clean, anchor, z, own, plan.guidance, plan.delta)
        clean = steps.bounded(clean, z, plan.skip, plan.out)
        state.z.index_copy_(0, rows, steps.noised(clean, plan.noise, plan.next_a, plan.next_b))
        return clean

    def rows_of(self, tasks: Sequence[Task]) -> int:
        """Chunks that the network is asked about for these tasks: their own and the negatives."""
        return len(tasks) + sum(task.drawing.asks_negative(task.level) for task in tasks)

    def _ask(self, state: SDState, z: Tensor, rows: Tensor, plan: _Plan) -> Tensor:
        condition = None
        if state.condition is not None and plan.control is not None:
            condition = state.condition.index_select(0, rows).flatten(0, 1)
        output = self.network(
            z.flatten(0, 1).to(self.network.dtype),
            plan.timesteps,
            plan.text,
            lora=plan.lora,
            condition=condition,
            control=plan.control,
        )
        return output.to(self.dtype).unflatten(0, (-1, self.frames))

    def _plan(self, tasks: Sequence[Task]) -> _Plan:
        asking = [i for i, task in enumerate(tasks) if task.drawing.asks_negative(task.level)]
        all_tasks = [*tasks, *(tasks[i] for i in asking)]
        now = [task.drawing.levels[task.level] for task in all_tasks]
        own = now[: len(tasks)]
        after = [_next(task) for task in tasks]
        prompts = [task.drawing.prompt for task in tasks]
        prompts += [tasks[i].drawing.negative for i in asking]
        text = torch.stack([prompt.embedding for prompt in prompts])
        noises = [self._noise(task.drawing.seed, task.level + 1) for task in tasks]
        return _Plan(
            a=self._numbers([level.clean for level in now]),
            b=self._numbers([level.noise for level in now]),
            skip=self._numbers([level.skip for level in own]),
            out=self._numbers([level.out for level in own]),
            next_a=self._numbers([a for a, _ in after]),
            next_b=self._numbers([b for _, b in after]),
            guidance=self._numbers([_guidance(task.drawing) for task in tasks]),
            delta=self._numbers([_delta(task.drawing) for task in tasks]),
            noise=torch.stack(noises)[:, None],
            timesteps=self._each([level.timestep for level in now]),
            text=text.to(self.device, self.network.dtype).repeat_interleave(self.frames, 0),
            lora=self._weights([task.drawing.lora for task in all_tasks]),
            control=self._weights([task.drawing.control for task in all_tasks]),
            negatives=bring(torch.tensor(asking), self.device) if asking else None,
        )

    def _numbers(self, values: Sequence[float]) -> Tensor:
        numbers = bring(torch.tensor(values, dtype=self.dtype), self.device)
        return numbers.view(-1, 1, 1, 1, 1)

    def _each(self, values: Sequence[float]) -> Tensor:
        """A value for each picture of each task."""
        numbers = bring(torch.tensor(values, dtype=self.dtype), self.device)
        return numbers.repeat_interleave(self.frames)

    def _weights(self, values: Sequence[float]) -> Tensor | None:
        return self._each(values).to(self.network.dtype) if any(values) else None

    def _noise(self, seed: int, step: int) -> Tensor:
        return self._noises.get(
            (seed, step),
            lambda: gaussian_noise(seed, 0, step, self.latent, self.device, self.dtype),
        )

    def _index(self, rows: tuple[int, ...]) -> Tensor:
        return self._indices.get(rows, lambda: bring(torch.tensor(rows), self.device))


def _next(task: Task) -> tuple[float, float]:
    """Shares of the clean latent and of new noise after a step. After the last one the row is
    free, and what stands in it is never read."""
    drawing = task.drawing
    if task.level + 1 == len(drawing.levels):
        return 1.0, 0.0
    level = drawing.levels[task.level + 1]
    return level.clean, level.noise if drawing.noise else 0.0


def _guidance(drawing: Drawing) -> float:
    return 1.0 if drawing.cfg == "none" else drawing.guidance


def _delta(drawing: Drawing) -> float:
    """The answer to the negative prompt itself is no residual: nothing is softened there."""
    return 1.0 if drawing.cfg in ("full", "none") else drawing.delta
