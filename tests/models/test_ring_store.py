"""A past in eight bits: near the plain one, of half its size, and moved about just the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from millrace.models.dit import CausalDiT
from millrace.models.dit_state import DiTState
from millrace.models.estimate import ring_bytes
from millrace.models.quantise_error import Distance, Runner, random_inputs
from millrace.models.ring_store import codes, storage, values
from millrace.models.sigmas import Level
from millrace.models.specs import RingSpec, Store
from torch import Tensor

from .conftest import randomize, small_dit_spec

NARROW: tuple[Store, ...] = ("fp8", "int8")
MOST = {"fp8": 0.05, "int8": 0.01}
"""Relative error of the whole model's outputs; e4m3 has three bits after the point."""


def model(store: Store, **changes: object) -> CausalDiT:
    spec = small_dit_spec(stem=False, **changes)  # type: ignore[arg-type]
    dit = CausalDiT(replace(spec, dim=32, ring=replace(spec.ring, store=store)))
    randomize(dit)
    return dit.eval().requires_grad_(False)


def outputs(dit: CausalDiT, rows: int = 1) -> Tensor:
    """A stream that is three times as long as its memory."""
    context = torch.randn(rows, 3, 10, generator=torch.Generator().manual_seed(1))
    inputs = random_inputs(dit, (rows, 1, 4, 4), 15, (Level(0.5, 500.0),), dit.read(context))
    return Runner(dit, inputs)()


@pytest.mark.parametrize("store", NARROW)
@pytest.mark.parametrize("threshold", [None, 2.0])
def test_a_stream_with_a_narrow_past_is_near_the_plain_one(
    store: Store, threshold: float | None
) -> None:
    """With sinks that stay, and with sinks that are replaced at each chunk."""
    wanted = outputs(model("plain", sink_threshold=threshold), rows=2)
    found = Distance.of(outputs(model(store, sink_threshold=threshold), rows=2), wanted)
    assert 0 < found.error < MOST[store]


@pytest.mark.parametrize("store", NARROW)
def test_a_narrow_past_takes_what_the_estimate_says(store: Store) -> None:
    dit = model(store)
    ring = dit.init_state(3, 4, 6, 2, "cpu", torch.bfloat16).ring
    each = ring_bytes(dit.spec, dit.spec.ring, 3, 6, 2, 2)
    assert ring.nbytes == each
    plain = model("plain").init_state(3, 4, 6, 2, "cpu", torch.bfloat16).ring
    assert plain.nbytes == ring_bytes(dit.spec, plain.policy, 3, 6, 2, 2)
    # 16 numbers a head: a byte each and four for their scale, where there were 32 bytes.
    assert ring.k.nbytes + (ring.k_scale.nbytes if ring.k_scale is not None else 0) == (
        plain.k.nbytes * 20 // 32
    )


@pytest.mark.parametrize("store", NARROW)
def test_masked_rows_keep_theirs_and_rows_can_be_copied(store: Store) -> None:
    dit = model(store)
    state = dit.init_state(2, 4, 4, 1, "cpu", torch.float32)
    context = torch.randn(2, 3, 10, generator=torch.Generator().manual_seed(1))
    dit.set_context(state, torch.tensor([True, True]), context[:1].expand(2, -1, -1))
    x = torch.randn(2, 1, 4, 4, 4, generator=torch.Generator().manual_seed(2))
    t = torch.full((2, 1), 500.0)
    only = torch.tensor([True, False])
    dit(x, t, state, only)
    state.ring.commit(only)
    for part in (state.ring.k, state.ring.k_scale, state.ring.v, state.ring.v_scale):
        assert part is not None
        assert part[:, 0].any() and not part[:, 1].any()
    state.copy_rows(torch.tensor([0]), torch.tensor([1]))
    both = dit(x[:1].expand(2, -1, -1, -1, -1), t, state)
    assert torch.equal(both[0], both[1])
    view: DiTState = state.rows(1, 2)
    assert view.ring.k_scale is not None and view.ring.k_scale.shape[1] == 1


def test_plain_slots_are_the_memory_itself() -> None:
    slots, scale = storage((2, 3, 8), "plain", "cpu", torch.float32)
    assert scale is None and values(slots, scale, "plain", torch.bfloat16) is slots
    narrow, scale = storage((2, 3, 8), "fp8", "cpu", torch.float32)
    assert scale is not None and scale.shape == (2, 3)
    codes(narrow, "fp8").copy_(torch.ones(2, 3, 8))
    scale.fill_(0.5)
    assert torch.equal(values(narrow, scale, "fp8", torch.float32), torch.full((2, 3, 8), 0.5))


def test_a_ring_stores_what_there_is() -> None:
    with pytest.raises(ValueError, match="a ring stores plain, fp8, int8, not 'fp4'"):
        RingSpec(1, 2, "relative", None, store="fp4")  # type: ignore[arg-type]
