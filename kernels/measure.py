"""Which way of computing an operation is right, and which of the right ones is the fastest.

First the gate: on a call's own arguments every way is held against the reference, computed in
float32. Then the race: runs of all that passed alternate, so that a busy machine hits all alike,
and medians are compared. What is not faster beyond the spread of both is not taken.
"""

from __future__ import annotations

import importlib
import logging
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from typing import Any, Protocol

import torch
from torch import Tensor

from .calls import copied, each, tensors, type_name, widened
from .operation import Candidate

_log = logging.getLogger(__name__)
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 1e-2}
"""Relative error that passes, by the type of the output."""
COARSE = 3e-2
"""For float8: one step of e4m3 is an eighth, and few values fall on the other side of one."""
ONE_CODE = 1.0
"""Of bytes, pictures and quantised values: rounded once or twice on the way."""
ROUNDS = 20
LEAST_ROUNDS = 3
BUDGET_MS = 400.0
"""No further round is begun once a race has taken this long."""


class Timer(Protocol):
    """How long a call takes: on a device by its events, in a test by a script."""

    def __call__(self, call: Callable[[], object]) -> float:
        """Milliseconds of one call, after it has been called before."""
        ...


@dataclass(frozen=True, slots=True)
class Result:
    """One way, on one call.

    Attributes:
        error: largest error of a row (last dimension), relative to the reference in float32; of
            bytes, the largest difference. NaN where it was not run.
        ms, spread_ms: median, and half the distance between the quartiles; NaN if not timed.
        refused: why it cannot be taken; "" if it can.
        tried: it was run at all; what does not fit a call is not.
    """

    name: str
    library: bool
    error: float = math.nan
    ms: float = math.nan
    spread_ms: float = math.nan
    refused: str = ""
    tried: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was measured for one call, and what follows.

    Attributes:
        chosen: the name of a way.
        reason: why this one, as a sentence.
    """

    chosen: str
    reason: str
    results: tuple[Result, ...] = ()


def compare(
    ways: Sequence[Candidate],
    define: Callable[..., Any],
    arguments: Sequence[Any],
    timer: Timer,
    rounds: int = ROUNDS,
) -> Verdict:
    """Hold every way against the definition, time those that pass, and take the fastest.

    Args:
        ways: the first is taken where no other is faster; it passes whatever its error, as it is
            what runs anyway.
        define: the reference.
        arguments: of one real call; they are not written.

    Raises:
        OutOfMemoryError: there is no room for copies of the arguments.
    """
    results = race(gate(ways, define, arguments), ways, arguments, timer, rounds)
    chosen, reason = pick(results)
    return Verdict(chosen, reason, tuple(results))


def gate(
    ways: Sequence[Candidate], define: Callable[..., Any], arguments: Sequence[Any]
) -> list[Result]:
    """The error of each way, or why it is refused."""
    # First, so that operations within it are measured by themselves, before it is.
    first = _Outcome.of(ways[0].run, arguments, copied)
    wanted = _Outcome.of(define, arguments, widened)
    places = first.written.keys() | wanted.written.keys()
    own = _errors(first.at(places, arguments), wanted.at(places, arguments))
    results = [Result(ways[0].name, ways[0].library, max(own, default=0.0), tried=True)]
    for way in ways[1:]:
        result = Result(way.name, way.library, refused=way.fits(*arguments))
        if not result.refused:
            result = _held(replace(result, tried=True), way, arguments, first, wanted)
        results.append(result)
    return results


def _held(
    result: Result,
    way: Candidate,
    arguments: Sequence[Any],
    first: _Outcome,
    wanted: _Outcome,
) -> Result:
    try:
        outcome = _Outcome.of(way.run, arguments, copied)
    except torch.OutOfMemoryError:
        raise  # no fault of its own: another start may have the room
    except _failures() as failure:
        _log.warning("candidate %s failed", way.name, exc_info=True)
        return replace(result, refused=f"it failed: {type(failure).__name__}: {_short(failure)}")
    if told := _misshapen(outcome.returned, first.returned):
        return replace(result, refused=told)
    places = outcome.written.keys() | first.written.keys() | wanted.written.keys()
    found, like, exact = (one.at(places, arguments) for one in (outcome, first, wanted))
    # What the default way errs itself, by rounding, is no fault of another.
    own, usual = _errors(found, exact), _errors(like, exact)
    worst = max(own, default=0.0)
    for mine, erred, default in zip(found, own, usual, strict=True):
        if erred > (allowed := max(tolerance(mine.dtype), default)):
            why = f"it errs by {erred:.2g}, and {allowed:.2g} is allowed"
            return replace(result, error=worst, refused=why)
    return replace(result, error=worst)


def _misshapen(found: Sequence[Tensor], like: Sequence[Tensor]) -> str:
    if len(found) != len(like):
        return f"it returns {len(found)} tensors and not {len(like)}"
    for mine, theirs in zip(found, like, strict=True):
        if mine.shape != theirs.shape or mine.dtype != theirs.dtype:
            told = f"{type_name(mine.dtype)}{list(mine.shape)}"
            return f"it returns {told} and not {type_name(theirs.dtype)}{list(theirs.shape)}"
    return ""


def _errors(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> list[float]:
    return [error(mine, theirs) for mine, theirs in zip(found, wanted, strict=True)]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a call returns, and what it made of its arguments: operations may write in place.

    Attributes:
        written: number of a tensor among the arguments -> what it is afterwards. What was only
            read is not kept: a ring of keys is large.
    """

    returned: list[Tensor]
    written: dict[int, Tensor]

    @classmethod
    def of(
        cls,
        run: Callable[..., Any],
        arguments: Sequence[Any],
        prepare: Callable[[Tensor], Tensor],
    ) -> _Outcome:
        """Of a call with its own arguments, each tensor given through `prepare`."""
        own = each(prepare, arguments)
        with torch.no_grad():
            returned = list(tensors(run(*own)))
        pairs = enumerate(zip(tensors(own), tensors(arguments), strict=True))
        return cls(
            returned,
            {
                place: after
                for place, (after, before) in pairs
                if after is not before and not _same(after, prepare(before))
            },
        )

    def at(self, places: Iterable[int], arguments: Sequence[Any]) -> list[Tensor]:
        """What was returned, and the arguments of these numbers as they are afterwards."""
        before = list(tensors(arguments))
        return [*self.returned, *(self.written.get(p, before[p]) for p in sorted(places))]


def _same(one: Tensor, other: Tensor) -> bool:
    if one.dtype.is_floating_point and one.element_size() == 1:
        one, other = one.view(torch.uint8), other.view(torch.uint8)
    return torch.equal(one, other)


def _short(failure: BaseException) -> str:
    return (str(failure).strip().splitlines() or ["no words"])[0][:120]


@cache
def _failures() -> tuple[type[Exception], ...]:
    """What a kernel that cannot be compiled or launched raises."""
    usual = (RuntimeError, ValueError, TypeError, AssertionError)
    if find_spec("triton") is None:
        return usual
    return (*usual, importlib.import_module("triton.errors").TritonError)


def tolerance(dtype: torch.dtype) -> float:
    """What an output of this type may err by, see `error`; whole numbers and flags not at all."""
    if dtype in TOLERANCE:
        return TOLERANCE[dtype]
    if dtype.is_floating_point:
        return COARSE
    return ONE_CODE if dtype in (torch.uint8, torch.int8) else 0.0


def error(found: Tensor, wanted: Tensor) -> float:
    """Largest error of a row (last dimension), relative to its own length or, where that is
    longer, to the usual row's; of bytes and whole numbers, the largest difference.

    Infinite where the shapes differ or where only one of both is finite.
    """
    if found.shape != wanted.shape:
        return math.inf
    if found.numel() == 0:
        return 0.0
    if not found.dtype.is_floating_point:
        return float((found.double() - wanted.double()).abs().max())
    wide = torch.float64 if wanted.dtype == torch.float64 else torch.float32
    mine, theirs = (part.to(wide).reshape(-1, *part.shape[-1:]) for part in (found, wanted))
    both = mine.isfinite() == theirs.isfinite()
    if not bool(both.all()):
        return math.inf
    mine, theirs = mine.nan_to_num(0.0, 0.0, 0.0), theirs.nan_to_num(0.0, 0.0, 0.0)
    lengths, off = theirs.norm(dim=-1), (mine - theirs).norm(dim=-1)
    usual = lengths.square().mean().sqrt()
    shares = off / torch.maximum(lengths, usual).clamp_min(torch.finfo(wide).tiny)
    return float(shares.max())


def race(
    results: Sequence[Result],
    ways: Sequence[Candidate],
    arguments: Sequence[Any],
    timer: Timer,
    rounds: int = ROUNDS,
) -> list[Result]:
    """The same with times of those that are not refused; each round begins with another way."""
    running = [index for index, result in enumerate(results) if not result.refused]
    own = each(copied, arguments)  # what one way writes into it, all of them do
    times: dict[int, list[float]] = {index: [] for index in running}

    def timed(index: int) -> float:
        return timer(lambda: ways[index].run(*own))

    total = 0.0
    with torch.no_grad():
        for index in running:
            timed(index)  # compiled, allocated, chosen: none of that belongs to a call
        for count in range(rounds):
            if count >= LEAST_ROUNDS and total > BUDGET_MS:
                break
            shift = count % len(running)
            for index in running[shift:] + running[:shift]:
                times[index].append(timed(index))
                total += times[index][-1]
    told = list(results)
    for index, measured in times.items():
        low, middle, high = statistics.quantiles(measured, n=4, method="inclusive")
        told[index] = replace(told[index], ms=middle, spread_ms=(high - low) / 2)
    return told


def pick(results: Sequence[Result]) -> tuple[str, str]:
    """The way to take and why: the fastest, and of equally fast ones the library's, of these the
    first. Two are equally fast when their medians are nearer than the larger of both spreads."""
    running = [result for result in results if not math.isnan(result.ms)]
    chosen = running[0]
    for result in sorted(running[1:], key=lambda r: (not r.library, r.ms)):
        if chosen.ms - result.ms > max(chosen.spread_ms, result.spread_ms):
            chosen = result
    rivals = [result for result in running if result is not chosen]
    if not rivals:
        return chosen.name, "nothing else can take this call"
    best = min(rivals, key=lambda result: result.ms)
    ratio = best.ms / chosen.ms if chosen.ms else math.inf
    if best.ms < chosen.ms:
        return chosen.name, f"{best.name} is not faster beyond the spread ({1 / ratio:.2f}x)"
    return chosen.name, f"{ratio:.2f}x as fast as {best.name}"
