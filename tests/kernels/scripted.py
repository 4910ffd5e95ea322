"""A device whose calls take scripted times, and ways to compute that take them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from millrace.kernels.operation import Candidate, Fits, fits_always
from torch import Tensor


class Scripted:
    """A timer: each call takes what the way that it runs was given, in turn, the last for good.

    Attributes:
        timed: the ways in the order in which they were timed.
    """

    def __init__(self, **times: float | list[float]) -> None:
        self._times: dict[str, Iterator[float]] = {}
        self._last: dict[str, float] = {}
        self._ran = ""
        self.timed: list[str] = []
        for name, given in times.items():
            self._times[name] = iter(given if isinstance(given, list) else [given])

    def __call__(self, call: Callable[[], object]) -> float:
        call()
        self.timed.append(self._ran)
        taken = next(self._times[self._ran], self._last.get(self._ran, 0.0))
        self._last[self._ran] = taken
        return taken

    def way(
        self,
        name: str,
        run: Callable[..., Tensor | None],
        library: bool = False,
        fits: Fits = fits_always,
    ) -> Candidate:
        def marked(*arguments: Tensor) -> Tensor | None:
            self._ran = name
            return run(*arguments)

        return Candidate(name, marked, fits, library)


def double(x: Tensor) -> Tensor:
    return 2 * x


def wrong(x: Tensor) -> Tensor:
    return 2 * x + 0.1


def broken(x: Tensor) -> Tensor:
    raise RuntimeError("out of registers\nmore")


def narrow(x: Tensor) -> Tensor:
    return (2 * x).to(torch.float16)


def poisoned(x: Tensor) -> Tensor:
    out = 2 * x
    out[0] = torch.nan
    return out
