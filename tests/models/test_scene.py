"""The scene model's words and the measure of its latents."""

from __future__ import annotations

from dataclasses import replace

import torch
from millrace.models.layers import Stem
from millrace.models.scene import TINY_SCENE, SceneModel, random_scene, vocabulary_of
from millrace.models.specs import ConvStemSpec

WORDS = ("red", "blue", "circle", "moving", "left", "on", "the", "waves", "sea", "fire")


def small_scene(words: tuple[str, ...] = WORDS) -> SceneModel:
    """A scene model that runs in a millisecond."""
    stem = ConvStemSpec(width=12, stem_blocks=1, head_blocks=1)
    spec = replace(TINY_SCENE, dim=32, ffn_dim=48, heads=1, layers=1, text_dim=16, stem=stem)
    torch.manual_seed(0)
    return SceneModel(spec, vocabulary_of(sorted(words)))


def test_words_are_heard_and_unknown_ones_told() -> None:
    model = small_scene()
    heard = model.hear("A red circle moving left on the zebra, with wave and Zebra")
    assert heard.words == ("red", "circle", "moving", "left", "on", "wave")
    assert heard.unknown == ("zebra",)
    assert model.hear("quantum").words == () and model.hear("quantum").unknown == ("quantum",)
    assert model.hear("").unknown == ()


def test_order_tells_what_is_on_what() -> None:
    model = small_scene()
    one, two, same = model.tokens(
        ["red circle on blue", "blue circle on red", "red circle on blue"]
    )
    contexts = model.context(torch.stack((one, two, same)))
    assert torch.equal(contexts[0], contexts[2])
    assert (contexts[0].mean(0) - contexts[1].mean(0)).abs().max() > 0.01
    empty = model.context(model.tokens(["", "quantum"]))
    assert torch.equal(empty[0], empty[1])
    assert empty.shape == (2, 12, 16)


def test_the_measure_brings_channels_nearer_and_back() -> None:
    model = small_scene()
    deviation = torch.linspace(3.0, 0.03, 48)
    model.set_measure(torch.full((48,), -1.0), deviation)
    latents = torch.randn(2, 3, 48, 4, 4) * deviation[:, None, None] - 1
    seen = model.measured(latents)
    spread = seen.std((0, 1, 3, 4))
    assert 0.8 < float(spread[0]) < 1.2
    assert 0.1 < float(spread[-1]) < 0.3
    torch.testing.assert_close(model.unmeasured(seen), latents)


def test_random_weights_are_those_of_their_seed() -> None:
    one, two = random_scene(WORDS, seed=3), random_scene(WORDS, seed=3)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
    assert sum(p.numel() for p in one.parameters()) < 12e6


def test_the_linear_guess_is_the_best_one() -> None:
    """Without the network the answer is the regression of clean values on noisy ones."""
    model = small_scene()
    model.set_measure(torch.zeros(48), torch.linspace(3.0, 0.1, 48))
    clean = torch.randn(400, 3, 48, 4, 4) * model.scale[:, None, None]
    noise = torch.randn(clean.shape)
    t = torch.tensor([100.0, 500.0, 900.0]).expand(400, 3)
    x = clean.lerp(noise, (t / 1000)[..., None, None, None])
    skip, rest, inner = model.shares(t)
    assert torch.allclose((inner * x).std((0, 3, 4)), torch.ones(3, 48), atol=0.05)
    best = (x * clean).sum((0, 3, 4)) / x.square().sum((0, 3, 4))
    assert torch.allclose(skip[0, :, :, 0, 0], best, atol=0.05)
    left = (clean - skip * x).std((0, 3, 4))
    assert torch.allclose(rest[0, :, :, 0, 0] / left, torch.ones(3, 48), atol=0.05)
    with torch.no_grad():
        for parameter in model.dit.parameters():
            parameter.zero_()
    reading = model.dit.read(model.context(model.tokens(["fire"] * 2)))
    torch.testing.assert_close(model.denoise(x[:2], t[:2], reading), (skip * x)[:2])


def test_the_stem_is_told_its_place() -> None:
    """With the same value everywhere and convolutions that see no edge, only place can differ."""
    torch.manual_seed(0)
    stem = Stem(3, ConvStemSpec(width=4, stem_blocks=0, head_blocks=0, place=True), 8)
    with torch.no_grad():
        out = stem(torch.ones(2, 3, 9, 7), torch.zeros(2, 8))
        weight = stem.conv_in.weight
        across = 8 / 7 * weight[:, 3].sum((-2, -1))
        down = 8 / 9 * weight[:, 4].sum((-2, -1))
    inner = out[:, :, 1:-1, 1:-1]
    assert torch.allclose(inner.diff(dim=3), across[:, None, None].expand(2, 4, 7, 4), atol=1e-5)
    assert torch.allclose(inner.diff(dim=2), down[:, None, None].expand(2, 4, 6, 5), atol=1e-5)
