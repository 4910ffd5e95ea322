"""A viewer without a browser whose pictures count while it beeps, and who hears what returns."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt
from aiortc import RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from millrace.app import audio_rtp, rtc_patches
from millrace.app.audio_line import BLOCK, RATE
from millrace.streaming.clock import SystemClock
from millrace.streaming.controls import Controls
from millrace.streaming.frames import Frame
from millrace.streaming.host import Listener, Output
from millrace.streaming.pipeline import StreamConfig

from .rig import BITS, SCHEMA, SIZE, Client, EchoHost, EchoSession, paint, read

FPS = 30
PERIOD, BURST = RATE // 2, RATE // 10
"""Beeps begin every half second and last a fifth of that."""
TONE, TONES = 500.0, 12


def beeps(at: int, count: int) -> npt.NDArray[np.int16]:
    """The test's sound from sample `at`: int16 [count, 2]. The beep of second k has the tone
    `TONE * (1 + k % TONES)`, so that it can be told which one it is."""
    n = np.arange(at, at + count)
    tone = TONE * (1 + n // PERIOD % TONES)
    wave = 12_000 * np.sin(2 * np.pi * tone * n / RATE) * (n % PERIOD < BURST)
    return np.repeat(wave[:, None], 2, axis=1).astype(np.int16)


def which(beep: npt.NDArray[np.int16]) -> int:
    """The number of a beep modulo `TONES`, by its tone."""
    spectrum = np.abs(np.fft.rfft(beep[:, 0] * np.hanning(len(beep))))
    return round(int(np.argmax(spectrum)) * RATE / len(beep) / TONE) - 1


class Paced(MediaStreamTrack):
    """A track of the test's source; all tracks that share `began` run by one clock, and their
    reports say so, as a browser's do."""

    rate: int

    def __init__(self, began: list[float], interval: float) -> None:
        super().__init__()
        self._began = began
        self._interval = interval
        self._origin: int | None = None
        self.sender: Any = None
        self.sent = 0

    async def turn(self) -> int:
        """The number of the next item, at its time."""
        loop = asyncio.get_running_loop()
        if not self._began:
            self._began.append(loop.time())
        if self._origin is None and rtc_patches.packets_sent(self.sender):
            last = round((self.sent - 1) * self._interval * self.rate)
            self._origin = rtc_patches.sent_origin(self.sender, last)
            wall = audio_rtp.WallClock(SystemClock(), self._began[0])
            audio_rtp.report_by(self.sender, wall, lambda: self._origin, self.rate)
        due = self._began[0] + self.sent * self._interval
        await asyncio.sleep(max(0.0, due - loop.time()))
        if self.readyState != "live":
            raise MediaStreamError
        self.sent += 1
        return self.sent - 1


class Counted(Paced):
    kind, rate = "video", 90_000

    async def recv(self) -> av.VideoFrame:
        number = await self.turn()
        frame = av.VideoFrame.from_ndarray(paint(number % (1 << BITS), *SIZE), "yuv420p")
        frame.pts, frame.time_base = round(number * 90_000 / FPS), Fraction(1, 90_000)
        return frame


class Beeps(Paced):
    kind, rate = "audio", RATE

    async def recv(self) -> av.AudioFrame:
        number = await self.turn()
        samples = beeps(number * BLOCK, BLOCK)
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), "s16", "stereo")
        frame.sample_rate, frame.pts = RATE, number * BLOCK
        frame.time_base = Fraction(1, RATE)
        return frame


class SoundClient(Client):
    """A viewer with sound."""

    def __init__(self) -> None:
        began: list[float] = []
        super().__init__(Counted(began, 1 / FPS))  # type: ignore[arg-type]
        self.beeps = Beeps(began, BLOCK / RATE)
        self.pc.addTrack(self.beeps)
        for sender in self.pc.getSenders():
            track: Any = sender.track
            track.sender = sender
        self.sound_clock: Any = None
        self._sound: Any = None

    async def accept(self, sdp: str) -> None:
        await self.pc.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
        for receiver in self.pc.getReceivers():
            if receiver.track.kind == "video":
                self.clock = rtc_patches.prepare_receiver(receiver)
                self._track = receiver.track
            else:
                self.sound_clock = audio_rtp.prepare_receiver(receiver, SystemClock())
                self._sound = receiver.track

    async def counted(self) -> tuple[int, int]:
        """The next legible picture's stamp and number."""
        while True:
            picture = await self.picture()
            number = read(cast(Any, picture.to_ndarray())[: SIZE[1]])
            if number is not None:
                return int(picture.pts or 0), number

    def left(self, pts: int) -> float:
        """Seconds on the server's clock of a picture's stamp; -1 before the first report."""
        assert self.clock is not None
        at = self.clock.captured(pts)
        return -1.0 if at is None else at

    def sounded(self, pts: int) -> float:
        """The same of a sound's stamp."""
        at: float | None = self.sound_clock.captured(pts)
        return -1.0 if at is None else at

    async def sound(self) -> tuple[int, npt.NDArray[np.int16]]:
        """The next piece of sound and its stamp."""
        async with asyncio.timeout(15):
            frame = await self._sound.recv()
        return int(frame.pts), frame.to_ndarray().reshape(-1, 2)

    async def beep(self) -> tuple[int, int]:
        """The next beep's stamp and number (modulo `TONES`); its begin within a millisecond."""
        quiet, begin, heard = 0, 0, np.zeros((0, 2), np.int16)
        while True:
            pts, samples = await self.sound()
            for first in range(0, len(samples), 48):
                piece = samples[first : first + 48]
                loud = int(np.abs(piece).max()) > 4000
                if loud and quiet > PERIOD // 3:
                    begin, heard = pts + first, np.zeros((0, 2), np.int16)
                    quiet = 0
                quiet = 0 if loud else quiet + 48
                heard = np.concatenate([heard, piece]) if begin else heard
                if len(heard) >= BURST * 2 // 3:
                    return begin, which(heard)


class LateSession(EchoSession):
    """Gives pictures back a fixed number of pictures late, like a model that works on chunks."""

    held: deque[Frame]

    def put(self, frame: Frame) -> None:
        self.held.append(frame)
        while len(self.held) > self._host.behind:  # type: ignore[attr-defined]
            late = self.held.popleft()
            self._listener(Output(late, self.controls.epoch, self._host.clock.now()))


class LateHost(EchoHost):
    """A host whose pictures are `behind` pictures late."""

    def __init__(self, behind: int) -> None:
        super().__init__()
        self.behind = behind

    def open(self, config: StreamConfig, listener: Listener, changes: Any = None) -> EchoSession:
        session = LateSession(self, f"late{next(self._ids)}", config, listener)
        session.held = deque()
        session.controls = Controls.defaults(SCHEMA)
        self._sessions[session.id] = session
        self.opened.set()
        return session


def blocks(sound: npt.NDArray[np.int16]) -> Iterator[tuple[int, npt.NDArray[np.int16]]]:
    """Sound in blocks of 20 ms with their stamps."""
    for at in range(0, len(sound) - BLOCK + 1, BLOCK):
        yield at, sound[at : at + BLOCK]
