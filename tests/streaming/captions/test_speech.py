"""Words from sound: the same however it is cut, on time, and with clear words when a model is not
one."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.streaming.captions import speech_model
from millrace.streaming.captions.speech import (
    SPEECH_RATE,
    Piece,
    Recogniser,
    SpeechEngine,
    Words,
)
from millrace.streaming.captions.speech_model import SpeechError, SpeechOptions, build, check
from speech_fakes import FakeRecogniser, make_model, pieces, speech

TALK = [0, 0, 0.3, 0.5, 0.3, 0, 0, 0, 0, 0, 0, 0.7, 0, 0.7, 0.2, 0, 0, 0, 0, 0]
SIZES = st.lists(st.integers(1, SPEECH_RATE), min_size=1, max_size=4)


def hear(recogniser: Recogniser, said: list[Piece], name: str = "one") -> list[Words]:
    words: list[Words] = []
    engine = SpeechEngine(recogniser, lambda session, one: words.append(one))
    engine.open(name)
    for piece in said:
        engine.hear(name, piece)
        while engine.tick():
            pass
    engine.close(name)
    return words


def test_words_grow_and_become_final() -> None:
    words = hear(FakeRecogniser(), pieces(speech(TALK), [1600], at=100.0))
    assert [(w.id, w.text, w.final) for w in words] == [
        (0, "d", False), (0, "df", False), (0, "dfd", False), (0, "dfd", True),
        (1, "h", False), (1, "h h", False), (1, "h hc", False), (1, "h hc", True),
    ]  # fmt: skip
    assert [round(w.start, 3) for w in words if w.final] == [100.2, 101.1]
    assert all(w.start < w.end <= 102.0 for w in words)
    assert [round(w.end, 3) for w in words if w.final] == [100.7, 101.7]


@settings(deadline=None, max_examples=60)
@given(SIZES, st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.2, 0.6]), max_size=40))
def test_pieces_of_any_size_say_what_the_whole_says(sizes: list[int], talk: list[float]) -> None:
    samples = speech(talk)
    whole = hear(FakeRecogniser(), pieces(samples, [max(1, len(samples))], at=7.0))
    cut = hear(FakeRecogniser(), pieces(samples, sizes, at=7.0))
    assert [(w.id, w.text, w.final) for w in cut] == [(w.id, w.text, w.final) for w in whole]
    assert np.allclose([w.start for w in cut], [w.start for w in whole])


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(st.sampled_from([0.0, 0.0, 0.4]), max_size=30), min_size=2, max_size=4))
def test_sessions_heard_together_say_what_each_says_alone(talks: list[list[float]]) -> None:
    alone = [hear(FakeRecogniser(), pieces(speech(talk), [1600])) for talk in talks]
    together: dict[str, list[Words]] = {str(n): [] for n in range(len(talks))}
    engine = SpeechEngine(FakeRecogniser(), lambda session, one: together[session].append(one))
    for name, talk in zip(together, talks, strict=True):
        engine.open(name)
        for piece in pieces(speech(talk), [1600]):
            engine.hear(name, piece)
    while engine.tick():
        pass
    for name in together:
        engine.close(name)
    assert list(together.values()) == alone


def test_a_hole_ends_the_utterance_and_the_times_go_on_after_it() -> None:
    before, after = speech([0.5, 0.5]), speech([0.7] * 3 + [0] * 5)
    words = hear(FakeRecogniser(), [*pieces(before, [1600], 10.0), *pieces(after, [1600], 15.0)])
    final = [(w.text, round(w.start, 2)) for w in words if w.final]
    assert final == [("ff", 10.0), ("hhh", 15.0)]


def test_small_jitter_of_the_stamps_moves_no_words() -> None:
    said = [
        Piece(piece.at + (0.01 if n % 2 else 0.0), piece.samples)
        for n, piece in enumerate(pieces(speech(TALK), [1600]))
    ]
    words = hear(FakeRecogniser(), said)
    assert [round(w.start, 3) for w in words if w.final] == [0.2, 1.1]


def test_a_session_takes_no_more_than_it_can_use() -> None:
    taken: list[str] = []
    engine = SpeechEngine(FakeRecogniser(), lambda *said: None, taken.append)
    engine.open("one")
    for piece in pieces(speech(TALK), [1600]):
        engine.hear("one", piece)
    assert engine.tick() and len(taken) == 1
    assert engine.tick() and len(taken) == 2
    engine.hear("gone", Piece(0.0, speech([0.5])))
    while engine.tick():
        pass
    assert len(taken) == len(TALK) and not engine.busy


# With sherpa-onnx itself, on a random model.


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sherpa_onnx")
    pytest.importorskip("onnx")
    return make_model(tmp_path_factory.mktemp("asr") / "tiny")


def test_a_random_model_says_the_same_in_any_pieces(model: Path) -> None:
    recogniser, info = build(SpeechOptions(model))
    assert info.sentence == "Speech is heard by tiny (nemo ctc), on this server."
    noise = (3000 * np.random.default_rng(1).standard_normal(SPEECH_RATE * 15)).astype(np.int16)
    noise[SPEECH_RATE * 4 : SPEECH_RATE * 6] = 0
    whole = hear(recogniser, pieces(noise, [len(noise)], at=50.0))
    assert whole and whole[-1].final and {w.text for w in whole} != {""}
    assert all(50.0 <= w.start <= w.end <= 65.0 for w in whole)
    assert [w.start for w in whole if w.final] == sorted(w.start for w in whole if w.final)
    for sizes in ([160], [1600], [777, 4321]):
        cut = hear(recogniser, pieces(noise, sizes, at=50.0))
        assert [(w.id, w.text, w.final) for w in cut] == [(w.id, w.text, w.final) for w in whole]
        assert all(
            math.isclose(a.start, b.start, abs_tol=1e-6) for a, b in zip(cut, whole, strict=True)
        )


def test_what_is_no_streaming_model_is_refused_with_words(model: Path, tmp_path: Path) -> None:
    def refused(path: Path) -> str:
        with pytest.raises(SpeechError) as caught:
            check(path)
        return str(caught.value)

    assert "does not exist" in refused(tmp_path / "gone")
    assert "is a file" in refused(model / "tokens.txt")
    (folder := tmp_path / "half").mkdir()
    assert "tokens.txt is missing" in refused(folder)
    (folder / "tokens.txt").write_text("a 0\n")
    assert "there is no model" in refused(folder)
    (folder / "model.onnx").write_bytes(b"")
    assert "not a streaming model" in refused(folder)
    (folder / "encoder-epoch-99.onnx").write_bytes(b"x")
    (folder / "joiner.onnx").write_bytes(b"x")
    assert "decoder*.onnx missing" in refused(folder)
    assert "not a streaming model" in refused(make_model(tmp_path / "whole", streaming=False))


def test_of_two_sizes_of_a_part_the_smaller_is_taken(tmp_path: Path) -> None:
    names = [
        f"{part}{kind}.onnx" for part in ("encoder", "decoder", "joiner") for kind in ("", ".int8")
    ]
    for name in ("tokens.txt", *names):
        (tmp_path / name).write_bytes(b"x")
    found = check(tmp_path)
    assert found.kind == "transducer"
    assert [part.name for part in found.parts] == [
        "encoder.int8.onnx", "decoder.int8.onnx", "joiner.int8.onnx",
    ]  # fmt: skip
    with pytest.raises(SpeechError, match="cannot be loaded"):
        build(SpeechOptions(tmp_path))


def test_a_missing_package_is_named_with_its_remedy(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speech_model, "PACKAGE", "sherpa_onnx_is_not_here")
    with pytest.raises(SpeechError, match=r"pip install 'millrace\[asr\]'"):
        check(model)
