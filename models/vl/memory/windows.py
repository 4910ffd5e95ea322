"""What stays in the cache after each turn: three rules, all pure. No torch here.

Each is a `policy.Window`. What is pinned always stays, where it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..segments import Segment
from .sizes import SinkSizes, WindowSizes


def _turns(table: Sequence[Segment], count: int) -> set[int]:
    """The newest `count` turns among the segments that are given, in order."""
    numbers = list(dict.fromkeys(segment.turn for segment in table))
    return set(numbers[-count:])


def _ends(segment: Segment, stop: int, start: int) -> list[Segment]:
    """Its tokens before `stop` and those from `start` on."""
    length = segment.length
    if stop >= min(start, length) or start <= 0:
        return [segment]
    parts = []
    if stop > 0:
        parts.append(segment.cut(0, stop))
    if start < length:
        parts.append(segment.cut(start, length))
    return parts


@dataclass(frozen=True, slots=True)
class LastPictures:
    """Only the turns of the last pictures, with their words: the control that every memory must
    beat (SimpleStream: the last four frames into an unmodified model).

    At most `count` turns and what is pinned stay. A turn that took no picture leaves at once.
    """

    count: int = 4

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count {self.count}: at least one picture must stay")

    def keep(self, table: Sequence[Segment]) -> list[Segment]:
        seen = [segment for segment in table if segment.kind == "vision" and not segment.pinned]
        turns = _turns(seen, self.count)
        return [segment for segment in table if segment.pinned or segment.turn in turns]


@dataclass(frozen=True, slots=True)
class SinkAndRecent:
    """The first tokens, which attention sinks into, and the last ones (StreamingLLM, arXiv
    2309.17453, section 3.2).

    At most `first` + `last` tokens and what is pinned stay. A picture that does not fit whole into
    one of the two ends that end; words are cut.
    """

    sizes: SinkSizes

    def keep(self, table: Sequence[Segment]) -> list[Segment]:
        total = sum(segment.length for segment in table)
        if total <= self.sizes.first + self.sizes.last:
            return list(table)
        stops = self._stops(table)
        starts = self._starts(table)
        kept: list[Segment] = []
        for segment, stop, start in zip(table, stops, starts, strict=True):
            kept.extend([segment] if segment.pinned else _ends(segment, stop, start))
        return kept

    def _stops(self, table: Sequence[Segment]) -> list[int]:
        """How many tokens at each segment's beginning are among the first ones."""
        left, stops = self.sizes.first, []
        for segment in table:
            taken = min(left, segment.length)
            if segment.kind == "vision" and taken < segment.length:
                taken = left = 0
            left -= taken
            stops.append(taken)
        return stops

    def _starts(self, table: Sequence[Segment]) -> list[int]:
        """From which token on each segment is among the last ones; its length where it is not."""
        left, starts = self.sizes.last, []
        for segment in reversed(table):
            taken = min(left, segment.length)
            if segment.kind == "vision" and taken < segment.length:
                taken = left = 0
            left -= taken
            starts.append(segment.length - taken)
        return starts[::-1]


_REMEMBERED = ("caption", "question", "answer")
"""Words that go into the memo when their turn leaves; those around them say nothing alone."""


@dataclass(frozen=True, slots=True)
class VisionAndText:
    """A short window of pictures and a long one of words (StreamingVLM, arXiv 2510.09608, section
    3.1).

    The newest `vision_turns` turns that have pictures keep them, the newest `text_turns` turns
    keep their words. What was said in older turns becomes memo, of which the first and the last
    tokens stay; the rest of those turns leaves. Order stays that of time. Turns are counted where
    they have something, not by the clock, so that a scene that was not looked at for a while keeps
    its last pictures. `WindowSizes.bound` says how much stays at most.

    Unlike the released code, which drops the viewer's wish with the first turn, what is pinned
    stays.
    """

    sizes: WindowSizes

    def keep(self, table: Sequence[Segment]) -> list[Segment]:
        live = [segment for segment in table if not segment.pinned and segment.kind != "memo"]
        visible = _turns([s for s in live if s.kind == "vision"], self.sizes.vision_turns)
        verbatim = _turns(live, self.sizes.text_turns) | visible
        kept: list[Segment] = []
        for segment in table:
            if segment.pinned or segment.kind == "memo":
                kept.append(segment)
            elif segment.kind == "vision":
                if segment.turn in visible:
                    kept.append(segment)
            elif segment.turn in verbatim:
                kept.append(segment)
            elif segment.kind in _REMEMBERED:
                kept.append(replace(segment, kind="memo"))
        return self._cut_memo(kept)

    def _cut_memo(self, table: Sequence[Segment]) -> list[Segment]:
        """Without what lies between the first and the last tokens of the memo."""
        memo = [segment for segment in table if segment.kind == "memo" and not segment.pinned]
        total = sum(segment.length for segment in memo)
        head, tail = self.sizes.memo_first, total - self.sizes.memo_last
        if head >= tail:
            return list(table)
        kept: list[Segment] = []
        before = 0
        for segment in table:
            if segment.kind != "memo" or segment.pinned:
                kept.append(segment)
                continue
            stop = max(0, head - before)
            start = max(0, tail - before)
            before += segment.length
            kept.extend(_ends(segment, stop, start))
        return kept
