"""The gate refuses what is wrong, and the race takes what is faster, on a device with a script."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from millrace.kernels.measure import LEAST_ROUNDS, ROUNDS, Result, compare, error, gate, pick
from millrace.kernels.operation import Candidate
from millrace.kernels.timers import LEAST_MS, ClockTimer
from torch import Tensor

from .scripted import Scripted, broken, double, narrow, poisoned, wrong

CALL = (torch.arange(1.0, 7.0).view(2, 3),)


def test_the_fastest_is_taken_and_the_reason_says_by_how_much() -> None:
    device = Scripted(reference=2.0, triton=1.0)
    ways = [device.way("reference", double, library=True), device.way("triton", double)]
    verdict = compare(ways, double, CALL, device)
    assert (verdict.chosen, verdict.reason) == ("triton", "2.00x as fast as reference")
    assert [result.ms for result in verdict.results] == [2.0, 1.0]


def test_runs_alternate_and_each_round_begins_with_another() -> None:
    device = Scripted(reference=2.0, triton=1.0)
    ways = [device.way("reference", double, library=True), device.way("triton", double)]
    compare(ways, double, CALL, device, rounds=3)
    warm = ["reference", "triton"]
    assert device.timed == warm + ["reference", "triton", "triton", "reference", *warm]


def test_the_first_call_does_not_count() -> None:
    device = Scripted(reference=[2.0], triton=[900.0, 1.0])
    ways = [device.way("reference", double, library=True), device.way("triton", double)]
    assert compare(ways, double, CALL, device).results[1].ms == 1.0


def test_one_slow_run_does_not_decide() -> None:
    device = Scripted(reference=2.0, triton=[1.0, 1.0, 1.0, 50.0, 1.0])
    ways = [device.way("reference", double, library=True), device.way("triton", double)]
    assert compare(ways, double, CALL, device).chosen == "triton"


def test_slow_calls_get_fewer_rounds() -> None:
    device = Scripted(reference=400.0)
    compare([device.way("reference", double, library=True)], double, CALL, device)
    assert len(device.timed) == 1 + LEAST_ROUNDS < 1 + ROUNDS


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (wrong, "it errs by"),
        (broken, "it failed: RuntimeError: out of registers"),
        (narrow, "it returns float16[2, 3] and not float32[2, 3]"),
        (poisoned, "it errs by inf"),
    ],
)
def test_what_is_wrong_is_never_taken_however_fast(run: Callable[..., Tensor], why: str) -> None:
    device = Scripted(reference=2.0, triton=0.001)
    ways = [device.way("reference", double, library=True), device.way("triton", run)]
    verdict = compare(ways, double, CALL, device)
    assert verdict.chosen == "reference"
    assert verdict.results[1].refused.startswith(why)
    assert "triton" not in device.timed


def test_what_does_not_fit_is_not_run() -> None:
    device = Scripted(reference=2.0)
    picky = device.way("triton", broken, fits=lambda x: "only even widths")
    verdict = compare([device.way("reference", double, library=True), picky], double, CALL, device)
    assert verdict.results[1].refused == "only even widths"
    assert verdict.reason == "nothing else can take this call"


def test_what_is_written_in_place_is_compared_too_and_the_call_is_left_alone() -> None:
    def add(x: Tensor) -> None:
        x.add_(1)

    def forget(x: Tensor) -> None:
        x.add_(0)

    device = Scripted(reference=2.0, triton=1.0)
    ways = [device.way("reference", add, library=True), device.way("triton", forget)]
    verdict = compare(ways, add, CALL, device)
    assert verdict.chosen == "reference" and "it errs by" in verdict.results[1].refused
    assert torch.equal(CALL[0], torch.arange(1.0, 7.0).view(2, 3))


def test_writing_what_is_only_read_is_an_error() -> None:
    def spoil(x: Tensor, other: Tensor) -> Tensor:
        other.zero_()
        return 2 * x

    device = Scripted(reference=2.0, triton=1.0)
    ways = [
        device.way("reference", lambda x, other: 2 * x, library=True),
        device.way("triton", spoil),
    ]
    verdict = compare(ways, lambda x, other: 2 * x, (*CALL, *CALL), device)
    assert verdict.chosen == "reference" and "it errs by 1" in verdict.results[1].refused


def test_half_precision_is_held_against_float32() -> None:
    """What the library's own way errs by rounding is allowed to others; more is not."""
    call = (torch.linspace(1, 2, 64, dtype=torch.bfloat16).view(1, 64),)
    exact = Candidate("exact", lambda x: (x.float().square().square()).bfloat16(), library=True)
    rounded = Candidate("rounded", lambda x: x.square().square())
    coarse = Candidate("coarse", lambda x: (x.square() * 8).round().div(8).square())
    results = gate([exact, rounded, coarse], lambda x: x.square().square(), call)
    assert not results[1].refused and 0 < results[0].error < results[1].error < 1e-2
    assert "and 0.01 is allowed" in results[2].refused


@pytest.mark.parametrize(
    ("ours", "taken"), [(1.9, "reference"), (1.4, "triton"), (2.0, "reference"), (9.0, "reference")]
)
def test_a_tie_goes_to_the_library(ours: float, taken: str) -> None:
    results = [
        Result("reference", True, 0.0, 2.0, 0.3),
        Result("triton", False, 0.0, ours, 0.1),
    ]
    assert pick(results)[0] == taken


def test_what_was_not_timed_is_not_taken() -> None:
    refused = Result("triton", False, refused="only even widths")
    assert pick([Result("reference", True, 0.0, 2.0, 0.1), refused])[0] == "reference"


time = st.floats(0.01, 10.0)


@given(st.lists(st.tuples(st.booleans(), time, st.floats(0.0, 2.0)), min_size=1, max_size=5))
def test_nothing_slower_than_the_default_is_ever_taken(
    given: list[tuple[bool, float, float]],
) -> None:
    results = [
        Result(str(index), library or index == 0, 0.0, ms, spread)
        for index, (library, ms, spread) in enumerate(given)
    ]
    name, reason = pick(results)
    chosen = results[int(name)]
    assert chosen.ms <= results[0].ms and reason
    # One of ours is only taken when it beats every library way beyond the spread.
    if not chosen.library:
        rivals = [result for result in results if result.library]
        assert all(chosen.ms < rival.ms for rival in rivals)


def test_errors_are_of_the_worst_row() -> None:
    wanted = torch.ones(100, 4)
    found = wanted.clone()
    found[7] *= 1.5
    assert error(found, wanted) == pytest.approx(0.5)
    assert error(wanted, wanted) == 0
    # A row of nothing is judged by the usual row's length, not by its own.
    wanted[7], found[7] = 0.0, 0.01
    assert error(found, wanted) == pytest.approx(0.01, rel=0.02)


def test_errors_of_bytes_and_of_shapes() -> None:
    one, other = (torch.tensor([code], dtype=torch.uint8) for code in (3, 5))
    assert error(one, other) == 2.0
    assert error(torch.zeros(2), torch.zeros(3)) == math.inf
    assert error(torch.zeros(0, 3), torch.zeros(0, 3)) == 0.0
    assert error(torch.tensor([[math.inf]]), torch.tensor([[math.inf]])) == 0.0


def test_short_calls_are_repeated_and_one_that_was_interrupted_does_not_count() -> None:
    now, taken = [0.0], iter([0.1e-3, 0.1e-3, 5e-3])

    def call() -> None:
        now[0] += next(taken)

    assert ClockTimer(lambda: now[0])(call) == pytest.approx(0.1)
    assert now[0] == pytest.approx(5.2e-3) and LEAST_MS == 1.0


def test_a_long_call_is_timed_once() -> None:
    now, runs = [0.0], [0]

    def call() -> None:
        now[0] += 3e-3
        runs[0] += 1

    assert ClockTimer(lambda: now[0])(call) == pytest.approx(3.0)
    assert runs == [1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="times a device by its events")
def test_a_device_is_timed_by_its_events() -> None:
    from millrace.kernels.timers import DeviceTimer

    small, large = (torch.randn(side, side, device="cuda") for side in (64, 4096))
    timer = DeviceTimer("cuda")
    timer(lambda: (small @ small, large @ large))
    assert 0 < timer(lambda: small @ small) < timer(lambda: large @ large)
