"""I420 <-> RGB: known colours, the round trip, speed-independent facts about layout."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.kernels import i420_to_rgb, rgb_to_i420
from torch import Tensor

# RGB 0..255 -> Y, U, V of BT.601 in limited range, from the standard's matrix.
COLOURS = {
    (0, 0, 0): (16, 128, 128),
    (255, 255, 255): (235, 128, 128),
    (255, 0, 0): (81, 90, 240),
    (0, 255, 0): (145, 54, 34),
    (0, 0, 255): (41, 240, 110),
    (128, 128, 128): (126, 128, 128),
}


@pytest.mark.parametrize("rgb, yuv", COLOURS.items(), ids=str)
def test_known_colours(rgb: tuple[int, int, int], yuv: tuple[int, int, int]) -> None:
    picture = (torch.tensor(rgb) / 255).view(1, 3, 1, 1).expand(1, 3, 4, 6)
    planes = rgb_to_i420(picture)
    assert planes.shape == (1, 6, 6) and planes.dtype == torch.uint8
    flat = planes.flatten().tolist()
    assert flat == [yuv[0]] * 24 + [yuv[1]] * 6 + [yuv[2]] * 6
    back = i420_to_rgb(planes)
    assert (back - picture).abs().max() < 2.5 / 255


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 8), st.integers(1, 8), st.integers(0, 99))
def test_smooth_pictures_come_back(
    batch: int, half_height: int, half_width: int, seed: int
) -> None:
    """One colour per 2x2 cell: what the subsampling keeps."""
    generator = torch.Generator().manual_seed(seed)
    cells = torch.rand(batch, 3, half_height, half_width, generator=generator)
    picture = cells.repeat_interleave(2, 2).repeat_interleave(2, 3)
    back = i420_to_rgb(rgb_to_i420(picture))
    assert back.shape == picture.shape
    assert (back - picture).abs().max() < 4 / 255


def test_planes_lie_where_codecs_look() -> None:
    picture = torch.zeros(1, 6, 4, dtype=torch.uint8)
    picture[0, :4] = 126
    u, v = picture.view(-1)[16:20], picture.view(-1)[20:24]
    u[:], v[:] = 128, 128
    v[1] = 240  # The top right cell turns red.
    rgb = i420_to_rgb(picture)[0]
    grey = rgb[:, 3, 0]
    assert rgb[0, 0, 2] > grey[0] + 0.3 and rgb[0, 1, 3] > grey[0] + 0.3
    assert torch.equal(rgb[:, :2, :2], grey.view(3, 1, 1).expand(3, 2, 2))
    assert torch.equal(rgb[:, 2:], grey.view(3, 1, 1).expand(3, 2, 4))


def test_values_beyond_the_range_are_clipped() -> None:
    wild = torch.tensor([-3.0, 0.5, 9.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    assert torch.equal(rgb_to_i420(wild), rgb_to_i420(wild.clamp(0, 1)))
    loud = torch.full((1, 3, 2), 255, dtype=torch.uint8)
    out = i420_to_rgb(loud, torch.bfloat16)
    assert out.dtype == torch.bfloat16 and out.min() >= 0 and out.max() <= 1


@pytest.mark.parametrize(
    "picture",
    [
        torch.zeros(1, 6, 4),
        torch.zeros(6, 4, dtype=torch.uint8),
        torch.zeros(1, 5, 4, dtype=torch.uint8),
        torch.zeros(1, 6, 3, dtype=torch.uint8),
    ],
    ids=["float", "no batch", "rows", "odd width"],
)
def test_wrong_layouts_are_refused(picture: Tensor) -> None:
    with pytest.raises(ValueError, match="no I420 batch"):
        i420_to_rgb(picture)


def test_odd_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="even height and width"):
        rgb_to_i420(torch.zeros(1, 3, 4, 5))


def test_sizes_of_what_comes_out() -> None:
    """A flat picture stays itself; half the size is the mean of pixels where they are smooth."""
    grey = torch.full((1, 3, 8, 12), 0.4)
    planes = rgb_to_i420(grey, (4, 6))
    assert planes.shape == (1, 6, 6) and torch.equal(planes, rgb_to_i420(grey[..., :4, :6]))
    assert torch.equal(rgb_to_i420(grey, (8, 12)), rgb_to_i420(grey))
    back = i420_to_rgb(planes, torch.float32, (5, 9))
    assert back.shape == (1, 3, 5, 9)
    torch.testing.assert_close(back, i420_to_rgb(planes)[..., :1, :1].expand_as(back))
    ramp = torch.linspace(0, 1, 12).expand(1, 3, 8, 12)
    inner = i420_to_rgb(rgb_to_i420(ramp), torch.float32, (4, 6))[0, 0, 1, 1:-1]
    pairs = ramp[0, 0, 0].view(6, 2).mean(1)[1:-1]
    assert (inner - pairs).abs().max() < 2 / 255


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="even height and width for a size of .5, 6."):
        rgb_to_i420(torch.zeros(1, 3, 4, 6), (5, 6))
    with pytest.raises(ValueError, match="size is .0, 4."):
        i420_to_rgb(torch.zeros(1, 6, 4, dtype=torch.uint8), torch.float32, (0, 4))
