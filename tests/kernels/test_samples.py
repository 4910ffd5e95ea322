"""Every operation has calls to be measured on, which every way of computing it can take."""

from __future__ import annotations

import pytest
import torch
from millrace.kernels.calls import tensors
from millrace.kernels.dispatch import TABLE
from millrace.kernels.measure import gate
from millrace.kernels.samples import MAKERS, Work, samples_of
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

WORK = Work(
    rows=2,
    frames=1,
    grid=(4, 6),
    dim=32,
    inner=64,
    heads=2,
    texts=5,
    sinks=1,
    slots=4,
    channels=8,
    latent=(4, 8, 12),
    picture=(64, 96),
    dtype=torch.float32,
    device=torch.device("cpu"),
)


def test_no_operation_is_left_out() -> None:
    assert set(TABLE) <= set(MAKERS)


@pytest.mark.parametrize("op", sorted(TABLE))
def test_samples_are_calls_that_every_way_computes_alike(op: str) -> None:
    made = samples_of(op, WORK)
    assert made and len({sample.label for sample in made}) == len(made)
    for sample in made:
        results = gate(TABLE[op].ways("cpu"), TABLE[op].reference, sample.arguments)
        assert not [result.refused for result in results if result.refused]
        again = samples_of(op, WORK)[made.index(sample)]
        pairs = zip(tensors(sample.arguments), tensors(again.arguments), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("op", sorted(TABLE))
def test_flops_are_what_the_references_do(op: str) -> None:
    """The half-full ring is the exception: the reference multiplies hidden keys as well."""
    for sample in samples_of(op, WORK):
        counter = FlopCounterMode(display=False)
        # What a processor fuses is not counted; with gradients on it takes plain products.
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            TABLE[op].reference(*sample.arguments)
        share = 2 if sample.label == "half full" else 1
        assert share * sample.flops == counter.get_total_flops()


def test_an_unknown_operation_has_no_samples() -> None:
    with pytest.raises(KeyError):
        samples_of("grind", WORK)
