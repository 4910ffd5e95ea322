"""An operation that chooses by call among several ways, by what was measured while warming up."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch

from .calls import bucket, signature
from .measure import Timer, Verdict, compare
from .operation import Candidate
from .table import Table

_log = logging.getLogger(__name__)
MOST_CALLS = 4096
"""Calls that an operation tells apart before it begins anew (sizes of pictures come and go)."""
MOST_NOTES = 64


@dataclass(slots=True)
class _InUse:
    """What this process has measured, or read; `notes`: calls that met no measurement."""

    table: Table | None
    notes: dict[tuple[str, str], str]
    generation: int = 0


_in_use = _InUse(None, {})
_warming: ContextVar[Timer | None] = ContextVar("warming", default=None)
_defining: ContextVar[bool] = ContextVar("defining", default=False)
"""A reference is being computed in float32, to compare with; the operations that it is made of are
asked for in a type that no call has, which is neither measured nor noted."""


@contextmanager
def warming_up(table: Table, timer: Timer) -> Iterator[None]:
    """Let calls of buckets that the table does not know be measured, on this thread; then keep the
    file. The table is used from now on.

    A measured call writes its own tensors only as a plain call would: it is measured on copies.
    """
    use(table)
    token = _warming.set(timer)
    try:
        yield
    finally:
        _warming.reset(token)
        table.save()


def use(table: Table | None) -> None:
    """Choose by this table; None takes the library's way everywhere."""
    _in_use.table = table
    _in_use.notes.clear()
    _in_use.generation += 1


def in_use() -> Table | None:
    """The table that choices are made by."""
    return _in_use.table


def unmeasured() -> list[str]:
    """Calls that took the library's way because nothing was measured for them, as sentences."""
    return list(_in_use.notes.values())


@dataclass(frozen=True, slots=True)
class _Pick:
    """Attributes: open: made without a measurement; the next warming up may make another."""

    run: Callable[..., Any]
    open: bool


class Chosen:
    """One operation on a device type with candidates.

    Args:
        op: its name.
        define: its reference.
        ways: all that computes it; the first runs where nothing was measured.
    """

    def __init__(self, op: str, define: Callable[..., Any], ways: Sequence[Candidate]) -> None:
        self.__name__ = f"measured: {' or '.join(way.name for way in ways)}"
        self._op, self._define, self._ways = op, define, list(ways)
        self._names = [way.name for way in ways]
        self._picks: dict[Any, _Pick] = {}
        self._generation = _in_use.generation

    def __call__(self, *arguments: Any) -> Any:
        if torch.is_grad_enabled():
            return self._ways[0].run(*arguments)  # candidates need not differentiate
        if self._generation != _in_use.generation:
            self._picks, self._generation = {}, _in_use.generation
        call = signature(arguments)
        pick = self._picks.get(call)
        if pick is None or (pick.open and _warming.get() is not None):
            pick = self._settle(arguments)
            if len(self._picks) >= MOST_CALLS:
                self._picks.clear()
            self._picks[call] = pick
        return pick.run(*arguments)

    def _settle(self, arguments: Sequence[Any]) -> _Pick:
        first, alike = self._ways[0], bucket(arguments)
        fitting = {way.name: way for way in self._ways if way is first or not way.fits(*arguments)}
        if len(fitting) == 1:
            return _Pick(first.run, open=False)
        if _defining.get():
            return _Pick(first.run, open=True)
        table, timer = _in_use.table, _warming.get()
        verdict = table.find(self._op, alike, self._names) if table is not None else None
        if verdict is not None and timer is not None and not _covers(verdict, fitting):
            verdict = None
        if verdict is None and table is not None and timer is not None and not _capturing():
            try:
                verdict = compare(self._ways, self._definition, arguments, timer)
            except torch.OutOfMemoryError as error:
                self._note(alike, f"no memory to measure in ({str(error).splitlines()[0]})")
                return _Pick(first.run, open=True)
            table.keep(self._op, alike, self._names, verdict)
            _log.info("%s %s: %s, %s", self._op, alike, verdict.chosen, verdict.reason)
        if verdict is None:
            self._note(alike, "not measured while warming up")
            return _Pick(first.run, open=True)
        if verdict.chosen not in fitting:
            self._note(alike, f"{verdict.chosen}, measured on another call, does not take this one")
            return _Pick(first.run, open=False)
        return _Pick(fitting[verdict.chosen].run, open=False)

    def _definition(self, *arguments: Any) -> Any:
        token = _defining.set(True)
        try:
            return self._define(*arguments)
        finally:
            _defining.reset(token)

    def _note(self, alike: str, why: str) -> None:
        notes = _in_use.notes
        if (self._op, alike) not in notes and len(notes) < MOST_NOTES:
            told = notes[self._op, alike] = f"{self._op} {alike}: {self._ways[0].name}, {why}"
            _log.info("%s", told)


def _covers(verdict: Verdict, names: Iterable[str]) -> bool:
    """Whether all of these were tried: what a call of the same bucket did not fit, or was switched
    off, may fit now."""
    tried = {result.name for result in verdict.results if result.tried}
    return tried.issuperset(names)


def _capturing() -> bool:
    """Whether launches are being recorded into a graph; a measurement would end up in it."""
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
