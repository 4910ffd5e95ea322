"""Hearing in a process of its own: loading, failing with words, overload, death and return."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from millrace.streaming.captions.speech import SPEECH_RATE, Words
from millrace.streaming.captions.speech_host import AWAY, WAITING, SpeechHost
from millrace.streaming.captions.speech_model import SpeechOptions
from speech_fakes import make_model, pieces

NOISE = (3000 * np.random.default_rng(2).standard_normal(SPEECH_RATE * 6)).astype(np.int16)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sherpa_onnx")
    pytest.importorskip("onnx")
    return make_model(tmp_path_factory.mktemp("asr") / "tiny")


@contextmanager
def hearing(path: Path) -> Iterator[SpeechHost]:
    host = SpeechHost(SpeechOptions(path))
    host.start()
    try:
        yield host
    finally:
        host.stop()


class Ear:
    """A listener that can be waited on."""

    def __init__(self) -> None:
        self.words: list[Words] = []
        self._came = threading.Condition()

    def __call__(self, words: Words) -> None:
        with self._came:
            self.words.append(words)
            self._came.notify_all()

    def until(self, test: Callable[[list[Words]], bool]) -> list[Words]:
        with self._came:
            assert self._came.wait_for(lambda: test(self.words), 30), self.words
            return list(self.words)


def test_two_viewers_are_heard_alike(model: Path) -> None:
    with hearing(model) as host:
        assert host.ready(60).name == "tiny"
        assert host.sentence.startswith("Speech is heard by tiny")
        ears = [Ear(), Ear()]
        sessions = [host.open(ear) for ear in ears]
        for piece in pieces(NOISE[: SPEECH_RATE * 2], [1600], at=20.0):
            for session in sessions:
                session.hear(piece)
        one, two = (ear.until(lambda words: len(words) >= 4)[:4] for ear in ears)
        assert one == two and one[0].id == 0 and one[0].start >= 20.0
        assert sessions[0].stats()["dropped_s"] == 0
        sessions[0].close()
        sessions[0].hear(pieces(NOISE, [1600])[0])
        assert sessions[0].stats()["waiting"] == 0


def test_when_too_much_comes_the_oldest_goes_and_is_counted(model: Path) -> None:
    host = SpeechHost(SpeechOptions(model))  # never started: nobody takes anything
    session = host.open(Ear())
    sent = pieces(NOISE, [1600])
    for piece in sent:
        session.hear(piece)
    assert session.stats()["dropped_s"] == pytest.approx((len(sent) - WAITING) * 0.1, abs=0.05)
    assert [p.at for p in session.waiting] == [p.at for p in sent[-WAITING:]]
    host.stop()


def test_a_worker_that_takes_nothing_gets_no_more_than_a_second(model: Path) -> None:
    with hearing(model) as host:
        host.ready(60)
        pid = host._worker.pid if host._worker else None
        assert pid
        os.kill(pid, signal.SIGSTOP)
        try:
            session = host.open(Ear())
            for piece in pieces(NOISE, [1600]):
                session.hear(piece)
            assert session.away <= AWAY and len(session.waiting) <= WAITING
        finally:
            os.kill(pid, signal.SIGKILL)


def test_a_killed_worker_comes_back_and_hears_on(model: Path) -> None:
    with hearing(model) as host:
        host.ready(60)
        ear = Ear()
        session = host.open(ear)
        first, second = pieces(NOISE[: SPEECH_RATE * 2], [1600]), pieces(NOISE, [1600], at=60.0)
        for piece in first:
            session.hear(piece)
        before = ear.until(lambda words: len(words) >= 2)[-1]
        assert host._worker is not None and host._worker.pid
        os.kill(host._worker.pid, signal.SIGKILL)
        with host._changed:
            assert host._changed.wait_for(lambda: host._deaths == 1 and host._live, 60)
        for piece in second[:WAITING]:
            session.hear(piece)
        after = ear.until(lambda words: words[-1].start >= 60.0)[-1]
        assert after.id > before.id
        assert host.stats()["restarts"] == 1


def refusal(path: Path) -> str:
    with hearing(path) as host:
        with pytest.raises(RuntimeError) as caught:
            host.ready(60)
        assert str(caught.value) in host.sentence
        return str(caught.value)


def test_a_model_that_cannot_be_loaded_is_told_of(tmp_path: Path) -> None:
    pytest.importorskip("sherpa_onnx")
    assert "does not exist" in refusal(tmp_path / "gone")
    for name in ("tokens.txt", "encoder.onnx", "decoder.onnx", "joiner.onnx"):
        (tmp_path / name).write_bytes(b"x 0\n")
    assert "cannot be loaded" in refusal(tmp_path)


def test_the_last_words_of_a_loader_that_ends_its_process_are_told(tmp_path: Path) -> None:
    """A model whose metadata names a cache, so that it looks right, but not its chunks."""
    pytest.importorskip("sherpa_onnx")
    onnx = pytest.importorskip("onnx")
    folder = make_model(tmp_path / "half")
    model = onnx.load(str(folder / "model.onnx"))
    (window,) = (fact for fact in model.metadata_props if fact.key == "window_size")
    model.metadata_props.remove(window)
    onnx.save(model, str(folder / "model.onnx"))
    reason = refusal(folder)
    assert "is not a streaming model" in reason and "window_size" in reason
