"""From sound to timed words, with a streaming recogniser. Pure; no torch, no process, no clock.

Recognisers are those of sherpa-onnx (cache-aware streaming FastConformer, Zipformer and the like);
the package is loaded by whoever builds one. What comes out does not depend on how the sound was cut
into pieces: after each step of the recogniser its result is read, and never in between.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

SPEECH_RATE = 16_000
"""Samples a second that all streaming models take."""
GAP_S = 1.0
"""A hole in the sound that ends an utterance."""
JITTER_S = 0.02
"""Times of pieces may be off by so much without meaning a hole."""
LAST_TOKEN_S = 0.3
"""How long the last word of an utterance is taken to last."""
MOST_ANCHORS = 512

Waveform = npt.NDArray[np.float32]
"""[n] at `SPEECH_RATE`, -1 to 1."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some sound.

    Attributes:
        at: seconds on the pictures' time line (monotonic) of its first sample.
        samples: int16 [n] at `SPEECH_RATE`.
    """

    at: float
    samples: npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Words:
    """What one utterance says, as far as it is understood.

    Attributes:
        id: the same until it is final; counts up from 0.
        start, end: seconds on the pictures' time line.
        final: nothing of it changes any more.
    """

    id: int
    start: float
    end: float
    text: str
    final: bool


class Recogniser(Protocol):
    """The part of `sherpa_onnx.OnlineRecognizer` that is used here."""

    def create_stream(self) -> Any: ...
    def is_ready(self, stream: Any) -> bool: ...
    def decode_streams(self, streams: list[Any]) -> None: ...
    def get_result(self, stream: Any) -> str: ...
    def timestamps(self, stream: Any) -> Sequence[float]:
        """Seconds of each token since `start_time`."""
        ...

    def start_time(self, stream: Any) -> float:
        """Seconds of sound before the present utterance."""
        ...

    def is_endpoint(self, stream: Any) -> bool: ...
    def reset(self, stream: Any) -> Any: ...


class Transcript:
    """The utterances of one speaker's sound."""

    def __init__(self, recogniser: Recogniser, first_id: int = 0) -> None:
        self._recogniser = recogniser
        self.stream = recogniser.create_stream()
        self._id = first_id
        self._fed = 0
        self._anchors: deque[tuple[int, float]] = deque(maxlen=MOST_ANCHORS)
        """(sample, its time) wherever the two do not run on evenly."""
        self._said = ""

    @property
    def ready(self) -> bool:
        """Whether there is enough sound for another step."""
        return bool(self._recogniser.is_ready(self.stream))

    def feed(self, piece: Piece) -> list[Words]:
        """Add sound; what a hole before it ended is said now."""
        ended: list[Words] = []
        off = piece.at - self._time(self._fed) if self._anchors else 0.0
        if abs(off) > GAP_S:
            ended = self.finish()
            # What a step had not used up yet lies before the hole.
            self.stream = self._recogniser.create_stream()
            self._fed = 0
            self._anchors.clear()
        if not self._anchors or abs(off) > JITTER_S:
            self._anchors.append((self._fed, piece.at))
        waveform: Waveform = piece.samples.astype(np.float32) * np.float32(1 / 32768)
        self.stream.accept_waveform(SPEECH_RATE, waveform)
        self._fed += len(waveform)
        return ended

    def read(self) -> list[Words]:
        """What is new after a step of the recogniser."""
        text = " ".join(self._recogniser.get_result(self.stream).split())
        ends = bool(self._recogniser.is_endpoint(self.stream))
        if not ends and text == self._said:
            return []
        return self._say(text, ends)

    def finish(self) -> list[Words]:
        """End the utterance: no more sound comes, or a hole."""
        return self._say(" ".join(self._recogniser.get_result(self.stream).split()), True)

    def _say(self, text: str, final: bool) -> list[Words]:
        said = [self._words(text, final)] if text else []
        self._said = text
        if final:
            self._recogniser.reset(self.stream)
            self._id += bool(text)
            self._said = ""
        return said

    def _words(self, text: str, final: bool) -> Words:
        before = self._recogniser.start_time(self.stream)
        times = self._recogniser.timestamps(self.stream)
        first, last = (times[0], times[-1]) if times else (0.0, 0.0)
        start = self._time(round((before + first) * SPEECH_RATE))
        end = self._time(round((before + last) * SPEECH_RATE)) + LAST_TOKEN_S
        return Words(self._id, start, max(start, end), text, final)

    def _time(self, sample: int) -> float:
        known = (pair for pair in reversed(self._anchors) if pair[0] <= sample)
        anchor, at = next(known, self._anchors[0])
        return at + (sample - anchor) / SPEECH_RATE


class SpeechEngine:
    """Hears many sessions with one recogniser; steps all that have sound in one batch.

    A session's next piece is taken when the sound before it is used up, so that what waits does so
    where it is counted.

    Args:
        said: (session, words) as they come.
        taken: (session) for each piece that was taken.
    """

    def __init__(
        self,
        recogniser: Recogniser,
        said: Callable[[str, Words], None],
        taken: Callable[[str], None] = lambda session: None,
    ) -> None:
        self._recogniser = recogniser
        self._said = said
        self._taken = taken
        self._sessions: dict[str, tuple[Transcript, deque[Piece]]] = {}
        self.steps = 0

    @property
    def sessions(self) -> int:
        return len(self._sessions)

    @property
    def busy(self) -> bool:
        return any(waiting or one.ready for one, waiting in self._sessions.values())

    def open(self, session: str, first_id: int = 0) -> None:
        self._sessions[session] = (Transcript(self._recogniser, first_id), deque())

    def close(self, session: str) -> None:
        """Its last words are final."""
        transcript, _ = self._sessions.pop(session, (None, None))
        for words in transcript.finish() if transcript else ():
            self._said(session, words)

    def hear(self, session: str, piece: Piece) -> None:
        """Sound for a session; that of one that is gone is left."""
        if session in self._sessions:
            self._sessions[session][1].append(piece)

    def tick(self) -> bool:
        """One step of all that have sound. Returns whether there was one."""
        for session, (transcript, waiting) in self._sessions.items():
            while waiting and not transcript.ready:
                for words in transcript.feed(waiting.popleft()):
                    self._said(session, words)
                self._taken(session)
        ready = [(s, one) for s, (one, _) in self._sessions.items() if one.ready]
        if not ready:
            return False
        self._recogniser.decode_streams([one.stream for _, one in ready])
        self.steps += 1
        for session, transcript in ready:
            for words in transcript.read():
                self._said(session, words)
        return True


def later(words: Words, by: float) -> Words:
    """The same words on a time line that began `by` seconds before."""
    return replace(words, start=words.start - by, end=words.end - by)
