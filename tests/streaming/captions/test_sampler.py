"""Which pictures are looked at, and how they are scaled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from caption_fakes import LOOK, grey
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.streaming.captions.looks import Look, LookSpec
from millrace.streaming.captions.sampler import Sampler, Scaler
from millrace.streaming.captions.thumbnails import TIERS, Thumbnails, Tier
from millrace.streaming.frames import Frame, i420_shape

TINY = LookSpec()
LARGE = LookSpec(factor=28, min_pixels=100 * 28 * 28, max_pixels=768 * 28 * 28)


@pytest.mark.parametrize(
    ("spec", "source", "size"),
    [
        (TINY, (256, 256), (128, 128)),
        (TINY, (1280, 720), (160, 96)),
        (TINY, (720, 1280), (96, 160)),
        (TINY, (640, 480), (128, 96)),
        (TINY, (32, 32), (128, 128)),
        (LARGE, (1280, 720), (1008, 560)),
        (LARGE, (640, 360), (644, 364)),
    ],
)
def test_sizes_are_true_to_the_aspect(
    spec: LookSpec, source: tuple[int, int], size: tuple[int, int]
) -> None:
    assert spec.size_for(*source) == size


@given(st.integers(2, 4000), st.integers(2, 4000))
@settings(max_examples=60, deadline=None)
def test_sizes_are_within_the_limits(width: int, height: int) -> None:
    for spec in (TINY, LARGE):
        w, h = spec.size_for(width, height)
        assert w % spec.factor == h % spec.factor == 0
        assert spec.min_pixels <= w * h <= spec.max_pixels
        if 0.25 < width / height < 4:
            assert abs(math.log(w * height / (h * width))) < 0.3


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be looked at"):
        TINY.size_for(0, 10)
    with pytest.raises(ValueError, match="no multiple of 32"):
        LookSpec(min_pixels=1100, max_pixels=1500).size_for(64, 64)


def seconds(sampler: Sampler, times: list[float]) -> list[tuple[float, float]]:
    """Beginning and end of the looks at frames with these stamps."""
    looks = [
        look
        for index, time in enumerate(times)
        for look in sampler.take(grey(index, 16 + index % 200), time)
    ]
    return [(look.second, round(look.end, 3)) for look in looks]


def test_two_pictures_a_turn_half_a_second_apart() -> None:
    times = [n / 30 for n in range(90)]
    assert seconds(Sampler(LOOK), times) == [(0.0, 0.5), (1.0, 1.5), (2.0, 2.5)]


@pytest.mark.parametrize("fps", [1.0, 1.7, 2.0, 5.0, 24.0, 29.97, 60.0])
def test_every_turn_with_a_picture_gives_one_look(fps: float) -> None:
    times = [n / fps for n in range(int(10 * fps))]
    found = seconds(Sampler(LOOK), times)
    wanted = sorted({math.floor(time) for time in times})
    assert [second for second, _ in found] == wanted[: len(found)]
    assert len(found) >= len(wanted) - 1


def test_a_slow_source_is_not_waited_for() -> None:
    looks = [(float(n), float(n)) for n in range(4)]
    assert seconds(Sampler(LOOK), [0.0, 1.0, 2.0, 3.0]) == looks


def test_a_gap_ends_a_turn_and_skips_empty_ones() -> None:
    assert seconds(Sampler(LOOK), [0.0, 0.1, 5.6, 5.7, 6.0, 6.5]) == [
        (0.0, 0.0),
        (5.0, 5.6),
        (6.0, 6.5),
    ]


def test_missing_pictures_are_stood_in_for_by_the_nearest() -> None:
    sampler = Sampler(LOOK)
    (look,) = sampler.take(grey(0, 99), 0.7)
    assert len(look.pictures) == 2
    assert (look.pictures[0] == look.pictures[1]).all()


def test_stamps_that_go_back_or_are_no_numbers() -> None:
    sampler = Sampler(LOOK)
    sampler.take(grey(0, 50), 0.2)
    assert sampler.take(grey(1, 60), 0.1) == []
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="must be a number"):
            sampler.take(grey(2, 70), bad)


def test_a_size_that_changes_begins_a_new_look() -> None:
    sampler = Sampler(LookSpec(factor=16, min_pixels=256, max_pixels=64 * 64))
    assert sampler.take(grey(0, 50, side=32), 0.0) == []
    looks = sampler.take(grey(1, 60, side=64), 0.5)
    assert [(look.width, look.pictures[0].shape) for look in looks] == [
        (32, i420_shape(32, 32)),
        (64, i420_shape(64, 64)),
    ]


# ---- looks that overlap ------------------------------------------------------------------------

OVERLAP = replace(LOOK, carried=2)


def levels(look: Look) -> list[int]:
    """Of grey pictures."""
    return [int(planes[0, 0]) for planes in look.pictures]


def looks_at(spec: LookSpec, times: Sequence[float], sizes: Sequence[int] = ()) -> list[Look]:
    """At grey pictures of levels 20, 21, ... with these stamps; their sides, 32 by default."""
    sampler = Sampler(spec)
    sides = [*sizes, *(32 for _ in times)]
    found = [
        look
        for index, time in enumerate(times)
        for look in sampler.take(grey(index, 20 + index, side=sides[index]), time)
    ]
    return [*found, *sampler.rest()]


def test_a_look_begins_with_the_newest_pictures_of_the_one_before() -> None:
    looks = looks_at(OVERLAP, [0.0, 0.5, 1.0, 1.5, 2.0, 2.5])
    assert [levels(look) for look in looks] == [
        [20, 20, 20, 21],
        [20, 21, 22, 23],
        [22, 23, 24, 25],
    ]
    assert [[int(p[0, 0]) for p in look.fresh] for look in looks] == [[20, 21], [22, 23], [24, 25]]


def test_more_may_be_carried_than_a_turn_has() -> None:
    looks = looks_at(replace(LOOK, carried=3), [0.0, 0.5, 1.0, 1.5, 2.0, 2.5])
    assert levels(looks[2]) == [21, 22, 23, 24, 25]
    assert levels(looks[1]) == [20, 20, 21, 22, 23]


def test_nothing_is_carried_over_a_gap_or_into_another_size() -> None:
    looks = looks_at(OVERLAP, [0.0, 0.5, 3.0, 3.5, 4.0, 4.5])
    assert [levels(look) for look in looks] == [
        [20, 20, 20, 21],
        [22, 22, 22, 22],  # not waited for: the source seems slow
        [23, 23, 23, 23],
        [23, 23, 24, 25],
    ]
    spec = LookSpec(factor=16, min_pixels=256, max_pixels=64 * 64, carried=2)
    looks = looks_at(spec, [0.0, 0.5, 1.0, 1.5], [32, 32, 64, 64])
    assert [levels(look) for look in looks] == [[20, 20, 20, 21], [22, 22, 22, 23]]


def test_a_slow_source_carries_the_pictures_that_stood_in() -> None:
    looks = looks_at(OVERLAP, [0.2, 1.2, 2.2])
    assert [levels(look) for look in looks] == [
        [20, 20, 20, 20],
        [20, 20, 21, 21],
        [21, 21, 22, 22],
    ]


@settings(max_examples=100, deadline=None)
@given(
    gaps=st.lists(st.floats(0.01, 2.5), max_size=40),
    sides=st.lists(st.sampled_from([32, 64]), min_size=40, max_size=40),
    carried=st.integers(0, 4),
)
def test_overlap_changes_nothing_but_what_a_look_begins_with(
    gaps: list[float], sides: list[int], carried: int
) -> None:
    times = np.cumsum(gaps).tolist()
    spec = LookSpec(factor=16, min_pixels=256, max_pixels=64 * 64)
    plain = looks_at(spec, times, sides)
    looks = looks_at(replace(spec, carried=carried), times, sides)
    assert [(k.second, k.end, k.width) for k in looks] == [
        (k.second, k.end, k.width) for k in plain
    ]
    for index, (look, own) in enumerate(zip(looks, plain, strict=True)):
        assert all((a == b).all() for a, b in zip(look.fresh, own.pictures, strict=True))
        shown = levels(look)
        assert len(shown) == carried + spec.frames and shown == sorted(shown)
        before = looks[index - 1] if index else None
        if before is None or before.second != look.second - 1 or before.width != look.width:
            assert shown[:carried] == shown[carried : carried + 1] * carried
        elif carried:
            assert shown[:carried] == levels(before)[-carried:]


def test_what_was_begun_is_given_at_the_end() -> None:
    sampler = Sampler(LOOK)
    sampler.take(grey(0, 50), 0.0)
    assert [look.second for look in sampler.rest()] == [0.0]
    assert sampler.rest() == []


def test_scaling_averages_by_area() -> None:
    rng = np.random.default_rng(0)
    planes = rng.integers(16, 235, i420_shape(64, 64), np.uint8)
    frame = Frame(planes, 64, 64, 0, 0.0, 0)
    small = Scaler().scale(frame, 32, 32)
    exact = planes[:64].reshape(32, 2, 32, 2).mean((1, 3))
    assert small.shape == i420_shape(32, 32)
    assert np.abs(small[:32] - exact).max() <= 1.0
    same = Scaler().scale(frame, 64, 64)
    assert (same == planes).all() and same is not planes


def test_flat_colours_stay_what_they_are() -> None:
    planes = np.empty(i420_shape(90, 50), np.uint8)
    planes[:50], planes[50:] = 77, 200
    small = Scaler().scale(Frame(planes, 90, 50, 0, 0.0, 0), 64, 32)
    assert set(small[:32].ravel()) == {77} and set(small[32:].ravel()) == {200}


# ---- thumbnails --------------------------------------------------------------------------------


def test_thumbnails_are_small_jpegs_found_by_time() -> None:
    import av

    store = Thumbnails()
    for second in range(5):
        store.add(float(second), grey(second, 40 + 40 * second, side=400))
    jpeg = store.nearest(2.4)
    assert jpeg is not None
    decoder = av.CodecContext.create("mjpeg", "r")
    (image,) = decoder.decode(av.Packet(jpeg))
    assert (image.width, image.height) == (192, 192)
    # JPEG is full range: 120 of 16..235 is 121.
    assert abs(float(image.to_ndarray()[:192].mean()) - (120 - 16) * 255 / 219) < 3
    assert store.nearest(99.0) != jpeg
    assert Thumbnails().nearest(1.0) is None
    assert Thumbnails().times(0.0, 9.0, 4) == ()


def test_older_thumbnails_are_fewer_and_all_are_bounded() -> None:
    tiers = (Tier(10.0, 1.0), Tier(40.0, 5.0), Tier(100.0, 20.0))
    store = Thumbnails(tiers)
    for second in range(300):
        store.add(float(second), grey(second, 100, side=16))
    times = store.times(0.0, 1000.0, 1000)
    assert times[-11:] == tuple(float(n) for n in range(289, 300))
    middle = [time for time in times if 259 <= time < 289]
    assert all(b - a == 5.0 for a, b in zip(middle, middle[1:], strict=False))
    assert times[0] >= 299 - 100 - 20
    assert len(store) <= 11 + 9 + 6
    assert len(store) == len(times)
    assert store.nbytes < 50_000


def test_times_of_a_span_are_spread_evenly() -> None:
    store = Thumbnails()
    for second in range(20):
        store.add(float(second), grey(second, 100, side=16))
    assert store.times(4.0, 6.0, 8) == (4.0, 5.0, 6.0)
    assert store.times(0.0, 19.0, 3) == (0.0, 10.0, 19.0)
    assert store.times(7.2, 7.4, 8) == (7.0,)
    assert len(TIERS) == 3
