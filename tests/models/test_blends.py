"""Mixtures of prompts and transitions, as functions and in the memory of a stream."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.models.blends import WAYS, Pace, Way, blend, share_after, transition
from millrace.models.dit import CausalDiT, DiTState
from torch import Tensor

from .conftest import randomize, small_dit_spec

F64 = torch.float64


def prompts(count: int, rows: int = 5, dim: int = 8) -> list[Tensor]:
    generator = torch.Generator().manual_seed(7)
    made = [torch.randn(rows, dim, dtype=F64, generator=generator) for _ in range(count)]
    for number, prompt in enumerate(made):
        prompt[rows - number :] = 0  # rows after the end of a text
    return made


# -- functions ------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 3), min_size=3, max_size=3).filter(lambda w: sum(w) > 0.1))
def test_linear_is_the_weighted_mean(weights: list[float]) -> None:
    parts = prompts(3)
    mean = sum(w * p for w, p in zip(weights, parts, strict=True)) / sum(weights)
    torch.testing.assert_close(blend(parts, weights), mean)


@pytest.mark.parametrize("way", WAYS)
def test_one_weight_gives_that_prompt_bit_for_bit(way: Way) -> None:
    parts = [part.half() for part in prompts(3)]
    assert torch.equal(blend(parts, [0, 0.3, 0], way), parts[1])


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 0.99))
def test_spherical_turns_evenly(share: float) -> None:
    one, other = (part[:3] for part in prompts(2))
    mixed = blend((one, other), (1 - share, share), "spherical")

    def angle(a: Tensor, b: Tensor) -> Tensor:
        return torch.cosine_similarity(a, b, dim=-1).acos()

    torch.testing.assert_close(angle(one, mixed), share * angle(one, other))
    torch.testing.assert_close(angle(mixed, other), (1 - share) * angle(one, other))
    lengths = (1 - share) * one.norm(dim=-1) + share * other.norm(dim=-1)
    torch.testing.assert_close(mixed.norm(dim=-1), lengths)


def test_spherical_where_there_is_no_angle() -> None:
    one = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1.0, 2.0], [1.0, 0.0]])
    other = torch.tensor([[-1.0, 0.0], [0.0, 3.0], [0.0, 0.0], [2.0, 4.0], [1.0, 1e-6]])
    torch.testing.assert_close(blend((one, other), (1, 3), "spherical"), one + 0.75 * (other - one))


def test_what_is_no_mixture() -> None:
    one = torch.zeros(2, 3)
    for parts, weights, told in (
        ([], [], "0 embeddings"),
        ([one], [1.0, 2.0], "1 embeddings and 2 weights"),
        ([one, one], [1.0, -0.5], "make no mixture"),
        ([one, one], [0.0, 0.0], "make no mixture"),
        ([one], [float("nan")], "make no mixture"),
    ):
        with pytest.raises(ValueError, match=told):
            blend(parts, weights)


@pytest.mark.parametrize("pace", ["even", "smooth"])
def test_shares_rise_and_end(pace: Pace) -> None:
    shares = [share_after(done, 5, pace) for done in range(8)]
    assert shares[0] == 0 and shares[5:] == [1.0] * 3
    assert shares == sorted(set(shares[:5])) + [1.0] * 3
    assert share_after(1, 0, pace) == 1.0
    middle = share_after(2, 4, pace)
    assert middle == 0.5


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("chunks", [0, 1, 4])
def test_a_transition_ends_with_its_goal(way: Way, chunks: int) -> None:
    begin, goal = prompts(2)
    steps = transition(begin, goal, chunks, way)
    assert len(steps) == max(1, chunks)
    assert torch.equal(steps[-1], goal)
    assert not any(torch.equal(step, goal) for step in steps[:-1])


# -- in the memory of a stream --------------------------------------------------------------------


def draw(model: CausalDiT, state: DiTState, index: int, mask: Tensor | None = None) -> Tensor:
    generator = torch.Generator().manual_seed(index)
    x = torch.randn(1, 1, 4, 4, 6, dtype=F64, generator=generator).expand(2, -1, -1, -1, -1)
    t = torch.full((2, 1), 500.0, dtype=F64)
    out = model(x, t, state, mask)
    every = torch.ones(2, dtype=torch.bool)
    state.ring.commit(every if mask is None else mask, 1)
    return out


@pytest.mark.parametrize("way", WAYS)
def test_a_prompt_takes_over_without_forgetting(way: Way) -> None:
    """Row 0 goes over in four chunks, row 1 keeps its prompt."""
    model = CausalDiT(small_dit_spec(stem=False)).double()
    randomize(model)
    spec = model.spec
    generator = torch.Generator().manual_seed(1)
    shape = (spec.text_len, spec.text_dim)
    begin, goal = (torch.randn(shape, dtype=F64, generator=generator) for _ in range(2))

    def opened(first: Tensor) -> DiTState:
        state = model.init_state(2, 4, 6, 1, "cpu", F64)
        for row, prompt in enumerate((first, begin)):
            model.set_context(state, torch.tensor([row]), prompt[None])
        return state

    changing, staying, goal_alone = opened(begin), opened(begin), opened(goal)
    places = [tensor.data_ptr() for tensor in changing.tensors()]
    for index in range(6):
        assert torch.equal(draw(model, changing, index), draw(model, staying, index))
    for step, prompt in enumerate(transition(begin, goal, 4, way)):
        before = [tensor.clone() for tensor in changing.ring.tensors()]
        model.set_context(changing, torch.tensor([0]), prompt[None])
        # Nothing of what was drawn is touched by the new prompt.
        now = changing.ring.tensors()
        assert all(torch.equal(a, b) for a, b in zip(before, now, strict=True))
        ours, other = (draw(model, state, 6 + step) for state in (changing, staying))
        assert not torch.equal(ours[0], other[0])
        assert torch.equal(ours[1], other[1])
    assert places == [tensor.data_ptr() for tensor in changing.tensors()]
    # What cross-attention reads is now that of the goal alone, to the last bit.
    for name in ("text_k", "text_v", "pooled", "last"):
        assert torch.equal(getattr(changing, name), getattr(goal_alone, name))
    # And the past still counts: a stream that began with the goal draws something else.
    assert not torch.equal(draw(model, changing, 10)[0], draw(model, goal_alone, 10)[0])
