"""Our model is transformers' model: names, vision, text."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from millrace.models.vl.model import VLModel
from millrace.models.vl.positions import lay_out
from millrace.models.vl.segments import Pictures, Piece, Words
from millrace.models.vl.specs import TINY_VL
from millrace.models.vl.vision import StemBlock
from vl_oracle import pair, small_spec, their_features, their_logits

SIZES = [(28, 28), (56, 56), (56, 140), (84, 140), (140, 28)]


@pytest.mark.parametrize("size", SIZES)
def test_vision_is_transformers(size: tuple[int, int]) -> None:
    spec = small_spec()
    ours, theirs = pair(spec)
    pictures = torch.rand(3, 2, 3, *size, dtype=torch.float64)
    features, grid = ours.vision(pictures)
    assert grid == (1, size[0] // 28, size[1] // 28)
    for ours_one, picture in zip(features, pictures, strict=True):
        assert features.std() > 0.1
        torch.testing.assert_close(
            ours_one, their_features(theirs, picture, spec), atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("tied", [False, True])
def test_text_is_transformers(tied: bool) -> None:
    spec = small_spec(tied=tied)
    ours, theirs = pair(spec)
    pieces: list[Piece] = [
        Words("system", tuple(range(7))),
        Pictures(None, (3, 2, 4), 0, 0.0, seconds=0.75),
        Words("caption", tuple(range(5))),
        Pictures(None, (1, 5, 1), 1, 1.0),
        Words("question", (1,)),
    ]
    places = torch.from_numpy(lay_out(pieces, 2.0))
    embeds = torch.randn(places.shape[1], spec.text.dim, dtype=torch.float64)
    hidden = ours.text(embeds[None], places[:, None])
    logits = ours.text.logits(hidden)[0]
    torch.testing.assert_close(logits, their_logits(theirs, embeds, places), atol=1e-4, rtol=1e-4)
    visible = torch.ones(len(embeds), len(embeds), dtype=torch.bool).tril()
    visible[20:, 3:9] = False
    masked = ours.text.logits(ours.text(embeds[None], places[:, None], visible))[0]
    torch.testing.assert_close(
        masked, their_logits(theirs, embeds, places, visible), atol=1e-4, rtol=1e-4
    )
    assert (masked - logits)[20:].abs().max() > 0.01


def test_gradients_reach_every_weight() -> None:
    model = VLModel(TINY_VL)
    for module in model.modules():
        if isinstance(module, StemBlock):
            torch.nn.init.normal_(module.conv2.weight, std=0.02)  # nothing at first
    features, grid = model.vision(torch.rand(2, 4, 3, 96, 128))
    pieces: list[Piece] = [
        Words("system", (1, 2)),
        Pictures(features[0], grid, 0, 0.0),
        Words("caption", (3,)),
    ]
    places = torch.from_numpy(lay_out(pieces, TINY_VL.text.tokens_per_second))
    embeds = torch.cat(
        (model.text.embed(torch.tensor([1, 2])), features[0], model.text.embed(torch.tensor([3])))
    )
    logits = model.text.logits(model.text(embeds[None], places[:, None]))
    logits.logsumexp(-1).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_a_new_block_of_the_stem_changes_nothing() -> None:
    x = torch.rand(1, 8, 6, 6)
    block = StemBlock(8)
    bias = block.conv2.bias
    assert bias is not None
    torch.testing.assert_close(block(x) - x, bias[:, None, None].expand(x.shape))


def test_a_stem_tells_where_things_are() -> None:
    """Attention over patches knows distances alone; the same spot elsewhere is another token."""
    torch.manual_seed(0)
    tower = VLModel(TINY_VL).vision.eval()
    grey = torch.full((1, 4, 3, 128, 160), 0.5)
    with torch.no_grad():
        seen = tower(grey)[0][0].unflatten(0, (4, 5))
    assert (seen[1, 1] - seen[1, 3]).abs().max() > 1e-3
    assert (seen[1, 1] - seen[2, 1]).abs().max() > 1e-3


def test_copies_and_moves_keep_both_views_of_a_model_one() -> None:
    model = VLModel(small_spec(layers=1))
    copied = deepcopy(model).double()
    assert copied.text.model is copied.model and copied.text.lm_head is copied.lm_head
    assert copied.text.weight.dtype == torch.float64
    assert copied.text.weight.data_ptr() != model.text.weight.data_ptr()


def test_pictures_of_odd_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 32"):
        VLModel(TINY_VL).vision(torch.rand(1, 4, 3, 100, 128))
