"""A device that only takes time: analytic costs with noise, and the run of a launch in stages."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from random import Random

from ..pipeline import Effort
from ..scheduling.tasks import Measured, Plan, Profile, Shape, Stage

GoOn = Callable[[int], frozenset[str]]
"""Asked after a pass with the number of those done: the sessions that go on."""
Sample = tuple[Stage, Shape, int, int | None, float]


@dataclass(frozen=True, slots=True)
class DeviceModel:
    """Mean seconds of each stage and how they vary.

    Attributes:
        encode, each_pass, decode, commit: of one row of `reference` with the whole window.
        reference: the shape that these are for.
        pixel_power: cost grows as (pixels / reference pixels) to this power; above 1 because
            attention is quadratic in them (2.9x for 2.25x the pixels).
        row_share: of the cost of one row that every row costs; the rest is paid once a launch.
        past: latent frames of the whole window.
        past_share: of a pass that grows with the window.
        prompt: extra seconds of the encode when a prompt is new.
        noise: standard deviation of every stage over its mean.
        spike_share, spike: share of the launches in which everything takes `spike` times longer.
    """

    encode: float
    each_pass: float
    decode: float
    reference: Shape
    commit: float = 0.0
    pixel_power: float = 1.313
    row_share: float = 0.8
    past: int = 9
    past_share: float = 0.5
    prompt: float = 0.004
    noise: float = 0.03
    spike_share: float = 0.01
    spike: float = 1.5

    def seconds(self, stage: Stage, shape: Shape, rows: int, window: int | None) -> float:
        """Mean time of a stage with `rows` rows."""
        base = {
            "encode": self.encode,
            "pass": self.each_pass,
            "decode": self.decode,
            "commit": self.commit,
        }[stage]
        if stage in ("pass", "commit"):
            seen = self.past if window is None else min(window, self.past)
            base *= 1 - self.past_share * (1 - seen / self.past)
        size = (shape.pixels / self.reference.pixels) ** self.pixel_power
        return base * size * (1 - self.row_share + self.row_share * rows)

    def chunk_seconds(self, shape: Shape, effort: Effort, rows: int = 1) -> float:
        """Mean time of a launch of `rows` chunks, all with this effort."""
        shape = scaled(shape, effort.scale)
        total = self.seconds("encode", shape, rows, None) + self.seconds(
            "decode", shape, rows, None
        )
        total += (effort.passes or 1) * self.seconds("pass", shape, rows, effort.window)
        return total + effort.commit * self.seconds("commit", shape, rows, effort.window)


def scaled(shape: Shape, scale: float) -> Shape:
    """The shape with both sides times `scale`."""
    return Shape(round(shape.width * scale), round(shape.height * scale), shape.chunk)


class FakeDevice:
    """Runs one plan at a time; the caller's events say when a stage has ended.

    Args:
        model: what things cost.
        seed: of the noise.
    """

    def __init__(self, model: DeviceModel, seed: int) -> None:
        self.model = model
        self.busy = 0.0
        self._random = Random(f"device {seed}")

    def launch(
        self,
        plan: Plan,
        profiles: Mapping[str, Profile],
        new_prompts: int,
        go_on: GoOn,
    ) -> Generator[float, None, Measured]:
        """Yields the seconds of each stage in turn; to be resumed when the stage has ended.

        Args:
            plan: what to run; it launches something.
            profiles: of the sessions in it.
            new_prompts: prompts to embed before the first pass.
            go_on: asked between passes.

        Returns:
            What was measured.
        """
        rows = {a.task.session: profiles[a.task.session].efforts[a.effort] for a in plan.launch}
        first = profiles[plan.launch[0].task.session]
        shape = scaled(first.shape, rows[first.session].scale)
        spike = self.model.spike if self._random.random() < self.model.spike_share else 1.0
        samples: list[Sample] = []

        def stage(name: Stage, efforts: list[Effort], extra: float = 0.0) -> float:
            window = _widest(efforts) if name in ("pass", "commit") else None
            mean = self.model.seconds(name, shape, len(efforts), window)
            seconds = mean * spike * max(0.5, self._random.gauss(1, self.model.noise))
            samples.append((name, shape, len(efforts), window, seconds))
            self.busy += seconds + extra
            return seconds + extra

        # The table of costs must not learn a prompt's price as the encoder's.
        yield stage("encode", list(rows.values()), new_prompts * self.model.prompt)
        done, going, passes = 0, frozenset(rows), dict.fromkeys(rows, 0)
        while going:
            yield stage("pass", [rows[session] for session in going])
            done += 1
            passes |= dict.fromkeys(going, done)
            going &= go_on(done)
        yield stage("decode", list(rows.values()))
        commits = [effort for effort in rows.values() if effort.commit]
        if commits and self.model.commit:
            yield stage("commit", commits)
        return Measured(tuple(samples), passes)


def _widest(efforts: list[Effort]) -> int | None:
    """Rows of one pass look back as far as the one that looks furthest."""
    windows = [effort.window for effort in efforts]
    return None if None in windows else max(w for w in windows if w is not None)
