"""One viewer as the engine of the captions knows it. No torch here."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...models.vl.memory.policy import Memory
from ...models.vl.segments import Words
from ..telemetry import Window as Values
from .alerts import Alert
from .counts import percentiles
from .host import CaptionConfig, Said, Telling
from .looks import Look
from .model import CaptionModel
from .questions import Conversation, Question
from .speaking import ChangeGate, RecentCaptions, Voice
from .track import Cue, CueKind
from .writing import Writing

STATS_S = 600.0
"""How far back percentiles look."""
MAX_TURNS = 8192
"""Turns whose times are known, for questions about the past."""

SHOWN_S = 2.0
"""Seconds for which a caption stands at least, unless the next one takes its place."""
WORD_S = 0.3
"""Seconds of reading that a word adds."""

Tell = Callable[[Telling], None]


@dataclass(slots=True)
class Counts:
    """What became of a viewer's looks and captions."""

    turns: int = 0
    taken: int = 0
    unchanged: int = 0
    late: int = 0
    no_room: int = 0
    spoken: int = 0
    duplicates: int = 0
    evictions: int = 0
    answered: int = 0


class LookBox:
    """Where a viewer's newest look waits. Any thread may put one in."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._look: Look | None = None
        self.superseded = 0

    def put(self, look: Look) -> bool:
        """False where it took the place of another."""
        with self._lock:
            alone = self._look is None
            self._look = look
            self.superseded += not alone
            return alone

    def take(self) -> Look | None:
        with self._lock:
            look, self._look = self._look, None
            return look


@dataclass(slots=True, eq=False)
class Turn:
    """A look that the model has read and may speak about."""

    number: int
    look: Look
    began: float
    """By the clock."""
    writing: Writing | None = None


@dataclass(slots=True, eq=False)
class Viewer:
    """One session in the engine. Only the engine's thread touches it, except `box` and `stats`.

    Attributes:
        stream: of the model; at the end of a turn save for the words in `owed`.
        owed: words that end the last turn. They are read with whatever comes next, which costs
            nothing: the model would say nothing between them.
        turn: the one that is being read or spoken about; None between two turns.
        looked: the look that was read last.
        now: second of the stream at which the newest look ended, read or not.
        ring: the alerts have not been asked since the last turn ended.
        suspect: see `OpenCaptions`.
    """

    id: str
    config: CaptionConfig
    tell: Tell
    stream: Any
    memory: Memory
    gate: ChangeGate
    voice: Voice
    box: LookBox
    recent: RecentCaptions = field(default_factory=RecentCaptions)
    words: deque[int] = field(default_factory=deque)
    """Tokens of recent captions."""
    owed: list[Words] = field(default_factory=list)
    turn: Turn | None = None
    looked: Look | None = None
    now: float = 0.0
    turns: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_TURNS))
    ring: bool = False
    suspect: bool = False
    alerts: dict[int, Alert] = field(default_factory=dict)
    waiting: deque[Question] = field(default_factory=deque)
    answering: list[Question] = field(default_factory=list)
    conversation: Conversation = field(default_factory=Conversation)
    wish: str | None = None
    """A new standing wish, to be read at the end of the turn."""
    cue_ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    counts: Counts = field(default_factory=Counts)
    _turn_ms: Values = field(default_factory=lambda: Values(STATS_S))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def say(self, now: float, look: Look, text: str, kind: CueKind) -> None:
        """Tell a cue about a look."""
        end = look.second + max(SHOWN_S, look.end - look.second + WORD_S * len(text.split()))
        cue = Cue(next(self.cue_ids), look.second, end, text, kind)
        self.tell(Said(cue, now - look.captured_at))

    def took(self, now: float, seconds: float) -> None:
        """A turn was done within so many seconds."""
        with self._lock:
            self._turn_ms.add(now, 1e3 * seconds)

    def stats(self, now: float) -> Mapping[str, Any]:
        """Numbers for the viewer, from any thread."""
        with self._lock:
            turn_ms = percentiles(self._turn_ms, now)
        counts = self.counts
        looks = {name: getattr(counts, name) for name in ("taken", "unchanged", "late", "no_room")}
        return {
            "turns": counts.turns,
            "turn_ms": turn_ms,
            "tokens_kept": self.stream.length,
            "evictions": counts.evictions,
            "looks": {**looks, "superseded": self.box.superseded},
            "spoken": counts.spoken,
            "duplicates": counts.duplicates,
            "answered": counts.answered,
        }


def new_viewer(
    id: str, config: CaptionConfig, tell: Tell, model: CaptionModel, stream: Any, box: LookBox
) -> Viewer:
    """Raises:
    ValueError: no memory policy is called so.
    """
    memory = model.memory(config.memory)
    gate, voice = ChangeGate(model.gate), Voice(model.speak)
    viewer = Viewer(id, config, tell, stream, memory, gate, voice, box)
    viewer.words = deque(maxlen=model.text.recent)
    return viewer
