"""Every kernel passes what the dispatcher holds a candidate against, on the calls it measures."""

from __future__ import annotations

import pytest
import torch
from millrace.kernels import providers
from millrace.kernels.dispatch import TABLE
from millrace.kernels.measure import gate
from millrace.kernels.samples import Work, samples_of
from triton_rig import DEVICE

providers.load("cuda")
KERNELS = sorted(
    op
    for op, operation in TABLE.items()
    if any(way.name.startswith("triton") for way in operation.candidates.get("cuda", []))
)
WORK = Work(
    rows=2,
    frames=1,
    grid=(2, 3),
    dim=32,
    inner=64,
    heads=2,
    texts=5,
    sinks=1,
    slots=3,
    channels=8,
    latent=(4, 4, 6),
    picture=(32, 48),
    dtype=torch.float16,
    device=torch.device(DEVICE),
)


@pytest.mark.parametrize("op", KERNELS)
def test_candidates_are_right_on_their_samples(op: str) -> None:
    """What one does not take, it says before it is run."""
    ways = [way for way in TABLE[op].ways("cuda") if way.name.startswith(("reference", "triton"))]
    taken = set()
    for sample in samples_of(op, WORK):
        results = gate(ways, TABLE[op].reference, sample.arguments)
        for result, way in zip(results, ways, strict=True):
            said = "" if way is ways[0] else way.fits(*sample.arguments)
            assert result.refused == said, (sample.label, way.name)
            taken |= set() if said else {way.name}
    assert taken == {way.name for way in ways}
