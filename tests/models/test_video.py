"""The shipped weights: they load strictly, and do what the report says, in miniature."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from millrace import assets
from millrace.models.tiny import STYLES, TINY_VIDEO, load_prompts, load_tiny, random_tiny
from millrace.models.training.clips import held_out_clip
from millrace.models.training.evaluate import Runner, one_hot, psnr
from millrace.models.training.styles import STYLES as FILTERS
from millrace.models.video import VideoModel


@pytest.fixture(scope="module")
def model() -> VideoModel:
    return load_tiny()


def test_styles_have_one_order_everywhere() -> None:
    assert STYLES == tuple(style.name for style in FILTERS)
    assert STYLES[0] == "camera"
    assert load_prompts().spec.styles == STYLES


def test_files_are_under_their_limit() -> None:
    for asset in assets.manifest().values():
        assert asset.bytes <= 25 * 2**20, asset.name
        assert asset.licence and asset.origin, asset.name


def test_strength_mixes_the_style_with_the_camera(model: VideoModel) -> None:
    weights = torch.zeros(len(STYLES))
    weights[5] = 1
    full, half, none = (model.context(weights, strength) for strength in (1.0, 0.5, 0.0))
    assert torch.equal(full, model.bank[5]) and torch.equal(none, model.bank[0])
    torch.testing.assert_close(half, (model.bank[5] + model.bank[0]) / 2)


def test_random_weights_have_the_same_names_and_shapes(model: VideoModel) -> None:
    names = {name: value.shape for name, value in model.state_dict().items()}
    other = {name: value.shape for name, value in random_tiny().state_dict().items()}
    assert names == other


def test_an_altered_file_is_refused(tmp_path: Path) -> None:
    entry = assets.manifest()["tiny_video.safetensors"]
    broken = bytearray((assets.FOLDER / entry.name).read_bytes())
    broken[-1] ^= 1
    (tmp_path / entry.name).write_bytes(broken)
    with pytest.raises(assets.AssetError, match=r"tiny_video\.safetensors.*sha256"):
        assets.verify(entry, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("style", ["camera", "watercolor", "noir", "mosaic"])
def test_the_model_imitates_its_filters_on_a_photograph_it_never_saw(
    model: VideoModel, style: str
) -> None:
    index = STYLES.index(style)
    clip = held_out_clip("coffee", "pan", 4, 128)
    target = FILTERS[index].filter(clip.clean).clamp(0, 1)
    out = Runner(model, model.autoencoder).run(clip.source, one_hot(index), 1)
    assert psnr(out[:, 2:], target[:, 2:]) > 20
    assert index == 0 or psnr(out, target) > psnr(clip.source, target)
    assert TINY_VIDEO.styles[index] == style
