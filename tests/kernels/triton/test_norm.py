"""LayerNorm kernels against their references."""

from __future__ import annotations

import pytest
import torch
from millrace.kernels.norm import modulated_layer_norm_reference
from millrace.kernels.triton.norm import modulated_layer_norm
from triton_rig import assert_near, drawer, dtypes

SHAPES = [(1, 1, 1, 6), (2, 3, 7, 20), (1, 2, 33, 48)]


@dtypes
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_modulated_layer_norm(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    draw = drawer(0, dtype)
    x = draw(*shape) * 3 + 1
    # As in a block: the six modulations of a frame lie side by side.
    scale, shift = draw(*shape[:2], 6, 1, shape[-1]).unbind(2)[1:3]
    exact = modulated_layer_norm_reference(x.double(), scale.double(), shift.double(), 1e-6)
    assert_near(modulated_layer_norm(x, scale, shift, 1e-6), exact)
