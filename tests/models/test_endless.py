"""Streams without an end: memory, positions and numbers after thousands of chunks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from millrace.models.dit import CausalDiT, DiTState
from millrace.models.specs import DiTSpec
from torch import Tensor

from .conftest import randomize, small_dit_spec

SMALL = replace(small_dit_spec(stem=False), ffn_dim=16, text_len=2, in_channels=2, out_channels=2)
HEIGHT = WIDTH = 2
LENGTHS = [250, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(3000)])]
SCENE = 90
"""Chunks that look alike."""


def spec_with(positions: str, threshold: float | None = None, span: int | None = None) -> DiTSpec:
    ring = small_dit_spec(positions, sink_threshold=threshold, span=span).ring
    return replace(SMALL, ring=ring)


class Stream:
    """A stream of a small model that is given its chunks by number."""

    def __init__(self, spec: DiTSpec, dtype: torch.dtype) -> None:
        self.model = CausalDiT(spec)
        randomize(self.model)
        self.model.to(dtype)
        self.dtype = dtype
        self.context = draw(0, 1, spec.text_len, spec.text_dim).to(dtype)
        self.state: DiTState = self.model.init_state(1, HEIGHT, WIDTH, 1, "cpu", dtype)
        self.model.set_context(self.state, torch.arange(1), self.context)

    def chunk(self, number: int) -> Tensor:
        return picture(number).to(self.dtype)

    def run(self, chunks: int) -> Iterator[tuple[int, Tensor]]:
        for number in range(chunks):
            timestep = torch.full((1, 1), 700.0)
            yield number, self.model(self.chunk(number), timestep, self.state)
            self.state.ring.commit(None)

    def recomputed(self, number: int) -> Tensor:
        """What chunk `number` is by definition: the first frames as sinks, then so many frames
        before it that none of the clip's own beginning is felt through the layers."""
        spec = self.model.spec
        reach = spec.ring.reach
        assert reach is not None
        begin = max(number - reach - spec.layers * spec.ring.window, spec.ring.sinks)
        numbers = [*range(min(spec.ring.sinks, number + 1)), *range(begin, number + 1)]
        clip = torch.cat([self.chunk(n) for n in numbers], 1)
        t = torch.full(clip.shape[:2], 700.0)
        with torch.no_grad():
            return self.model.forward_clip(clip, t, self.context)[:, -1:]


def draw(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def picture(number: int) -> Tensor:
    """[1, 1, 2, 2, 2]: a scene that changes now and then, under noise."""
    shape = (1, 1, 2, HEIGHT, WIDTH)
    return 2 * draw(-1 - number // SCENE, *shape) + 0.3 * draw(number, *shape)


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def furthest(state: DiTState) -> int:
    """How far before the next chunk the furthest frame stands that it sees."""
    ring = state.ring
    view, held = ring.view(1), ring.slot_frames(1)
    place = held.clone()
    place[:, : ring.policy.sinks] += ring.left_behind(held)
    seen = place.masked_fill(~view.valid, int(ring.frames[0]))
    return int((view.positions[:, :1] - seen).max())


@pytest.mark.parametrize("chunks", LENGTHS)
def test_a_stream_for_ever_beside_float64(chunks: int) -> None:
    """Sinks are renewed at scenes; both precisions decide alike and stay together."""
    spec = spec_with("relative", threshold=0.95)
    stream, exact = Stream(spec, torch.float32), Stream(spec, torch.float64)
    tensors = [tensor.data_ptr() for tensor in stream.state.tensors()]
    errors, renewed, before, memory = [], 0, stream.state.ring.sink_shift.clone(), 0
    for (number, ours), (_, theirs) in zip(stream.run(chunks), exact.run(chunks), strict=True):
        errors.append(float((ours - theirs).abs().max() / theirs.abs().max()))
        shift = stream.state.ring.sink_shift
        assert torch.equal(shift, exact.state.ring.sink_shift), f"sinks part at chunk {number}"
        renewed += int((shift != before).sum())
        before.copy_(shift)
        if number % 50 == 0:
            assert furthest(stream.state) <= spec.ring.sinks + spec.ring.window
        if number == chunks // 2:
            memory = resident()
    assert all(error < 1e-4 for error in errors), "nor is NaN below a bound"
    quarter = chunks // 4
    first, last = sorted(errors[:quarter])[quarter // 2], sorted(errors[-quarter:])[quarter // 2]
    assert last < 2 * first, f"the error grows: {first:.1e}, {last:.1e}"
    changes = (chunks - 2) // SCENE
    assert 2 * changes <= renewed < 3 * changes, "scenes change, so do both sinks, and rest then"
    assert [tensor.data_ptr() for tensor in stream.state.tensors()] == tensors
    assert resident() - memory < 8 * 2**20
    assert int(stream.state.ring.frames[0]) == chunks


@pytest.mark.parametrize("chunks", LENGTHS)
@pytest.mark.parametrize("positions, span", [("relative", None), ("absolute", 9)])
def test_a_stream_for_ever_is_what_its_window_says(
    positions: str, span: int | None, chunks: int
) -> None:
    """At intervals the output is computed anew, in float64, from no more than the frames that can
    matter: nothing else of the past is felt, and no place in time is beyond the trained range."""
    spec = spec_with(positions, span=span)
    stream, exact = Stream(spec, torch.float32), Stream(spec, torch.float64)
    reach = spec.ring.reach
    assert reach is not None
    interval, compared = max(chunks // 25, 9), 0
    for number, ours in stream.run(chunks):
        if number % interval == interval - 1 or number == chunks - 1:
            theirs = exact.recomputed(number)
            assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max(), f"chunk {number}"
            assert furthest(stream.state) == reach if number > reach else True
            compared += 1
    assert compared >= 25


def test_without_a_span_absolute_positions_run_away() -> None:
    """What the span is for: the same stream, and the sinks are soon out of any trained range."""
    stream = Stream(spec_with("absolute"), torch.float32)
    for _ in stream.run(60):
        pass
    assert furthest(stream.state) == 60
