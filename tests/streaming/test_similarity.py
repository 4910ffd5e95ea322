"""What counts as still, how often it is skipped, and what the engine makes of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from fakes import FakePipeline, Rig, make_frame
from millrace.streaming.frames import Frame, i420_shape
from millrace.streaming.similarity import (
    MAX_SKIPS,
    THRESHOLD,
    SimilarityFilter,
    similarity,
    thumbnail,
    uniform,
)

SIZE = (256, 256)


def picture(luma: npt.NDArray[np.float64], index: int = 0) -> Frame:
    height, width = luma.shape
    planes = np.full(i420_shape(width, height), 128, np.uint8)
    planes[:height] = np.clip(luma, 0, 255)
    return Frame(planes, width, height, 0, 0.0, index)


def scene(level: float, contrast: float) -> npt.NDArray[np.float64]:
    y, x = np.mgrid[0:256, 0:256]
    return level + contrast * np.sin(x / 23) * np.cos(y / 31)


def noisy(luma: npt.NDArray[np.float64], seed: int, sigma: float = 4.0) -> Frame:
    return picture(luma + np.random.default_rng(seed).normal(0, sigma, luma.shape))


def alike(a: Frame, b: Frame) -> float:
    return similarity(thumbnail(a), thumbnail(b))


@pytest.mark.parametrize("size", [(256, 256), (64, 36), (100, 50), (20, 10), (854, 480)])
def test_a_thumbnail_is_the_mean_of_its_cells(size: tuple[int, int]) -> None:
    frame = make_frame(0, size, seed=3)
    thumb = thumbnail(frame)
    rows, columns = min(size[1], 36), min(size[0], 64)
    assert thumb.shape == (rows, columns)
    y0, y1 = 0, size[1] // rows
    x0 = (columns - 1) * size[0] // columns
    assert thumb[0, -1] == pytest.approx(frame.planes[y0:y1, x0:].mean(), abs=0.01)


@pytest.mark.parametrize(("level", "contrast"), [(20, 4), (40, 15), (128, 0), (128, 60), (230, 8)])
def test_sensor_noise_is_still_and_a_small_change_is_not_at_any_brightness(
    level: float, contrast: float
) -> None:
    base = scene(level, contrast)
    assert alike(noisy(base, 1), noisy(base, 2)) > THRESHOLD + 0.005
    changed = base.copy()
    # 4 % of the picture, by 30 levels.
    changed[100:151, 60:111] += 30 if level < 128 else -30
    assert alike(noisy(base, 1), noisy(changed, 2)) < THRESHOLD


def test_a_step_of_exposure_is_still_and_the_lights_going_out_is_not() -> None:
    base = scene(120, 40)
    assert alike(picture(base), picture(base + 5)) > 0.999
    assert alike(picture(base), picture(base * 0.3)) < 0.9


def test_random_numbers_are_a_pure_function_and_even() -> None:
    values = [uniform(7, index) for index in range(4000)]
    assert values == [uniform(7, index) for index in range(4000)]
    assert values != [uniform(8, index) for index in range(4000)]
    assert np.mean(values) == pytest.approx(0.5, abs=0.02)
    assert np.histogram(values, 10, (0, 1))[0].min() > 330


def test_equal_pictures_pass_after_ten_skips_in_a_row() -> None:
    still = SimilarityFilter()
    skips = [still.skips([make_frame(0)], 0) for _ in range(34)]
    assert skips == ([False] + [True] * MAX_SKIPS) * 3 + [False]


def test_the_chance_rises_from_the_threshold_to_equality() -> None:
    frames = [noisy(scene(128, 30), 1)]
    for delta in np.arange(0, 16, 4):
        changed = scene(128, 30)
        changed[:60, :60] += delta
        frames.append(noisy(changed, 2))
    shares = []
    for frame in frames[1:]:
        passed = 0
        for seed in range(200):
            decider = SimilarityFilter(seed)
            decider.skips([frames[0]], 0)
            passed += not decider.skips([frame], 0)
        shares.append(passed / 200)
    assert shares == sorted(shares) and shares[0] < 0.3 and shares[-1] == 1.0


def test_any_frame_of_a_chunk_may_show_the_change() -> None:
    still, other = make_frame(0), make_frame(0, level=30)
    decider = SimilarityFilter()
    decider.skips([still, still], 0)
    assert decider.skips([still, still], 0)
    assert not decider.skips([other, still], 0)


def test_a_change_of_controls_passes_at_once() -> None:
    decider = SimilarityFilter()
    frame = [make_frame(0)]
    assert [decider.skips(frame, epoch) for epoch in (0, 0, 1, 1)] == [False, True, False, True]


# ---- in the engine ---------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [0, 2])
def test_held_chunks_repeat_the_last_picture_in_order(delay: int) -> None:
    pipeline = FakePipeline(delay=delay)
    rig = Rig(pipeline)
    session, collector = rig.open(skip_still=True)
    for index in range(8):
        session.mailbox.put(make_frame(index, level=200 if index >= 3 else 60))
        rig.pass_time(1 / 30)
    assert collector.indices == list(range(8)), "what was in flight came out before the pause"
    assert [o.repeated for o in collector.outputs] == [index not in (0, 3) for index in range(8)]
    assert sum(not flush for step in pipeline.steps for _, flush in step) == 2
    planes = collector.pixels()
    assert np.array_equal(planes[1], planes[0]) and np.array_equal(planes[7], planes[3])
    assert rig.engine.stats()[session.id]["repeated"] == 6


def test_what_is_in_flight_comes_out_at_the_first_still_chunk() -> None:
    rig = Rig(FakePipeline(delay=3))
    session, collector = rig.open(skip_still=True)
    for index in range(2):
        session.mailbox.put(make_frame(index, level=60 + 60 * index))
        rig.settle()
    assert not collector.outputs
    session.mailbox.put(make_frame(2, level=120))
    rig.settle()
    assert collector.indices == [0, 1, 2], "no time had to pass"


def test_a_new_prompt_on_a_still_picture_shows_at_once() -> None:
    rig = Rig(FakePipeline(delay=2))
    session, collector = rig.open(skip_still=True)
    for index in range(3):
        session.mailbox.put(make_frame(index))
        rig.pass_time(1 / 30)
    rig.change(session, gain=0.0)
    for index in range(3, 5):
        session.mailbox.put(make_frame(index))
        rig.pass_time(1 / 30)
    assert [o.repeated for o in collector.outputs] == [False, True, True, False, True]
    assert collector.outputs[3].epoch == session.controls.epoch
    assert collector.pixels()[3][0, 0] == 16


def test_switching_it_off_works_on_every_chunk_again() -> None:
    rig = Rig(FakePipeline())
    session, collector = rig.open(skip_still=True)
    for index in range(6):
        if index == 3:
            rig.change(session, skip_still=False)
        session.mailbox.put(make_frame(index))
        rig.settle()
    assert [o.repeated for o in collector.outputs] == [False, True, True, False, False, False]
