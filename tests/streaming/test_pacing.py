"""Cadence: spacing, buffer, late pictures; hours of simulated time."""

from __future__ import annotations

import random

import pytest
from millrace.streaming.clock import ManualClock
from millrace.streaming.pacing import CATCH_UP, Pacer

FPS = 30.0


def play(
    pacer: Pacer[int], arrivals: list[tuple[float, list[float]]], end: float
) -> list[tuple[float, int | None]]:
    """Push (when, captures) and obey the pacer; returns (when, index or None for a repeat)."""
    clock = ManualClock()
    left: list[tuple[float, int | None]] = []
    index = 0
    for when, captures in [*arrivals, (end, [])]:
        while True:
            decision = pacer.decide(clock.now())
            if decision.action == "send":
                left.append((clock.now(), decision.item))
            elif decision.action == "repeat":
                left.append((clock.now(), None))
            elif decision.until is not None and decision.until <= when:
                clock.advance(max(0.0, decision.until - clock.now()) + 1e-9)
            else:
                break
        clock.advance(max(0.0, when - clock.now()))
        for captured in captures:
            pacer.push(index, captured, clock.now())
            index += 1
    return left


def chunks(
    count: int, size: int, work: float = 0.02, jitter: float = 0.0, seed: int = 0
) -> list[tuple[float, list[float]]]:
    """Chunks captured at 30 fps, each done `work` (+- jitter) after its last frame."""
    generator = random.Random(seed)
    arrivals = []
    for number in range(count):
        captures = [(number * size + i) / FPS for i in range(size)]
        arrivals.append((captures[-1] + work + generator.uniform(0, jitter), captures))
    return arrivals


def gaps(left: list[tuple[float, int | None]]) -> list[float]:
    times = [when for when, index in left if index is not None]
    return [b - a for a, b in zip(times, times[1:], strict=False)]


def test_single_frames_leave_when_they_are_done() -> None:
    arrivals = chunks(300, 1, jitter=0.015)
    pacer: Pacer[int] = Pacer(FPS, 1)
    left = play(pacer, arrivals, 11.0)
    sent = [(when, index) for when, index in left if index is not None]
    assert [index for _, index in sent] == list(range(300))
    for (when, _), (arrived, _) in zip(sent, arrivals, strict=True):
        assert when == pytest.approx(arrived, abs=1e-6)
    assert pacer.buffer_s == 0.0


def test_single_frames_that_come_together_give_way_to_the_newest() -> None:
    pacer: Pacer[int] = Pacer(FPS, 1)
    left = play(pacer, [(1.0, [0.1, 0.2, 0.3])], 1.1)
    assert left == [(1.0, 2)] and pacer.skipped == 2


@pytest.mark.parametrize("size", [2, 4])
def test_a_chunk_is_spread_over_its_time(size: int) -> None:
    pacer: Pacer[int] = Pacer(FPS, size)
    left = play(pacer, chunks(200, size), 200 * size / FPS + 1)
    assert [index for _, index in left if index is not None] == list(range(200 * size))
    steady = gaps(left)[4 * size :]
    assert max(steady) - min(steady) < 1e-6 and steady[0] == pytest.approx(1 / FPS)
    # The least that no picture is late with: the first of a chunk waits for the last.
    assert pacer.buffer_s == pytest.approx((size - 1) / FPS, abs=1e-3)


def test_spacing_follows_the_captures_not_the_nominal_rate() -> None:
    pacer: Pacer[int] = Pacer(FPS, 2)
    arrivals = [(n * 0.2 + 0.12, [n * 0.2, n * 0.2 + 0.1]) for n in range(50)]
    # Pictures at 10 fps in a stream announced with 30: J stays within T/fps, so the second of a
    # chunk may leave early, but never together with the first.
    steady = gaps(play(pacer, arrivals, 11.0))[10:]
    assert min(steady) >= CATCH_UP / FPS - 1e-6


def test_hours_with_jitter_stay_in_order_unbunched_and_without_drift() -> None:
    size, count = 4, 27_000  # one hour
    pacer: Pacer[int] = Pacer(FPS, size)
    arrivals = chunks(count, size, jitter=0.03)
    left = [x for x in play(pacer, arrivals, count * size / FPS + 1) if x[1] is not None]
    indices = [index for _, index in left]
    assert indices == list(range(count * size)), "nothing lost, nothing repeated"
    assert min(gaps(left)) >= CATCH_UP / FPS - 1e-6
    delays = [when - index / FPS for when, index in left if index is not None]
    assert max(delays[-1000:]) <= max(delays[1000:2000]) + 1e-3, "the delay does not grow"
    assert max(delays) < (size / FPS) + 0.02 + 0.03


def test_a_late_chunk_re_anchors_and_catches_up_without_a_burst() -> None:
    size = 4
    pacer: Pacer[int] = Pacer(FPS, size)
    arrivals = chunks(120, size)
    when, captures = arrivals[60]
    arrivals[60] = (when + 0.12, captures)
    left = play(pacer, arrivals, 16.1)
    assert [index for _, index in left] == list(range(120 * size))
    assert min(gaps(left)) >= CATCH_UP / FPS - 1e-6
    delays = [w - index / FPS for w, index in left if index is not None]
    on_time = delays[59 * size]
    assert delays[60 * size] > on_time + 0.05
    assert pacer.late > 0
    # J remembers one late chunk of a hundred only if it is in the p95: it is not.
    assert delays[-1] == pytest.approx(on_time, abs=0.02)


def test_the_buffer_grows_at_once_and_shrinks_a_millisecond_a_second() -> None:
    size = 4
    pacer: Pacer[int] = Pacer(FPS, size)
    rough = chunks(100, size, jitter=0.03)
    start = rough[-1][1][-1] + 1 / FPS
    smooth = [
        (start + when, [start + captured for captured in captures])
        for when, captures in chunks(110, size)
    ]
    play(pacer, rough, rough[-1][0])
    grown = pacer.buffer_s
    assert (size - 1) / FPS + 0.02 < grown <= size / FPS
    play(pacer, smooth, smooth[-1][0])
    seconds = smooth[-1][0] - rough[-1][0]
    assert pacer.buffer_s >= grown - 1e-3 * seconds - 1e-6
    assert pacer.buffer_s < grown - 2e-3, "no longer held up by what left the window"


def test_overflow_skips_the_oldest() -> None:
    pacer: Pacer[int] = Pacer(FPS, 2)
    for index in range(10):
        pacer.push(index, index / FPS, 1.0)
    assert pacer.skipped == 6
    assert pacer.decide(5.0).item == 6


def test_silence_is_filled_with_repeats_and_the_next_picture_does_not_wait() -> None:
    pacer: Pacer[int] = Pacer(FPS, 1, patience_s=0.5)
    assert pacer.decide(0.0).until is None, "nothing to repeat yet"
    left = play(pacer, [(1.0, [0.9]), (2.7, [2.6])], 3.0)
    assert [index for _, index in left] == [0, None, None, None, 1]
    assert left[1][0] == pytest.approx(1.5) and left[-1][0] == pytest.approx(2.7)
    assert (pacer.sent, pacer.repeated) == (2, 3)
