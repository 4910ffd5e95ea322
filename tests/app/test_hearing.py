"""What is said in a viewer's sound stands in the captions, at the time at which it was said."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.app import launch
from millrace.app.audio_line import RATE
from millrace.app.caption_desk import CaptionDesk
from millrace.app.errors import CallError
from millrace.app.hearing import PIECE, Ear
from millrace.app.rtc import Offer, Rtc
from millrace.app.settings import ServerSettings
from millrace.streaming.captions.speech import SPEECH_RATE, Piece, SpeechEngine, Words
from millrace.streaming.captions.speech_model import HOW_TO
from millrace.streaming.pipeline import StreamConfig
from speech_fakes import FakeRecogniser

from .caption_fakes import FakeCaptionHost
from .rig import SIZE, EchoHost
from .sound_rig import SoundClient

A_SECOND = np.repeat(
    (9000 * np.sin(np.arange(RATE) * 2 * np.pi * 440 / RATE)).astype(np.int16)[:, None], 2, 1
)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 3000), min_size=20, max_size=60))
def test_pieces_are_whole_and_on_time(sizes: list[int]) -> None:
    ear, at, pieces = Ear(), 0, []
    for size in sizes:
        pieces += ear.put(50.0 + at / RATE, A_SECOND[np.arange(at, at + size) % RATE])
        at += size
    assert all(len(piece.samples) == PIECE for piece in pieces)
    late = [piece.at - 50.0 - n * PIECE / SPEECH_RATE for n, piece in enumerate(pieces)]
    assert all(abs(seconds) < 0.004 for seconds in late)
    assert sum(sizes) / RATE - len(pieces) * PIECE / SPEECH_RATE < 0.11


def test_a_tone_keeps_its_pitch_and_its_loudness() -> None:
    (first, *_) = pieces = Ear().put(0.0, A_SECOND)
    samples = np.concatenate([piece.samples for piece in pieces])
    spectrum = np.abs(np.fft.rfft(samples[: SPEECH_RATE // 2]))
    assert abs(int(np.argmax(spectrum)) * 2 - 440) <= 2 and first.at >= 0.0
    assert abs(int(np.abs(samples[400:]).max()) - 9000) < 300


def test_sound_after_a_hole_is_not_glued_to_what_was_before() -> None:
    ear = Ear()
    before = ear.put(10.0, A_SECOND[: RATE // 4])
    after = ear.put(20.0, A_SECOND)
    assert len(before) == 2 and after[0].at == pytest.approx(20.0, abs=0.004)


class FakeSpeech:
    """A speech host that hears at once, in this process."""

    sentence = "Speech is heard by a fake."

    def __init__(self) -> None:
        self.started = self.stopped = False
        self.closed = threading.Event()

    def start(self) -> None:
        self.started = True

    def stop(self) -> None:
        self.stopped = True

    def open(self, listener: Callable[[Words], None]) -> FakeEar:
        return FakeEar(self, listener)


class FakeEar:
    def __init__(self, host: FakeSpeech, listener: Callable[[Words], None]) -> None:
        self._host = host
        self._engine = SpeechEngine(FakeRecogniser(pause=2), lambda _, words: listener(words))
        self._engine.open("one")

    def hear(self, piece: Piece) -> None:
        self._engine.hear("one", piece)
        while self._engine.tick():
            pass

    def stats(self) -> dict[str, Any]:
        return {"heard_s": 1.0}

    def close(self) -> None:
        self._host.closed.set()


def test_beeps_are_written_down_when_they_sounded() -> None:
    async def main() -> None:
        speech, host = FakeSpeech(), FakeCaptionHost()
        desk = CaptionDesk(host, speech=speech)  # type: ignore[arg-type]
        desk.start()
        rtc = Rtc(EchoHost(), ServerSettings(), captions=desk)
        rtc.start()
        client = SoundClient()
        answer = await rtc.open(Offer(await client.offer(), StreamConfig(*SIZE)))
        await client.accept(answer.sdp)
        await client.message("hello")
        client.send({"type": "captions", "on": True})
        told = await client.message("captions", lambda m: m["zero"] is not None)
        first = host.sessions[-1].seen[0].pts / 90_000
        assert told["info"]["speech"] == "Speech is heard by a fake."
        await client.message("cue", lambda m: m["kind"] == "speech" and not m["final"])
        await client.message("cue", lambda m: m["final"] and m["start"] > 3.0)
        cues = [m for m in client.messages if m["type"] == "cue" and m["final"]]
        # Beeps begin each half second of the source, whose time 0 the first picture may not be.
        off = [(cue["start"] + first) % 0.5 for cue in cues]
        assert all(min(seconds, 0.5 - seconds) < 0.15 for seconds in off[-3:]), off
        assert all(0 <= cue["delay"] < 3 for cue in cues)
        assert rtc.peers()[0].stats()["speech"] == {"heard_s": 1.0}
        await client.close()
        await asyncio.to_thread(speech.closed.wait, 10)
        await rtc.stop()
        desk.stop()
        assert speech.started and speech.stopped

    asyncio.run(main())


def test_without_a_model_the_page_says_how_to_add_one() -> None:
    host = FakeCaptionHost()
    desk = CaptionDesk(host)
    changed = threading.Event()
    desk.when_changed(changed.set)
    desk.start()
    assert changed.wait(10)
    assert desk.describe()["info"]["speech"] == HOW_TO and "--asr FOLDER" in HOW_TO
    desk.stop()


def test_what_cannot_hear_is_a_wrong_call(tmp_path: Path) -> None:
    assert launch.speech(None, captions=False) is None
    with pytest.raises(CallError, match="leave --no-captions out"):
        launch.speech(tmp_path, captions=False)
    with pytest.raises(CallError, match="tokens.txt is missing|pip install"):
        launch.speech(tmp_path, captions=True)
