"""Prepared weights follow the weights that they were made of."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest
import torch
from millrace.kernels import conv2d, linear
from millrace.kernels.prepared import MOST_FORMS, fuses, keep_plain, prepared
from torch import Tensor, nn

Change = Callable[[nn.Linear, Tensor], None]


def double(weight: Tensor) -> Tensor:
    return 2 * weight


def assign(layer: nn.Linear, weight: Tensor) -> None:
    state = {"weight": weight, "bias": layer.bias.detach()}
    layer.load_state_dict(state, assign=True)


def copy(layer: nn.Linear, weight: Tensor) -> None:
    layer.load_state_dict({"weight": weight, "bias": layer.bias.detach()})


def optimise(layer: nn.Linear, weight: Tensor) -> None:
    layer.weight.grad = layer.weight.detach() - weight
    torch.optim.SGD(layer.parameters(), lr=1.0).step()


@pytest.mark.parametrize("change", [assign, copy, optimise])
def test_a_layer_uses_the_weights_it_has(change: Change) -> None:
    layer, x, new = nn.Linear(16, 8), torch.randn(4, 16), torch.randn(8, 16)

    def run() -> Tensor:
        with torch.no_grad():
            return linear(x, layer.weight, layer.bias)

    torch.testing.assert_close(run(), layer(x).detach())
    change(layer, new)
    torch.testing.assert_close(run(), x @ new.T + layer.bias.detach())


def test_another_type_is_another_form() -> None:
    layer = nn.Linear(16, 8)
    first = prepared((layer.weight,), double)
    assert prepared((layer.weight,), double) is first
    assert prepared((layer.to(torch.float64).weight,), double).dtype == torch.float64


def test_a_form_dies_with_its_weight() -> None:
    weight = torch.randn(4, 4)
    form = weakref.ref(prepared((weight,), double))
    del weight
    gc.collect()
    assert form() is None


def test_old_sizes_are_forgotten() -> None:
    weight = nn.Parameter(torch.randn(4, 3, 3, 3))
    with torch.no_grad():
        for side in range(4, 4 + 2 * MOST_FORMS):
            x = torch.randn(1, 3, side, side)
            expected = torch.nn.functional.conv2d(x, weight, padding=1)
            torch.testing.assert_close(conv2d(x, weight, None, (3, 3)), expected)
    assert len(weight._millrace_prepared) == MOST_FORMS  # type: ignore[attr-defined]


def test_what_trains_is_not_fused() -> None:
    layer, x = nn.Linear(16, 8), torch.randn(4, 16)
    assert not fuses(x, layer.weight)
    linear(x, layer.weight, layer.bias, "gelu").sum().backward()
    assert layer.weight.grad is not None
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert linear(x, layer.weight, layer.bias).dtype == torch.bfloat16
    with torch.inference_mode():
        assert linear(x, layer.weight.clone(), layer.bias).shape == (4, 8)


def test_large_weights_have_no_second_form() -> None:
    layer, x = nn.Linear(16, 8), torch.randn(4, 16)
    with torch.no_grad():
        packed = linear(x, layer.weight, layer.bias, "gelu")
        del layer.weight._millrace_prepared  # type: ignore[attr-defined]
        keep_plain(layer.parameters())
        torch.testing.assert_close(linear(x, layer.weight, layer.bias, "gelu"), packed)
    assert not hasattr(layer.weight, "_millrace_prepared")
