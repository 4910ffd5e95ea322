from __future__ import annotations

import pytest
import torch
from millrace.models.training import drawing
from millrace.models.training.clips import held_out_clip
from millrace.models.training.styles import STYLES, Style, blend, find
from torch import Tensor
from torch.nn import functional

NAMES = [style.name for style in STYLES]
PAST = ("trails", "exposure", "drying")


@pytest.fixture(scope="module")
def moving() -> Tensor:
    return held_out_clip("astronaut", "objects", 5, 64).clean


@pytest.fixture(scope="module")
def noisy() -> Tensor:
    return held_out_clip("astronaut", "still", 8, 128).source


def test_the_list_begins_with_the_camera_and_has_fifteen_names() -> None:
    assert NAMES[0] == "camera"
    assert len(NAMES) == len(set(NAMES)) == 15
    assert [style.name for style in STYLES if style.needs_past] == list(PAST)
    assert len({style.title for style in STYLES}) == 15


def test_the_names_are_those_that_the_shipped_model_declares() -> None:
    tiny = pytest.importorskip("millrace.models.tiny")
    assert list(tiny.STYLES) == NAMES


@pytest.mark.parametrize("style", STYLES, ids=NAMES)
def test_a_look_keeps_shape_and_range_at_any_size(style: Style) -> None:
    for shape in ((2, 3, 3, 32, 48), (1, 1, 3, 20, 12)):
        clean = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        before = clean.clone()
        target = style.filter(clean)
        assert target.shape == clean.shape and target.dtype == clean.dtype
        assert target.isfinite().all() and target.min() >= 0 and target.max() <= 1
        assert torch.equal(clean, before), "the input is left as it was"
        assert torch.equal(style.filter(clean), target), "no randomness"


@pytest.mark.parametrize("style", STYLES, ids=NAMES)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_black_and_white_pictures_are_survived(style: Style, value: float) -> None:
    assert style.filter(torch.full((1, 2, 3, 16, 16), value)).isfinite().all()


@pytest.mark.parametrize("style", STYLES, ids=NAMES)
def test_a_clip_does_not_depend_on_its_neighbours_in_the_batch(
    style: Style, moving: Tensor
) -> None:
    pair = torch.cat([moving, moving.flip(-1)])
    torch.testing.assert_close(style.filter(pair)[:1], style.filter(moving), atol=1e-5, rtol=0)


@pytest.mark.parametrize("style", STYLES, ids=NAMES)
def test_only_the_three_that_say_so_need_the_past(style: Style, moving: Tensor) -> None:
    alone = style.filter(moving[:, -1:])
    change = (style.filter(moving)[:, -1:] - alone).abs()
    if style.needs_past:
        assert change.max() > 0.12 and change.mean() > 0.002
    else:
        assert change.max() < 1e-5


@pytest.mark.parametrize("style", STYLES, ids=NAMES)
def test_no_look_needs_the_future(style: Style, moving: Tensor) -> None:
    whole = style.filter(moving)
    torch.testing.assert_close(style.filter(moving[:, :3]), whole[:, :3], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", PAST)
def test_a_scene_that_stands_still_has_a_still_picture(name: str, moving: Tensor) -> None:
    target = find(name).filter(moving[:, :1].expand(-1, 4, -1, -1, -1))
    torch.testing.assert_close(target[:, 3], target[:, 0], atol=1e-5, rtol=0)


def _flash(frames: int) -> Tensor:
    """A dark clip in which a white square is there in frame 1 alone."""
    clip = torch.full((1, frames, 3, 32, 32), 0.1)
    clip[:, 1, :, 8:24, 8:24] = 1.0
    return clip


def test_light_leaves_a_trail_that_decays_towards_blue() -> None:
    square = find("trails").filter(_flash(5))[0, :, :, 16, 16]
    assert (square[1:-1].mean(-1) > square[2:].mean(-1)).all()
    assert square[4, 2] > square[4, 0] + 0.1
    assert square[4].mean() > square[0].mean() + 0.1


def test_long_exposure_remembers_seven_tenths() -> None:
    square = find("exposure").filter(_flash(6))[0, :, :, 16, 16].mean(-1)
    assert square[1] < 0.75 and square[0] < square[3] < square[2] < square[1]


def test_ink_is_blue_when_new_and_brown_when_dry() -> None:
    clip = torch.full((1, 14, 3, 32, 32), 0.9)
    clip[:, 1:, :, :, 15:18] = 0.1
    line = find("drying").filter(clip)[0, :, :, 16, 16]
    red, blue = line[:, 0], line[:, 2]
    assert blue[1] > red[1] + 0.1 and red[1] < 0.3
    assert red[-1] > blue[-1] + 0.1
    assert (red[1:-1] <= red[2:] + 1e-4).all(), "it dries without turning back"


@pytest.mark.parametrize("style", STYLES, ids=NAMES)
def test_a_look_is_soft_enough_to_be_learned(style: Style) -> None:
    for name in ("astronaut", "coffee"):
        target = style.filter(held_out_clip(name, "pan", 1, 256).clean)[:, 0]
        halved = functional.interpolate(
            functional.avg_pool2d(target, 2), scale_factor=2, mode="bilinear"
        )
        assert -10 * torch.log10((halved - target).square().mean()) > 22


@pytest.mark.parametrize("style", STYLES, ids=NAMES)
def test_the_filter_itself_flickers_under_sensor_noise(style: Style, noisy: Tensor) -> None:
    # The model has to be steadier than this, so it must not be next to nothing.
    target = style.filter(noisy)
    assert (target[:, 1:] - target[:, :-1]).abs().mean() * 255 > 1.4


@pytest.mark.parametrize("style", STYLES, ids=NAMES)
def test_patterns_repeat_every_sixteen_pixels(style: Style) -> None:
    grey = style.filter(torch.full((1, 1, 3, 96, 96), 0.4))[..., 24:72, 24:72]
    torch.testing.assert_close(grey[..., :32, :32], grey[..., 16:, :32], atol=1e-4, rtol=0)
    torch.testing.assert_close(grey[..., :32, :32], grey[..., :32, 16:], atol=1e-4, rtol=0)


def test_looks_differ_from_the_camera_and_from_each_other() -> None:
    clean = held_out_clip("coffee", "pan", 1, 64).clean
    made = [style.filter(clean) for style in STYLES]
    for i, first in enumerate(made):
        for j in range(i):
            gap = (first - made[j]).abs().mean()
            assert gap > 0.03, f"{NAMES[i]} looks like {NAMES[j]}"


def test_find_names_what_there_is() -> None:
    assert find("oil").title == "Oil paint"
    with pytest.raises(KeyError, match="watercolor"):
        find("woodcut")


def test_blend_is_the_weighted_mean() -> None:
    black, white = torch.zeros(2, 3), torch.ones(2, 3)
    torch.testing.assert_close(blend([black, white], [1, 3]), torch.full((2, 3), 0.75))
    with pytest.raises(ValueError, match="2 targets and 1"):
        blend([black, white], [1])
    with pytest.raises(ValueError, match="negative"):
        blend([black, white], [1, -1])
    with pytest.raises(ValueError, match="all zero"):
        blend([black, white], [0, 0])


@pytest.mark.parametrize("sigma", [0.8, 3.0])
def test_blur_keeps_constants_and_spreads_a_point_like_a_gaussian(sigma: float) -> None:
    flat = torch.full((1, 17, 33), 0.3)
    torch.testing.assert_close(drawing.blur(flat, sigma), flat)
    point = torch.zeros(1, 65, 65)
    point[0, 32, 32] = 1
    spread = drawing.blur(point, sigma)[0]
    at = torch.arange(65.0) - 32
    assert spread.sum() == pytest.approx(1, abs=1e-4)
    assert (spread.sum(0) * at * at).sum().sqrt() == pytest.approx(sigma, rel=0.02)


def test_posterise_is_continuous_and_rises() -> None:
    x = torch.linspace(0, 1, 2001)
    y = drawing.posterise(x, 4, 6.0)
    steps = y[1:] - y[:-1]
    assert steps.min() >= -1e-6 and steps.max() < 0.01
    torch.testing.assert_close(y[[0, -1]], torch.tensor([0.0, 1.0]), atol=1e-5, rtol=0)


def test_curve_runs_from_zero_to_one() -> None:
    ends = drawing.curve(torch.tensor([0.0, 1.0]), 4.0, 0.4)
    torch.testing.assert_close(ends, torch.tensor([0.0, 1.0]), atol=1e-6, rtol=0)


def test_tiles_are_means_of_eight_by_eight() -> None:
    picture = torch.rand(3, 16, 20, generator=torch.Generator().manual_seed(0))[None]
    tiled = drawing.tiles(picture)
    torch.testing.assert_close(tiled[0, :, 3, 11], picture[0, :, :8, 8:16].mean((1, 2)))
    assert torch.equal(tiled[..., 8:16, 8:16], tiled[..., 8:9, 8:9].expand(1, 3, 8, 8))
    assert tiled.shape == picture.shape
