"""How the keys of many attentions are dealt out to the processors of a device: evenly.

One block of queries against one block of keys is a unit of work. All units of a call lie in one
line, tile after tile (a tile being one output: a row, a head, a block of queries), and each program
takes an equal run of it, wherever tiles begin and end: no processor waits for another, whatever the
sizes (stream-K, arXiv 2301.03598, section 4; for attention LeanAttention, arXiv 2405.10480). A tile
that is cut is put together afterwards from its parts (`merge_attention`).

This is the plan as plain integers. The kernel computes the same numbers on the device, because how
many keys a row has is known only there; tests hold the two together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Piece:
    """What a program does of one tile.

    Attributes:
        row, head, block: which tile; `block` counts blocks of queries.
        first, stop: which of the row's key blocks, [first, stop).
        place: where the part is put: None for a whole tile, which needs no merging, 0 for the first
            tile of a program, 1 for a later one. More than two it cannot have.
    """

    row: int
    head: int
    block: int
    first: int
    stop: int
    place: int | None


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """Work of `programs` programs over rows with `key_blocks` blocks of keys each.

    Raises:
        ValueError: a count that is negative, or no program.
    """

    key_blocks: tuple[int, ...]
    heads: int
    query_blocks: int
    programs: int

    def __post_init__(self) -> None:
        if min((*self.key_blocks, self.heads, self.query_blocks)) < 0 or self.programs < 1:
            raise ValueError(f"{self} has a negative count, or no program")

    @property
    def units(self) -> int:
        return sum(self.key_blocks) * self.tiles_per_row

    @property
    def tiles_per_row(self) -> int:
        return self.heads * self.query_blocks

    def span(self, program: int) -> tuple[int, int]:
        """The program's run of units, [first, stop); runs differ by one unit at most."""
        units, programs = self.units, self.programs
        return program * units // programs, (program + 1) * units // programs

    def owner(self, unit: int) -> int:
        """The program whose run holds a unit: the last one that starts at or before it."""
        return ((unit + 1) * self.programs - 1) // self.units

    def pieces(self, program: int) -> list[Piece]:
        """What a program does, in its order."""
        first, stop = self.span(program)
        pieces: list[Piece] = []
        start = 0
        for row, blocks in enumerate(self.key_blocks):
            for tile in range(self.tiles_per_row if blocks else 0):
                begin, end = max(first, start), min(stop, start + blocks)
                if begin < end:
                    whole = end - begin == blocks
                    pieces.append(
                        Piece(
                            row,
                            tile // self.query_blocks,
                            tile % self.query_blocks,
                            begin - start,
                            end - start,
                            None if whole else int(bool(pieces)),
                        )
                    )
                start += blocks
        return pieces


def plan(
    rows: int, heads: int, query_blocks: int, key_blocks: int | Sequence[int], processors: int
) -> SplitPlan:
    """Who computes what of an attention.

    Args:
        key_blocks: blocks of keys that each row sees; one number for all rows.
        processors: programs that run at once.

    Raises:
        ValueError: `key_blocks` has not one number a row.
    """
    blocks = (key_blocks,) * rows if isinstance(key_blocks, int) else tuple(key_blocks)
    if len(blocks) != rows:
        raise ValueError(f"key_blocks has {len(blocks)} numbers for {rows} rows")
    return SplitPlan(blocks, heads, query_blocks, processors)


def waves(tiles: int, processors: int) -> float:
    """Share of the processors' time that one tile a program would use: 1.18 waves of work in two
    give 0.59. What is left is what splitting can win."""
    if tiles == 0:
        return 1.0
    return tiles / (-(-tiles // processors) * processors)
