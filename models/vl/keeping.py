"""Which tokens of a stream stay, which come back, and where their keys stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .arena import KVArena
from .memory.archive import Entry
from .positions import Places
from .segments import Segment
from .table import Slots, Stream, leaving, place_in, places_of, slots_of

REBASE = 50_000.0
"""Places beyond this are counted from zero again."""
STILL = 1e-6
"""A key that stands this near to its place is not rotated anew."""


def rearrange(
    arena: KVArena, stream: Stream, kept: Sequence[Segment], archive: bool
) -> list[Entry]:
    """See `StreamingVL.rearrange`."""
    stream.check()
    kept = [segment for segment in kept if segment.length]
    slots = slots_of(kept)
    gone = np.zeros(arena.slots, bool)
    gone[stream.slots] = True
    if not gone[slots].all() or len(np.unique(slots)) < len(slots):
        raise ValueError("segments to keep that the stream does not hold, or that are there twice")
    gone[slots] = False
    leaves = np.flatnonzero(gone)
    freed = int((arena.counts[leaves] == 1).sum())
    table = _rebased(arena, _based(stream, kept), freed)
    arena.require(len(_shared(arena, table)) - freed)
    out = leaving(stream.table, gone) if archive else []
    entries = [Entry(segment, *arena.read(segment.slots)) for segment in out]
    arena.drop(leaves)
    stream.put(settled(arena, table))
    return entries


def restore(arena: KVArena, stream: Stream, entries: Sequence[Entry], reserve: int) -> None:
    """Bring archived segments back, each before the first that is younger.

    Args:
        reserve: slots that are to be free afterwards.

    Raises:
        ArenaFull: nothing was changed.
    """
    stream.check()
    back: list[Segment] = []
    table = list(stream.table)
    arena.require(sum(entry.segment.length for entry in entries) + reserve)
    for entry in entries:
        segment = replace(entry.segment, slots=arena.take(entry.segment.length))
        arena.write(segment.slots, entry.keys, entry.values)
        back.append(segment)
        table.insert(place_in(table, segment), segment)
    placed = _based(stream, table)
    copies = len(_shared(arena, placed)) + reserve
    if copies > arena.free:
        arena.drop(slots_of(back))
        arena.require(copies + sum(segment.length for segment in back))
    stream.put(settled(arena, placed))


def _based(stream: Stream, table: Sequence[Segment]) -> list[Segment]:
    """The table with each segment where the layout has it."""
    bases = stream.layout.rearranged(table, stream.table)
    return [replace(s, base=float(base)) for s, base in zip(table, bases, strict=True)]


def _rebased(arena: KVArena, table: list[Segment], freed: int) -> list[Segment]:
    """Count places from zero where they have grown large. Everything is rotated anew for that, so
    it waits while forks would make more copies of it than fit."""
    if not table or max(segment.base + segment.span for segment in table) < REBASE:
        return table
    first = min(segment.base for segment in table)
    moved = [replace(segment, base=segment.base - first) for segment in table]
    return moved if len(_shared(arena, moved)) <= arena.free + freed else table


def _moved(arena: KVArena, table: Sequence[Segment]) -> tuple[Slots, Places]:
    """Slots whose rotated keys do not stand where the table has them, and where they are to."""
    slots, wanted = slots_of(table), places_of(table)
    moved = ~(np.abs(arena.places[:, slots] - wanted) <= STILL).all(0)
    return slots[moved], wanted[:, moved]


def _shared(arena: KVArena, table: Sequence[Segment]) -> Slots:
    """Slots that move while another stream holds them as well."""
    slots, _ = _moved(arena, table)
    return slots[arena.counts[slots] > 1]


def unshared(arena: KVArena, table: list[Segment], slots: Slots) -> list[Segment]:
    """The table with copies in the place of `slots`, which others hold as well.

    Raises:
        ArenaFull: nothing was changed.
    """
    if not len(slots):
        return table
    copies = arena.take(len(slots))
    arena.copy(slots, copies)
    arena.drop(slots)
    new = np.arange(arena.slots)
    new[slots] = copies
    return [replace(segment, slots=new[segment.slots]) for segment in table]


def settled(arena: KVArena, table: list[Segment]) -> list[Segment]:
    """The table with all keys where it has them; what others hold as well moves as a copy."""
    table = unshared(arena, table, _shared(arena, table))
    slots, wanted = _moved(arena, table)
    if len(slots):
        arena.move(slots, wanted)
    return table
