"""What is said in a viewer's sound, on its way to their captions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import av
import numpy as np

from ..streaming.captions.speech import SPEECH_RATE, Piece, Words
from ..streaming.captions.speech_host import SpeechHost, SpeechSession
from .audio_line import RATE, Samples
from .viewer_captions import ViewerCaptions

PIECE = SPEECH_RATE // 10
"""Samples that go to the recogniser at once: few messages, and no delay that a reader notices."""
HOLE_S = 0.25
"""Sound that begins so far from where the last ended is not one with it."""


class Ear:
    """Makes sound of the connection into pieces for a recogniser: 16 kHz, one channel."""

    def __init__(self) -> None:
        self._resampler = self._begin()
        self._ended: float | None = None
        self._waiting = np.zeros(0, np.int16)

    def _begin(self) -> Any:
        return av.AudioResampler("s16", "mono", SPEECH_RATE)

    def put(self, at: float, samples: Samples) -> list[Piece]:
        """Add sound; gives the pieces that became full.

        Args:
            at: seconds of the first sample.
            samples: int16 [n, 2] at `RATE`.
        """
        if self._ended is not None and abs(at - self._ended) > HOLE_S:
            self._resampler = self._begin()
            self._waiting = self._waiting[:0]
        self._ended = at + len(samples) / RATE
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), "s16", "stereo")
        frame.sample_rate = RATE
        made = [
            f.to_ndarray().reshape(-1).astype(np.int16) for f in self._resampler.resample(frame)
        ]
        self._waiting = np.concatenate([self._waiting, *made])
        pieces = []
        while len(self._waiting) >= PIECE:
            begins = self._ended - len(self._waiting) / SPEECH_RATE
            pieces.append(Piece(begins, self._waiting[:PIECE].copy()))
            self._waiting = self._waiting[PIECE:]
        return pieces


class Hearing:
    """One viewer's speech; listens while their captions do. Methods run on the WebRTC loop."""

    def __init__(self, host: SpeechHost, captions: ViewerCaptions) -> None:
        self._host = host
        self._captions = captions
        self._loop = asyncio.get_running_loop()
        self._ear = Ear()
        self._session: SpeechSession | None = None

    def hear(self, at: float, samples: Samples) -> None:
        """Sound came.

        Args:
            at: seconds on the pictures' time line of its first sample.
            samples: int16 [n, 2].
        """
        if not self._captions.listens:
            return
        if self._session is None:
            self._session = self._host.open(self._said)
        for piece in self._ear.put(at, samples):
            self._session.hear(piece)

    def _said(self, words: Words) -> None:
        """Called on a thread of the host."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: the server is going down
            self._loop.call_soon_threadsafe(self._captions.hear, words)

    def stats(self) -> Mapping[str, Any]:
        return self._session.stats() if self._session else {}

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
