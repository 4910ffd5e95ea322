"""A call takes the measured way where there is one, and is measured only while warming up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from millrace.kernels import chosen as module
from millrace.kernels.calls import bucket, copied, rounded, signature
from millrace.kernels.chosen import Chosen, in_use, unmeasured, use, warming_up
from millrace.kernels.dispatch import TABLE, candidate, choose, reference
from millrace.kernels.operation import Candidate
from millrace.kernels.table import Machine, Table
from torch import Tensor

from .scripted import Scripted, broken, double, wrong

X = torch.arange(6.0).view(2, 3)


@pytest.fixture(autouse=True)
def no_table() -> Iterator[None]:
    use(None)
    with torch.no_grad():
        yield
    use(None)


def table() -> Table:
    return Table(Machine("Mill 9000", (), "abc"))


def raced(**times: float) -> tuple[Scripted, list[str], Chosen]:
    """A device, what ran on it, and an operation with the ways named."""
    device, ran = Scripted(**times), list[str]()

    def noted(name: str) -> Candidate:
        def run(x: Tensor) -> Tensor:
            ran.append(name)
            return double(x)

        return device.way(name, run, library=name == "reference")

    return device, ran, Chosen("double", double, [noted(name) for name in times])


def test_unmeasured_calls_take_the_library_and_say_so() -> None:
    device, ran, op = raced(reference=2.0, triton=1.0)
    use(table())
    assert torch.equal(op(X), 2 * X)
    assert (ran, device.timed) == (["reference"], [])
    assert unmeasured() == ["double float32[2,3]: reference, not measured while warming up"]
    op(X)
    assert len(unmeasured()) == 1


def test_a_call_is_measured_once_while_warming_up_and_not_after() -> None:
    device, ran, op = raced(reference=2.0, triton=1.0)
    op(X)  # met before: an open choice, made again now
    with warming_up(table(), device):
        op(X)
        timed = len(device.timed)
        op(X)
        assert len(device.timed) == timed > 0
    ran.clear()
    op(X)
    op(torch.ones(9, 3))  # nothing is known of this size, and nobody is warming up
    assert ran == ["triton", "reference"]
    assert len(device.timed) == timed
    assert [note.split(":")[0] for note in unmeasured()] == ["double float32[10,3]"]


def test_calls_of_one_bucket_share_a_choice() -> None:
    device, ran, op = raced(reference=2.0, triton=1.0)
    with warming_up(table(), device):
        op(torch.ones(1560, 2))
    ran.clear()
    op(torch.ones(1700, 2))
    assert ran == ["triton"] and not unmeasured()


def test_what_was_measured_on_another_call_must_take_this_one() -> None:
    device = Scripted(reference=2.0, triton=1.0)
    even = device.way("triton", double, fits=lambda x: "odd rows" if x.shape[0] % 2 else "")
    op = Chosen("double", double, [device.way("reference", double, library=True), even])
    with warming_up(table(), device):
        op(torch.ones(1560, 2))
    assert torch.equal(op(torch.ones(1561, 2)), torch.full((1561, 2), 2.0))
    # With one way left there is nothing to choose, and no measurement is missing.
    assert not unmeasured()


def test_a_way_that_was_not_tried_is_tried_by_the_next_call_that_it_fits() -> None:
    """Nothing that failed is tried twice."""
    device = Scripted(reference=2.0, triton=1.0)
    even = device.way("triton", double, fits=lambda x: "odd rows" if x.shape[0] % 2 else "")
    bad = device.way("broken", broken)
    ways, known = [device.way("reference", double, library=True), even, bad], table()
    with warming_up(known, device):
        Chosen("double", double, ways)(torch.ones(1561, 2))
    (verdict,) = known.choices()["double"].values()
    assert verdict.chosen == "reference"
    again = Scripted(reference=2.0, triton=1.0)
    even = again.way("triton", double, fits=lambda x: "odd rows" if x.shape[0] % 2 else "")
    ways = [again.way("reference", double, library=True), even, again.way("broken", broken)]
    with warming_up(known, again):
        op = Chosen("double", double, ways)
        op(torch.ones(1561, 2))
        assert not again.timed
        op(torch.ones(1560, 2))
    (verdict,) = known.choices()["double"].values()
    assert verdict.chosen == "triton" and again.timed


def test_a_kept_table_is_used_without_measuring() -> None:
    device, _, op = raced(reference=2.0, triton=1.0)
    known = table()
    with warming_up(known, device):
        op(X)
    again, ran, fresh = raced(reference=2.0, triton=1.0)
    with warming_up(known, again):
        fresh(X)
    assert ran == ["triton"] and not again.timed
    assert in_use() is known


def test_a_wrong_way_is_never_taken() -> None:
    device = Scripted(reference=2.0, triton=0.1)
    ways = [device.way("reference", double, library=True), device.way("triton", wrong)]
    op, known = Chosen("double", double, ways), table()
    with warming_up(known, device):
        assert torch.equal(op(X), 2 * X)
    assert torch.equal(op(X), 2 * X)
    assert "errs" in known.choices()["double"]["float32[2,3]"].results[1].refused


def test_without_memory_to_measure_in_the_library_runs_and_that_is_noted() -> None:
    def full(call: Callable[[], object]) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory\nmore")

    _, ran, op = raced(reference=2.0, triton=1.0)
    with warming_up(table(), full):
        ran.clear()
        assert torch.equal(op(X), 2 * X)
    assert ran[-1] == "reference"
    assert unmeasured() == [
        "double float32[2,3]: reference, no memory to measure in (CUDA out of memory)"
    ]


def test_nothing_is_measured_into_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    device, ran, op = raced(reference=2.0, triton=1.0)
    monkeypatch.setattr(module, "_capturing", lambda: True)
    with warming_up(table(), device):
        op(X)
    assert ran == ["reference"] and not device.timed


def test_another_thread_does_not_measure() -> None:
    device, ran, op = raced(reference=2.0, triton=1.0)

    def tick() -> None:
        with torch.no_grad():
            op(X)

    with warming_up(table(), device):
        thread = threading.Thread(target=tick)
        thread.start()
        thread.join()
    assert ran == ["reference"] and not device.timed


def test_training_takes_what_differentiates() -> None:
    device, ran, op = raced(reference=2.0, triton=1.0)
    with warming_up(table(), device):
        op(X)
    ran.clear()
    with torch.enable_grad():
        op(X)
    assert ran == ["reference"]


def test_operations_within_a_reference_are_measured_by_themselves() -> None:
    device, _, inner = raced(reference=2.0, triton=1.0)
    outer_device = Scripted(whole=3.0, fused=1.0)

    def composed(x: Tensor) -> Tensor:
        return inner(x) + 0

    ways = [outer_device.way("whole", composed, library=True), outer_device.way("fused", double)]

    def timer(call: Callable[[], object]) -> float:
        return (outer_device if in_outer else device)(call)

    in_outer, known = False, table()
    with warming_up(known, device):
        inner(X.half())
    in_outer = True
    with warming_up(known, timer):
        Chosen("outer", composed, ways)(X.half())
    # The definition ran in float32 too, which nobody asked for and nobody measures.
    assert set(known.choices()["double"]) == {"float16[2,3]"}
    assert set(known.choices()["outer"]) == {"float16[2,3]"}
    assert not unmeasured()


def test_registered_candidates_make_a_device_choose() -> None:
    name = "an operation of this test"
    try:
        reference(name)(double)
        assert choose(name, "mill") is double
        candidate(name, "mill", "wheel", fits=lambda x: "")(double)
        assert choose(name, "mill").__name__ == "measured: reference or wheel"
        assert torch.equal(choose(name, "mill")(X), 2 * X)
        with pytest.raises(AssertionError, match="two candidates wheel"):
            candidate(name, "mill", "wheel")(double)
        # A processor's choice is made once, for all calls: it costs a call nothing.
        candidate(name, "cpu", "wheel")(double)
        assert choose(name, "cpu") is double
    finally:
        del TABLE[name]
        choose.cache_clear()


@given(st.integers(0, 1 << 20))
def test_sizes_of_a_bucket_lie_within_a_quarter(size: int) -> None:
    top = rounded(size)
    assert size <= top <= max(size, 1.25 * size) and rounded(top) == top


def test_buckets_are_told_in_words_and_calls_apart() -> None:
    weights = (torch.zeros(8, dtype=torch.bfloat16), None)
    call = (torch.zeros(1560, 4).t(), weights, "gelu", 1e-6, 3, True, torch.float16)
    assert bucket(call) == "float32[4,1792] strided, (bfloat16[8], -), gelu, 3, True, float16"
    assert signature(call) == signature((*call[:3], 1e-5, *call[4:]))
    assert signature(call) != signature((torch.zeros(4, 1560), *call[1:]))


def test_copies_keep_strides() -> None:
    strided = torch.arange(24.0).view(2, 3, 4).transpose(0, 2)[..., :1]
    own = copied(strided)
    assert own.stride() == strided.stride() and torch.equal(own, strided)
    assert own.data_ptr() != strided.data_ptr()
    expanded = torch.ones(1).expand(4)
    assert copied(expanded) is expanded
    # A weight is not written, and may have other forms by it.
    weight = torch.nn.Parameter(torch.ones(4))
    assert copied(weight) is weight
    with torch.inference_mode():
        assert not copied(torch.ones(4)).is_inference()
