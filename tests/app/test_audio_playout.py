"""The pure parts of the sound's way: lines of samples, cuts, places, and when blocks leave."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.app.audio_line import (
    BLOCK,
    MOST_CUT,
    RATE,
    Line,
    best_cut,
    blended,
    faded,
    loudness,
    spliced,
)
from millrace.app.audio_playout import (
    IDLE,
    JUMP,
    LEAD_GROWS,
    LEAD_S,
    MOST_LEAD_S,
    NEAR_LOUD,
    PATIENCE_S,
    Block,
    Playout,
)
from millrace.app.audio_sync import BELIEVED_S, DRAG_S, Sync

Sound = npt.NDArray[np.int16]


def tone(at: int, count: int, hertz: float = 220.0, level: float = 9000) -> Sound:
    wave = level * np.sin(2 * np.pi * hertz * np.arange(at, at + count) / RATE)
    return np.repeat(np.rint(wave).astype(np.int16)[:, None], 2, axis=1)


def count_up(at: int, count: int) -> Sound:
    """Samples that say which they are (modulo 30,000)."""
    return np.repeat((np.arange(at, at + count) % 30_000).astype(np.int16)[:, None], 2, axis=1)


# Lines.


@settings(deadline=None, max_examples=80)
@given(st.lists(st.integers(1, 700), min_size=1, max_size=30), st.integers(0, 5000))
def test_a_line_gives_back_what_it_was_given(sizes: list[int], begin: int) -> None:
    line, at = Line(most=4000), begin
    for size in sizes:
        line.put(at, count_up(at, size))
        at += size
    assert line.end == at and line.end - line.start == min(sum(sizes), 4000)
    assert line.dropped == max(0, sum(sizes) - 4000)
    held = line.take(line.start, line.end - line.start)
    np.testing.assert_array_equal(held, count_up(line.start, line.end - line.start))


def test_what_comes_twice_or_late_changes_nothing() -> None:
    line = Line()
    line.put(100, count_up(100, 50))
    line.put(120, count_up(0, 40))
    assert line.end == 160
    np.testing.assert_array_equal(line.take(100, 50), count_up(100, 50))
    line.put(90, count_up(7, 20))
    np.testing.assert_array_equal(line.take(100, 50), count_up(100, 50))


def test_a_hole_is_soft_silence_and_is_counted() -> None:
    line = Line()
    line.put(0, tone(0, 960))
    line.put(1920, tone(1920, 960))
    assert line.lost == 960
    whole = line.take(0, 2880)
    assert not whole[960:1920].any()
    steps = np.abs(np.diff(whole[:, 0].astype(int)))
    assert steps.max() <= np.abs(np.diff(tone(0, 2880)[:, 0].astype(int))).max() + 120


def test_a_stamp_far_away_begins_a_new_stretch() -> None:
    line = Line(most=4000)
    line.put(0, tone(0, 960))
    line.put(900_000, count_up(0, 960))
    assert (line.start, line.end, line.lost) == (900_000, 900_960, 0)


def test_beyond_its_ends_a_line_is_silent() -> None:
    line = Line()
    line.put(1000, tone(1000, 1000))
    taken = line.take(500, 2000)
    assert not taken[:500].any() and not taken[1500:].any()
    np.testing.assert_array_equal(taken[700:1200], tone(1200, 500))
    assert not line.take(5000, 100).any()


# Cuts.


@given(st.integers(-MOST_CUT, MOST_CUT))
def test_a_splice_has_the_wanted_length_and_the_same_ends(extra: int) -> None:
    samples = count_up(0, BLOCK + extra)
    made = spliced(samples, BLOCK)
    assert len(made) == BLOCK
    np.testing.assert_array_equal(made[:300], samples[:300])
    np.testing.assert_array_equal(made[-300:], samples[-300:])


@pytest.mark.parametrize("hertz", [130.0, 220.0, 400.0])
@pytest.mark.parametrize("shorten", [True, False])
def test_a_cut_at_the_best_place_cannot_be_heard(hertz: float, shorten: bool) -> None:
    line = tone(0, 3 * BLOCK, hertz)
    length = best_cut(line[BLOCK : 2 * BLOCK], shorten)
    period = RATE / hertz
    assert abs(length / period - round(length / period)) < 0.02, "whole turns of the tone"
    taken = line[BLOCK : 2 * BLOCK + (length if shorten else -length)]
    made = spliced(taken, BLOCK)[:, 0].astype(float)
    spectrum = np.abs(np.fft.rfft(made * np.hanning(BLOCK)))
    peak = int(np.argmax(spectrum))
    elsewhere = np.delete(spectrum, range(max(0, peak - 3), peak + 4))
    assert elsewhere.max() < 0.02 * spectrum[peak], "a click would spread over the spectrum"


def test_fades_and_blends_join_softly() -> None:
    flat = np.full((500, 2), 8000, np.int16)
    up, down = faded(flat, True), faded(flat, False)
    assert up[0, 0] < 100 and up[200, 0] == 8000 and down[-1, 0] < 100 and down[200, 0] == 8000
    mixed = blended(flat, -flat)[:, 0]
    assert mixed[0] > 7900 and mixed[-1] < -7900 and (np.diff(mixed.astype(int)) <= 0).all()
    assert loudness(flat) == 8000 and loudness(flat[:0]) == 0


# Playout.


@dataclass
class Stage:
    """A source, its way and the playout, by a clock that is turned by hand.

    Attributes:
        delay: of the pictures, seconds from capture until they leave.
        way: of the sound, seconds from capture until it is here.
    """

    delay: float = 0.3
    way: float = 0.05
    level: float = 9000
    playout: Playout = field(default_factory=lambda: Playout(origin=0.0))
    now: float = 0.0
    sent: list[Block] = field(default_factory=list)
    left: list[float] = field(default_factory=list)
    came: int = 0

    def run(self, seconds: float, step: float = 0.002) -> None:
        """Let time pass; sound comes in pieces of 20 ms when it was captured and travelled."""
        for _ in range(round(seconds / step)):
            self.now += step
            self.playout.aim(self.delay)
            while (self.came + BLOCK) / RATE + self.way <= self.now:
                self.playout.put(self.came, tone(self.came, BLOCK, level=self.level), self.now)
                self.came += BLOCK
            while isinstance(decision := self.playout.decide(self.now), Block):
                self.sent.append(decision)
                self.left.append(self.now)

    def off(self) -> Iterator[float]:
        """Seconds by which each block's tone is from where it belongs, by its phase."""
        for block in self.sent:
            at = round((block.pts / RATE - self.delay) * RATE)
            window = np.hanning(BLOCK)
            turns = np.exp(-2j * np.pi * 220 * (at + np.arange(BLOCK)) / RATE)
            phase = np.angle(np.sum(window * block.samples[:, 0] * turns) * 1j)
            yield float(phase) / (2 * np.pi * 220)


def test_sound_leaves_a_little_before_its_picture_and_stamps_have_no_gaps() -> None:
    stage = Stage()
    stage.run(3.0)
    stamps = [block.pts for block in stage.sent]
    assert all(b - a == BLOCK for a, b in zip(stamps, stamps[1:], strict=False))
    ahead = [pts / RATE - left for pts, left in zip(stamps, stage.left, strict=True)]
    assert ahead[0] == pytest.approx(LEAD_S, abs=0.005)
    assert ahead[-1] == pytest.approx(LEAD_S + 3.0 * LEAD_GROWS, abs=0.005)
    stage.run(30.0)
    early = stage.sent[-1].pts / RATE - stage.left[-1]
    there = stage.delay - stage.way - BLOCK / RATE
    assert there - 0.021 < early <= there + 0.001 < MOST_LEAD_S, "as soon as its sound is there"
    assert all(abs(seconds) < 1e-4 for seconds in list(stage.off())[20:])
    tally = stage.playout.tally
    assert (tally.jumps, tally.cut_out, tally.put_in, tally.late) == (0, 0, 0, 0)


@pytest.mark.parametrize("by", [0.06, -0.06])
def test_under_sound_it_follows_the_pictures_slowly(by: float) -> None:
    stage = Stage()
    stage.run(1.0)
    stage.delay += by
    stage.run(4.0)
    tally = stage.playout.tally
    moved = tally.cut_out if by < 0 else tally.put_in
    assert abs(moved / RATE - abs(by)) <= NEAR_LOUD / RATE + 0.001
    assert tally.jumps == 0 and (tally.cut_out == 0) == (by > 0)
    steps = np.abs(np.diff(np.concatenate([b.samples[:, 0].astype(int) for b in stage.sent[50:]])))
    assert steps.max() < 1.6 * np.abs(np.diff(tone(0, RATE)[:, 0].astype(int))).max(), "no clicks"


def test_in_silence_it_follows_at_once_and_exactly() -> None:
    stage = Stage(level=0)
    stage.run(1.0)
    stage.delay += 0.05
    stage.run(0.3)
    assert abs(stage.playout.error or 0) <= 96 and stage.playout.tally.put_in >= 0.047 * RATE


def test_far_off_it_jumps_once_and_softly() -> None:
    stage = Stage()
    stage.run(1.0)
    stage.delay += 2 * JUMP / RATE
    stage.run(2.0)
    assert stage.playout.tally.jumps == 1 and abs(stage.playout.error or 0) <= NEAR_LOUD


def test_two_clocks_that_drift_apart_stay_together() -> None:
    stage = Stage()
    for _ in range(100):
        stage.run(0.2)
        stage.delay += 0.0004  # 2000 ppm, twenty times what cheap crystals do
    assert abs(stage.playout.error or 0) <= NEAR_LOUD + MOST_CUT
    assert stage.playout.tally.jumps == 0


@pytest.mark.parametrize("way", [0.1, 0.3])
def test_sound_that_comes_later_than_its_picture_is_sent_later_not_lost(way: float) -> None:
    stage = Stage(delay=0.02, way=way)
    stage.run(6.0)
    tally = stage.playout.tally
    silent = tally.silent
    stage.run(3.0)
    assert tally.silent == silent, "it has learned to wait"
    assert all(abs(seconds) < 1e-3 for seconds in list(stage.off())[-50:])
    assert all(
        b.pts / RATE < left for b, left in zip(stage.sent[-50:], stage.left[-50:], strict=True)
    )


def test_without_sound_nothing_is_sent_after_a_while_and_it_begins_again_in_place() -> None:
    stage = Stage()
    stage.run(1.0)
    stage.way = 1e9
    stage.run(3.0)
    blocks = len(stage.sent)
    assert blocks < (1.0 + PATIENCE_S + 0.2) * 50 + IDLE + 5
    stage.came = round((stage.now - 0.1) * RATE)
    stage.way = 0.05
    stage.run(2.0)
    assert len(stage.sent) > blocks + 80
    assert all(abs(seconds) < 1e-3 for seconds in list(stage.off())[-50:])
    stamps = [block.pts for block in stage.sent]
    assert all(b - a >= BLOCK for a, b in zip(stamps, stamps[1:], strict=False))


def test_before_the_first_picture_nothing_leaves() -> None:
    playout = Playout(0.0)
    for n in range(300):
        playout.put(n * BLOCK, tone(n * BLOCK, BLOCK), n * 0.02)
    assert not isinstance(playout.decide(6.0), Block)
    assert playout.line.dropped == 300 * BLOCK - 3 * RATE, "the oldest goes"


def test_lost_packets_are_silence_and_the_rest_stays_in_place() -> None:
    stage, chance = Stage(), random.Random(1)
    put = stage.playout.put

    def lossy(pts: int, samples: Sound, now: float) -> None:
        if chance.random() > 0.1:
            put(pts, samples, now)

    stage.playout.put = lossy  # type: ignore[method-assign]
    stage.run(6.0)
    assert stage.playout.line.lost > 10 * BLOCK and stage.playout.tally.jumps == 0
    heard = [s for s, b in zip(stage.off(), stage.sent, strict=True) if loudness(b.samples) > 6000]
    assert len(heard) > 200 and all(abs(seconds) < 1e-3 for seconds in heard[-100:])


# Places.


def test_a_common_clock_of_the_source_decides_what_belongs_together() -> None:
    sync = Sync()
    assert sync.shift() is None and sync.arrival() is None
    for n in range(60):
        sync.picture(stamp=n / 30, arrived=100.0 + n / 30, left=100.15 + n / 30)
    for n in range(60):
        sync.sound(stamp=n / 50, arrived=100.1 + n / 50)  # a slow microphone
    assert sync.shift() == pytest.approx(100.25), "what comes together, as far as anyone knows"
    sync.of_pictures.say(5000.0, 102.0)
    sync.of_sound.say(5000.02, 102.0)
    assert sync.shift() == pytest.approx(100.17), "now the source says what belongs together"
    assert sync.arrival() == pytest.approx(100.02) and sync.delay == pytest.approx(0.15)


def test_reports_that_are_late_count_less_than_the_earliest() -> None:
    sync = Sync()
    sync.picture(0.0, 100.0, 100.1)
    sync.sound(0.0, 100.0)
    sync.of_pictures.say(7.0, 100.0)
    for at, late in enumerate((0.2, 0.0, 0.4)):
        sync.of_sound.say(7.0 + late, 100.0 + at)
    assert sync.shift() == pytest.approx(100.1)
    sync.of_sound.say(7.45, 106.0)
    assert sync.shift() == pytest.approx(100.55), "but not for ever: a source's stamps may slip"


def test_clocks_that_have_nothing_in_common_are_not_believed() -> None:
    sync = Sync()
    sync.picture(0.0, 100.0, 100.1)
    sync.sound(0.0, 100.0)
    sync.of_pictures.say(7.0, 100.0)
    sync.of_sound.say(8.0 + BELIEVED_S, 100.0)
    assert sync.shift() == pytest.approx(100.1)


def test_one_slow_picture_moves_nothing() -> None:
    sync = Sync()
    sync.sound(0.0, 100.0)
    for n in range(50):
        sync.picture(n / 30, 100 + n / 30, 100.1 + n / 30 + (1.0 if n % 7 == 0 else 0.0))
    assert sync.shift() == pytest.approx(100.1)


def test_sound_that_comes_far_too_late_lags_rather_than_hold_the_picture_back() -> None:
    sync = Sync()
    sync.picture(0.0, 100.0, 100.1)
    sync.sound(0.0, 100.8)
    sync.of_pictures.say(7.0, 100.0)
    sync.of_sound.say(7.0, 100.0)
    assert sync.shift() == pytest.approx(100.8 - DRAG_S)
    assert sync.arrival() == pytest.approx(100.0), "what is said is still told where it belongs"
