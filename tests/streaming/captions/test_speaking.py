"""When to speak, what not to repeat, and when an alert fires."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from caption_fakes import LOOK
from hypothesis import given
from hypothesis import strategies as st
from millrace.streaming.captions.alerts import Alert, AlertRule, is_wish, parse_condition
from millrace.streaming.captions.looks import Look
from millrace.streaming.captions.speaking import (
    ChangeGate,
    GateRule,
    RecentCaptions,
    SpeakRule,
    Voice,
    related,
    speak_odds,
    tells_nothing_new,
    words_of,
)
from millrace.streaming.frames import i420_shape


def look(second: float, *pictures: np.ndarray) -> Look:
    side = pictures[0].shape[1]
    return Look(second, second + 0.5, second, side, side, pictures)


def scene(at: int | None = None, noise: float = 0.0, seed: int = 0, level: int = 120) -> np.ndarray:
    """A grey 128x128 picture, with a bright square of 20 pixels at `at`."""
    rng = np.random.default_rng(seed)
    planes = np.full(i420_shape(128, 128), 128.0)
    planes[:128] = level
    if at is not None:
        planes[50:70, at : at + 20] = 210
    return np.clip(planes + rng.normal(0, noise, planes.shape), 0, 255).astype(np.uint8)


# ---- the gate ----------------------------------------------------------------------------------


def test_a_still_picture_is_left_out_but_looked_at_now_and_then() -> None:
    gate = ChangeGate(GateRule(every=5.0, settle=0))
    still = [gate.passes(look(float(n), scene(40), scene(40))) for n in range(11)]
    assert [n for n, passed in enumerate(still) if passed] == [0, 5, 10]


def test_what_stopped_is_looked_at_for_a_while() -> None:
    gate = ChangeGate(GateRule(every=100.0, settle=2))
    places = [10, 20, 30, 30, 30, 30, 30, 40, 40, 40, 40]
    passed = [gate.passes(look(float(n), scene(at), scene(at))) for n, at in enumerate(places)]
    assert [n for n, p in enumerate(passed) if not p] == [5, 6, 10]


def test_pictures_that_a_look_begins_with_were_judged_before() -> None:
    gate = ChangeGate(GateRule(every=100.0, settle=0))
    places = [10, 30, 30, 30]
    looks = [
        look(float(n), *map(scene, (places[max(0, n - 1)], at))) for n, at in enumerate(places)
    ]
    passed = [gate.passes(replace(look, carried=1)) for look in looks]
    assert passed == [True, True, False, False]


def test_noise_is_no_change_but_a_small_thing_that_moves_is() -> None:
    gate = ChangeGate(GateRule(settle=0))
    assert gate.passes(look(0.0, scene(40, 4, 1), scene(40, 4, 2)))
    assert not gate.passes(look(1.0, scene(40, 4, 3), scene(40, 4, 4)))
    assert gate.passes(look(2.0, scene(40, 4, 5), scene(46, 4, 6)))


def test_slow_change_adds_up() -> None:
    gate = ChangeGate(GateRule(every=1000.0, settle=0))
    passed = [
        gate.passes(look(float(n), scene(level=100 + n), scene(level=100 + n))) for n in range(40)
    ]
    assert passed[0] and 2 <= sum(passed) <= 20


def test_colour_alone_is_change() -> None:
    gate, tinted = ChangeGate(), scene()
    tinted[128:144] = 90
    assert gate.passes(look(0.0, scene(), scene()))
    assert gate.passes(look(1.0, tinted, tinted))


def test_pictures_smaller_than_the_grid_are_judged_too() -> None:
    gate = ChangeGate(GateRule(settle=0))
    small = np.full(i420_shape(6, 6), 120, np.uint8)
    assert gate.passes(look(0.0, small, small))
    assert not gate.passes(look(1.0, small, small))
    assert gate.passes(look(2.0, small + 30, small + 30))


# ---- the voice ---------------------------------------------------------------------------------


def test_speaking_has_hysteresis() -> None:
    voice = Voice(SpeakRule(begin=1.0, go_on=-1.0))
    said = [voice.speaks(math.log(1 / (1 + math.exp(odds)))) for odds in (0, 2, 0, 0, -2, 0, 2)]
    assert said == [False, True, True, True, False, False, True]


def test_a_turn_that_nobody_read_is_a_silent_one() -> None:
    voice = Voice(SpeakRule(begin=1.0, go_on=-1.0))
    assert voice.speaks(math.log(0.1))
    voice.quiet()
    assert not voice.speaks(math.log(0.5))


def test_calibration_moves_and_stretches_the_odds() -> None:
    even = math.log(0.5)
    assert Voice(SpeakRule(bias=2.0)).speaks(even)
    assert not Voice(SpeakRule(bias=-2.0)).speaks(even)
    with pytest.raises(ValueError, match="go_on"):
        SpeakRule(begin=0.0, go_on=1.0)


@given(st.floats(-30, 30))
def test_odds_are_exact_at_both_ends(odds: float) -> None:
    silence = -math.log1p(math.exp(odds))
    assert speak_odds(silence) == pytest.approx(odds, abs=1e-3 if abs(odds) > 20 else 1e-6)


def test_certain_silence_is_silence() -> None:
    assert speak_odds(0.0) == -math.inf
    assert speak_odds(-800.0) == 800.0


# ---- repetition --------------------------------------------------------------------------------


DOG = "a dog runs across the green lawn towards the house"


@pytest.mark.parametrize(
    ("new", "old", "nothing_new"),
    [
        ("A red circle appears.", "a red circle appears", True),
        ("the red circle appears now", "a red circle appears", True),
        ("a red circle", "a red circle moves left", False),  # that it moves is denied
        ("a red circle moves left", "a red circle moves right", False),
        ("two circles", "three circles", False),
        ("a blue circle appears", "a red circle appears", False),
        ("circles moving", "circle moving", True),
        (
            "a dog runs across the green lawn towards the house",
            "a dog runs over the green lawn towards the house",
            True,
        ),
        (
            "a dog runs across the green lawn towards the house",
            "a cat sleeps on the warm sofa",
            False,
        ),
    ],
)
def test_what_is_no_news(new: str, old: str, nothing_new: bool) -> None:
    assert tells_nothing_new(words_of(new), words_of(old)) is nothing_new


def test_repetition_is_suppressed_for_a_while() -> None:
    recent = RecentCaptions(30.0)
    assert recent.news(0.0, "a red circle appears")
    assert not recent.news(10.0, "The red circle appears!")
    assert recent.news(31.0, "a red circle appears")


def test_a_state_that_comes_back_is_news() -> None:
    recent = RecentCaptions()
    assert recent.news(0.0, "the circle moves left")
    assert recent.news(3.0, "the circle moves right")
    assert recent.news(6.0, "the circle moves left")


def test_something_else_in_between_makes_no_news() -> None:
    recent = RecentCaptions()
    assert recent.news(0.0, "a red circle appears")
    assert recent.news(3.0, "the camera pans up")
    assert not recent.news(6.0, "a red circle appears")


def test_empty_words_are_never_news() -> None:
    recent = RecentCaptions()
    assert not recent.news(0.0, " ... ")
    assert related(words_of("a red circle"), words_of("the red circle stops"))
    assert not related(words_of("a red circle"), words_of("camera pans"))


# ---- alerts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "condition"),
    [
        ("Tell me when a dog appears!", "a dog appears"),
        ("please let me know as soon as it gets dark.", "it gets dark"),
        ("Can you alert me if the camera moves?", "the camera moves"),
        ("a red circle appears", "a red circle appears"),
        ("watch for a person", "a person"),
        ("tell me when", ""),
        ("notify me whenever   two  squares are there", "two squares are there"),
        ("when the light goes off", "the light goes off"),
    ],
)
def test_conditions_are_found_in_wishes(wish: str, condition: str) -> None:
    assert parse_condition(wish) == condition


def test_wishes_are_told_from_questions() -> None:
    assert is_wish("Tell me when a dog appears") and is_wish("let me know if it rains")
    assert not is_wish("tell me what you see")
    assert not is_wish("when did the dog appear?")


def test_alerts_fire_on_the_rising_edge_and_rearm() -> None:
    alert = Alert(1, "x", AlertRule(fire=1.0, rearm=-1.0, refractory=0.0))
    odds = [-3, 0, 2, 3, 0, 2, -2, 0.5, 2, 2]
    assert [n for n, o in enumerate(odds) if alert.heard(float(n), o)] == [2, 8]


def test_alerts_rest_after_they_fired() -> None:
    alert = Alert(1, "x", AlertRule(refractory=5.0))
    odds = [3, -3, 3, 3, -3, 3, 3, 3]
    assert [n for n, o in enumerate(odds) if alert.heard(float(n), o)] == [0, 5]


def test_what_is_unknown_changes_nothing() -> None:
    alert = Alert(1, "x", AlertRule(refractory=0.0))
    assert not alert.heard(0.0, math.nan)
    assert alert.heard(1.0, 9.0)
    assert not alert.heard(2.0, math.nan)
    assert not alert.heard(3.0, 9.0)
    with pytest.raises(ValueError, match="rearm"):
        AlertRule(fire=0.0, rearm=0.0)


def test_the_specification_of_looks_is_the_fakes() -> None:
    assert LOOK.size_for(32, 32) == (32, 32)
