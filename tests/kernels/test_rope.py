"""Rotary embedding against its definition with complex numbers, one entry at a time."""

from __future__ import annotations

import cmath

import pytest
import torch
from millrace.kernels import angles, axis_pairs, rope, spatial_turns, turns


def test_axes_of_a_head_of_128() -> None:
    assert axis_pairs(128) == (22, 21, 21)
    assert sum(axis_pairs(64)) == 32


@pytest.mark.parametrize("head_dim", [12, 64, 128])
def test_against_the_definition(head_dim: int) -> None:
    grid, theta, frame = (2, 3), 10_000.0, 7
    time, row, column = axis_pairs(head_dim)
    x = torch.randn(6, head_dim, dtype=torch.float64)
    space = spatial_turns(grid, head_dim, theta, torch.float64, x.device)
    in_time = turns(angles(torch.tensor(frame), time, theta), torch.float64)
    out = rope(x, torch.cat((in_time.expand(6, -1, -1), space), -2))
    for token in range(6):
        places = ((frame, time), (token // 3, row), (token % 3, column))
        phases = [place * theta ** (-i / pairs) for place, pairs in places for i in range(pairs)]
        for pair, phase in enumerate(phases):
            value = complex(x[token, 2 * pair], x[token, 2 * pair + 1]) * cmath.exp(1j * phase)
            assert complex(out[token, 2 * pair], out[token, 2 * pair + 1]) == pytest.approx(value)


def test_what_the_tables_do_not_reach_stays() -> None:
    x = torch.randn(4, 10)
    angle = torch.randn(4, 2)
    out = rope(x, turns(angle, torch.float32))
    assert torch.equal(out[:, 4:], x[:, 4:])
    assert not torch.equal(out[:, :4], x[:, :4])


def test_scores_depend_on_distance_alone() -> None:
    query, key = torch.randn(2, 8, dtype=torch.float64)

    def score(at: int, other: int) -> torch.Tensor:
        turn = turns(angles(torch.tensor([at, other]), 4, 10_000.0), torch.float64)
        both = rope(torch.stack((query, key)), turn)
        return both[0] @ both[1]

    torch.testing.assert_close(score(3, 1), score(1_000_003, 1_000_001))


def test_tables_made_while_running_can_train() -> None:
    with torch.inference_mode():
        table = spatial_turns((5, 3), 24, 777.0, torch.float32, torch.device("cpu"))
    x = torch.randn(15, 24, requires_grad=True)
    rope(x, table).sum().backward()
    assert x.grad is not None
