"""The engine over a file: every turn, the same words each time."""

from __future__ import annotations

import pytest
from caption_fakes import FakeReader, fake_model, levels
from millrace.streaming.captions.host import AlertFired, CaptionConfig, CaptionRefused, Said
from millrace.streaming.captions.offline import FileCaptions, ask_file, caption_file

FILM = [10, 10, 20, 20, 20, 30, 10, 10]


def said(told: list[Said | AlertFired]) -> list[tuple[float, str]]:
    return [(t.cue.start, t.cue.text) for t in told if isinstance(t, Said)]


def test_it_speaks_when_the_picture_changes_and_is_silent_otherwise() -> None:
    told = list(caption_file(fake_model(), levels(FILM)))
    assert said(told) == [
        (0.0, "the picture is now level 10"),
        (2.0, "the picture is now level 20"),
        (5.0, "the picture is now level 30"),
        (6.0, "the picture is now level 10"),
    ]


def test_a_file_gives_the_same_words_each_time() -> None:
    first, second = (list(caption_file(fake_model(), levels(FILM))) for _ in range(2))
    assert first == second


def test_a_silent_turn_costs_one_pass() -> None:
    reader = FakeReader()
    list(caption_file(fake_model(reader), levels([10, 10, 10, 10])))
    names = [name for name, _ in reader.passes]
    assert names.count("append") == 1 + 4  # the opening, and one for each turn
    assert names.count("step") == len("the picture is now level 10".split())


def test_questions_leave_the_captions_as_they_are() -> None:
    plain, asked = FakeReader(), FakeReader()
    without = list(caption_file(fake_model(plain), levels(FILM)))
    told = []
    with FileCaptions(fake_model(asked)) as file:
        for number, frame in enumerate(levels(FILM)):
            told += file.see(frame)
            if number % 5 == 4:
                answer = "".join(part.text for part in file.ask("what is it"))
                assert answer.startswith("it is")
        told += file.end()
        assert len(asked.streams) == 1  # every fork was closed
    assert [t for t in told if isinstance(t, Said)] == without


def test_a_file_is_asked_at_a_second_and_at_its_end() -> None:
    def answer(at: float | None) -> str:
        return "".join(p.text for p in ask_file(fake_model(), levels(FILM), "what", at))

    assert answer(2.0) == "it is 20"
    assert answer(5.0) == "it is 30"
    assert answer(None) == "it is 10"


@pytest.mark.parametrize("at", [float("nan"), -1.0, 100.0, float("inf")])
def test_a_second_outside_the_file_is_refused(at: float) -> None:
    with pytest.raises(CaptionRefused, match="second"):
        list(ask_file(fake_model(), levels(FILM), "what", at))


@pytest.mark.parametrize("question", ["", "   \n", "why " * 2500])
def test_empty_and_giant_questions_are_refused(question: str) -> None:
    with pytest.raises(CaptionRefused, match="question"):
        list(ask_file(fake_model(), levels(FILM), question))


def test_a_question_before_any_frame_has_a_clear_answer() -> None:
    (part,) = ask_file(fake_model(), [], "what")
    assert part.done and "nothing was seen yet" in part.error


@pytest.mark.parametrize("condition", ["", " ", "tell me when", "x" * 201])
def test_a_condition_of_a_file_is_held_to_what_a_live_one_is(condition: str) -> None:
    with FileCaptions(fake_model()) as file, pytest.raises(CaptionRefused):
        file.watch(condition)


def test_a_giant_wish_is_refused() -> None:
    with pytest.raises(CaptionRefused, match="a wish has at most 500"):
        FileCaptions(fake_model(), CaptionConfig(instruction="x" * 501))


def test_unknown_policies_are_refused() -> None:
    with pytest.raises(CaptionRefused, match="last4"):
        list(caption_file(fake_model(), [], CaptionConfig(memory="elephant")))


def test_alerts_fire_on_the_rising_edge() -> None:
    told = list(caption_file(fake_model(), levels([10, 30, 31, 10, 30]), watch=["level 30"]))
    assert [t.time for t in told if isinstance(t, AlertFired)] == [1.0, 4.0]
    alerts = [t.cue for t in told if isinstance(t, Said) and t.cue.kind == "alert"]
    assert [cue.start for cue in alerts] == [1.0, 4.0]
