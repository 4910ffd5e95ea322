"""The caption track: timed words, and how they are written to files. No torch here.

WebVTT as in W3C's Candidate Recommendation of 2019, sections 4 and 6; SRT has no standard, players
agree on what `srt` writes.
"""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

CueKind = Literal["caption", "alert", "speech", "answer"]

LEAST_S = 0.5
"""A cue is shown for at least this long, even where the next one of its kind comes sooner."""
MAX_CUES = 4096
MAX_HEARD = 64
"""Cues from elsewhere that are not final yet."""


@dataclass(frozen=True, slots=True)
class Cue:
    """Some words of the track.

    Attributes:
        id: unique in its session; a later cue of the same id replaces this one.
        start, end: seconds since the first picture of the session.
        text: one line.
        kind: who says it.
        final: False for speech that may still change.
    """

    id: int
    start: float
    end: float
    text: str
    kind: CueKind = "caption"
    final: bool = True


class Track:
    """The newest cues of a session, in the order in which they first came. Not thread-safe.

    Args:
        limit: cues kept; the oldest go first (`dropped`).
    """

    def __init__(self, limit: int = MAX_CUES) -> None:
        if limit < 1:
            raise ValueError(f"a track holds at least one cue; got {limit}")
        self._limit = limit
        self._cues: dict[int, Cue] = {}
        self._ids = itertools.count(1)
        self._heard: dict[tuple[CueKind, int], int] = {}
        self.dropped = 0

    def add(self, cue: Cue) -> None:
        """A new cue, or one in place of that of the same id."""
        self._cues[cue.id] = cue
        while len(self._cues) > self._limit:
            del self._cues[next(iter(self._cues))]
            self.dropped += 1

    def say(self, cue: Cue) -> Cue:
        """A new cue, under an id of the track's own."""
        own = replace(cue, id=next(self._ids))
        self.add(own)
        return own

    def hear(self, cue: Cue) -> Cue:
        """A cue from elsewhere, under an id of the track's own; until one of its kind and id is
        final, later ones take its place."""
        key = (cue.kind, cue.id)
        id = self._heard.pop(key, None) or next(self._ids)
        if not cue.final:
            self._heard[key] = id
            while len(self._heard) > MAX_HEARD:
                del self._heard[next(iter(self._heard))]
        own = replace(cue, id=id)
        self.add(own)
        return own

    def cues(self) -> tuple[Cue, ...]:
        return tuple(self._cues.values())

    def __len__(self) -> int:
        return len(self._cues)


def shown(cues: Iterable[Cue]) -> list[Cue]:
    """Cues as they are shown: by their beginning, without those that may still change or say
    nothing, each with a length; of one kind none overlaps the next (it ends when that begins, but
    stays `LEAST_S`, and the next one waits for that)."""
    final = [cue for cue in cues if cue.final and one_line(cue.text)]
    out: list[Cue] = []
    last: dict[CueKind, int] = {}
    for cue in sorted(final, key=lambda cue: (cue.start, cue.id)):
        start = max(0.0, cue.start)
        if cue.kind in last:
            before = out[last[cue.kind]]
            start = max(start, before.start + LEAST_S)
            out[last[cue.kind]] = replace(before, end=min(before.end, start))
        last[cue.kind] = len(out)
        out.append(replace(cue, start=start, end=max(cue.end, start + LEAST_S)))
    return sorted(out, key=lambda cue: (cue.start, cue.id))


def one_line(text: str) -> str:
    """Without line breaks, control characters and spaces at the ends."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


# ---- writing -----------------------------------------------------------------------------------

VTT_HEADER = "WEBVTT\n\n"
"""What a file begins with; `vtt_cue`s follow as they come."""


def webvtt(cues: Iterable[Cue]) -> str:
    """A whole WebVTT file."""
    return VTT_HEADER + "".join(vtt_cue(cue) for cue in shown(cues))


def vtt_cue(cue: Cue) -> str:
    """One cue with the empty line that ends it. What is not a caption carries its kind as a
    class."""
    text = escaped(one_line(cue.text))
    words = text if cue.kind == "caption" else f"<c.{cue.kind}>{text}</c>"
    return f"{cue.id}\n{_stamp(cue.start, '.')} --> {_stamp(cue.end, '.')}\n{words}\n\n"


def srt(cues: Iterable[Cue]) -> str:
    """A whole SRT file. It knows neither escapes nor classes: angle brackets, which players take
    for tags, become quotation marks, and what is no caption says what it is."""
    return "".join(srt_cue(number, cue) for number, cue in enumerate(shown(cues), 1))


def srt_cue(number: int, cue: Cue) -> str:
    """One cue, numbered from 1, with the empty line that ends it."""
    text = one_line(cue.text).replace("<", "\u2039").replace(">", "\u203a")
    words = text if cue.kind == "caption" else f"[{cue.kind}] {text}"
    return f"{number}\n{_stamp(cue.start, ',')} --> {_stamp(cue.end, ',')}\n{words}\n\n"


def escaped(text: str) -> str:
    """Cue text of WebVTT; also makes "-->" harmless."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _stamp(seconds: float, point: str) -> str:
    """hh:mm:ss.mmm; the hours have more digits where they need them."""
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"a cue's time must be a number of seconds from 0 on; got {seconds}")
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    minutes, second = divmod(whole, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02}:{minute:02}:{second:02}{point}{thousandths:03}"


# ---- reading -----------------------------------------------------------------------------------

_TIMES = re.compile(r"((?:\d{2,}:)?\d{2}:\d{2}[.,]\d{3}) +--> +((?:\d{2,}:)?\d{2}:\d{2}[.,]\d{3})")
_CLASS = re.compile(r"<c\.(\w+)>(.*)</c>")
_LABEL = re.compile(r"\[(\w+)\] (.*)")


def parse_webvtt(text: str) -> list[Cue]:
    """The cues of a WebVTT file that `webvtt` wrote.

    Raises:
        ValueError: no WebVTT, or a block that is no cue.
    """
    first, *blocks = text.replace("\r\n", "\n").removeprefix("\ufeff").split("\n\n")
    if first.split("\n")[0].split(" ")[0] != "WEBVTT":
        raise ValueError("this is no WebVTT: it does not begin with that word")
    return list(_cues(blocks, _CLASS, html.unescape))


def parse_srt(text: str) -> list[Cue]:
    """The cues of an SRT file that `srt` wrote.

    Raises:
        ValueError: a block that is no cue.
    """
    return list(_cues(text.replace("\r\n", "\n").split("\n\n"), _LABEL, str))


def _cues(
    blocks: Iterable[str], label: re.Pattern[str], plain: Callable[[str], str]
) -> Iterator[Cue]:
    for block in filter(str.strip, blocks):
        lines = block.strip("\n").split("\n")
        times = _TIMES.fullmatch(lines[1]) if len(lines) == 3 else None
        if times is None or not lines[0].isdigit():
            raise ValueError(f"this is no cue: {block!r}")
        found = label.fullmatch(lines[2])
        kind, words = "caption", lines[2]
        if found is not None and found[1] in get_args(CueKind):
            kind, words = found[1], found[2]
        start, end = _seconds(times[1]), _seconds(times[2])
        yield Cue(int(lines[0]), start, end, plain(words), cast(CueKind, kind))


def _seconds(stamp: str) -> float:
    out = 0.0
    for part in stamp.replace(",", ".").split(":"):
        out = out * 60 + float(part)
    return round(out, 3)
