"""Linear layers in eight bits: what they round, what they may err by, what a weight still can."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as functional
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.kernels import (
    Fp8Rows,
    Fp8Weight,
    fp8_product,
    keep_plain,
    linear,
    modulated_layer_norm,
    normed_for,
    quantise_rows,
    query_key_value,
    rows_for,
    turns,
)
from millrace.kernels.calls import bucket, copied, signature, widened
from millrace.kernels.dispatch import TABLE
from millrace.kernels.fp8_ops import E4M3, fp8_product_scaled, why_not
from millrace.kernels.measure import gate
from millrace.kernels.operation import Candidate
from millrace.kernels.quantise import dequantise, quantise
from torch import Tensor


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def product(x: Tensor, codes: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    return fp8_product(quantise_rows(x), (codes, scale), bias, x.dtype)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 5), wide=st.integers(1, 40), out=st.integers(1, 9), seed=st.integers(0, 9)
)
def test_it_is_the_product_of_what_the_codes_stand_for(
    rows: int, wide: int, out: int, seed: int
) -> None:
    x, weight, bias = drawn(rows, wide, seed=seed), drawn(out, wide, seed=seed + 1), drawn(out)
    codes, scale = quantise(weight, E4M3)
    rounded = dequantise(*quantise(x, E4M3), torch.float64)
    expected = rounded @ dequantise(codes, scale, torch.float64).t() + bias.double()
    found = product(x, codes, scale, bias)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 99), large=st.floats(1e-6, 1e6))
def test_scales_are_by_row_and_by_channel(seed: int, large: float) -> None:
    """One loud row or channel takes nothing from the others; the error stays near a step of e4m3,
    of which there are 8 to an octave: below 1/16 for each factor, and less in a sum of many."""
    x, weight = drawn(4, 64, seed=seed), drawn(6, 64, seed=seed + 1)
    x[1] *= large
    weight[2] *= large
    codes, scale = quantise(weight, E4M3)
    found, exact = product(x, codes, scale), x.double() @ weight.double().t()
    # By Cauchy and Schwarz no entry is off by more than that share of both lengths.
    room = x.double().norm(dim=1)[:, None] * weight.double().norm(dim=1)
    assert ((found.double() - exact).abs() / room).max() < 0.13
    assert ((found.double() - exact).norm(dim=1) / room.norm(dim=1)).max() < 0.03


def test_the_matrix_units_own_product_is_the_reference() -> None:
    """A processor has the same call, which proves how scales and bias are handed over."""
    x, bias = drawn(2, 5, 32).bfloat16(), drawn(48).bfloat16()
    codes, scale = quantise(drawn(48, 32), E4M3)
    ways = [
        Candidate("reference", TABLE["fp8_product"].reference, library=True),
        Candidate("scaled", fp8_product_scaled),
    ]
    for added in (bias, None):
        arguments = (quantise_rows(x), (codes, scale), added, torch.bfloat16)
        first, second = gate(ways, TABLE["fp8_product"].reference, arguments)
        assert not second.refused and second.error < 1e-2 and first.error < 1e-2


def test_a_weight_in_eight_bits_stands_where_a_plain_one_did() -> None:
    x, weight, bias = drawn(3, 32).bfloat16(), drawn(48, 32).bfloat16(), drawn(48).bfloat16()
    narrow = torch.nn.Parameter(Fp8Weight.of(weight), requires_grad=False)
    keep_plain([narrow])
    assert isinstance(narrow, Fp8Weight) and narrow.shape == weight.shape
    assert (narrow.dtype, narrow.device) == (weight.dtype, weight.device)
    assert narrow.codes.element_size() == 1
    with torch.inference_mode():
        found = functional.linear(x, narrow, bias)
        assert torch.equal(found, product(x, narrow.codes, narrow.scale, bias))
        # Rounded before, for several layers.
        rows = rows_for(narrow, x)
        assert isinstance(rows, Fp8Rows) and rows.shape == x.shape and rows.dtype == x.dtype
        assert torch.equal(linear(rows, narrow, bias), found)
        # The operations of the models take it as it is, with what they do besides.
        assert torch.equal(linear(x, narrow, bias), found)
        gelu = functional.gelu(found, approximate="tanh")
        assert torch.equal(linear(x, narrow, bias, "gelu"), gelu)
        exact = functional.linear(x.float(), narrow.wide().float(), bias.float())
    assert (found.float() - exact).norm() / exact.norm() < 0.05


def test_queries_keys_and_values_are_taken_too() -> None:
    dim = 32
    x = drawn(1, 2, 3, dim)
    weights = [drawn(dim, dim, seed=seed) / dim**0.5 for seed in range(3)]
    narrow = [torch.nn.Parameter(Fp8Weight.of(w), requires_grad=False) for w in weights]
    keep_plain(narrow)
    bias, norm = (drawn(dim),) * 3, (drawn(dim),) * 2
    turn = turns(drawn(1, 2, 3, 1, 8), torch.float32)

    def all_three(x: Tensor, layers: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = layers
        return query_key_value(x, (query, key, value), bias, norm, turn, 1e-6)

    with torch.inference_mode():
        plain, found = all_three(x, weights), all_three(x, narrow)
        again = all_three(rows_for(narrow[0], x), narrow)
    assert all(torch.equal(one, other) for one, other in zip(found, again, strict=True))
    for one, other in zip(found, plain, strict=True):
        assert 0 < (one - other).norm() / other.norm() < 0.08


def test_a_weight_in_eight_bits_can_be_moved_and_looked_at_and_nothing_else() -> None:
    narrow = Fp8Weight.of(drawn(16, 32))
    moved = narrow.to(torch.bfloat16)
    assert isinstance(moved, Fp8Weight) and moved.dtype == torch.bfloat16
    assert torch.equal(moved.codes.view(torch.uint8), narrow.codes.view(torch.uint8))
    assert repr(narrow) == "Fp8Weight([16, 32], torch.float32, cpu)"
    assert isinstance(narrow.detach(), Fp8Weight)
    with pytest.raises(TypeError, match="takes nothing in eight bits; codes multiply"):
        torch.add(narrow, 1)
    with pytest.raises(TypeError, match="where a layer's input belongs"):
        functional.linear(narrow, Fp8Weight.of(drawn(16, 32)))


def test_a_norm_leaves_what_the_next_layer_reads() -> None:
    x, scale, shift = drawn(2, 3, 5, 32), drawn(2, 3, 1, 32), drawn(2, 3, 1, 32)
    plain, narrow = drawn(16, 32), Fp8Weight.of(drawn(16, 32))
    wanted = modulated_layer_norm(x, scale, shift, 1e-6)
    assert torch.equal(normed_for(plain, x, scale, shift, 1e-6), wanted)
    assert rows_for(plain, x) is x
    found = normed_for(narrow, x, scale, shift, 1e-6)
    assert isinstance(found, Fp8Rows)
    assert torch.equal(functional.linear(found, narrow), functional.linear(wanted, narrow))
    with pytest.raises(TypeError, match="multiplied by a plain weight"):
        functional.linear(found, plain)


@pytest.mark.parametrize("shape", [(16,), (16, 20), (8, 16), (2, 16, 16)])
def test_sides_that_the_units_do_not_take_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="whole multiples of 16; leave this layer"):
        Fp8Weight.of(torch.zeros(shape))


def test_the_dispatcher_tells_it_from_a_plain_weight() -> None:
    """What was measured for a plain weight says nothing of one in eight bits."""
    weight = drawn(16, 32)
    narrow = Fp8Weight.of(weight)
    assert bucket((narrow,)) == "Fp8Weight float32[16,32]" != bucket((weight,))
    assert signature((narrow,)) != signature((weight,))
    assert signature((torch.nn.Parameter(weight),)) == signature((weight,))
    assert copied(narrow) is narrow and widened(narrow) is narrow
    x = drawn(4, 32)
    way = Candidate("linear", TABLE["linear"].reference)
    results = gate([way, way], way.run, (x, narrow, None, "none", None))
    assert [result.error for result in results] == [0, 0]


def test_a_processor_has_the_references_product() -> None:
    assert why_not("cpu") == ""


def test_a_gpu_without_such_units_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Mill 9000")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 6))
    assert why_not("cuda:0") == (
        "Mill 9000 has compute capability 8.6; products in eight bits need 8.9"
    )
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert why_not("cuda:0") == ""


@pytest.mark.gpu
@pytest.mark.skipif(
    not torch.cuda.is_available() or bool(why_not("cuda")), reason="needs e4m3 matrix units"
)
def test_a_gpu_computes_the_reference() -> None:
    x, bias = drawn(3, 100, 256).cuda().bfloat16(), drawn(512).cuda().bfloat16()
    codes, scale = quantise(drawn(512, 256).cuda(), E4M3)
    found = product(x, codes, scale, bias).float()
    given = (quantise_rows(x), (codes, scale), bias.float(), torch.float32)
    expected = TABLE["fp8_product"].reference(*given)
    assert (found - expected).norm() / expected.norm() < 1e-2
