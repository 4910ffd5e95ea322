"""Scenes to learn from: pictures that move, and words that say what is in them."""

from __future__ import annotations

import pytest
import torch
from millrace.models.scene import TINY_SCENE, SceneModel, vocabulary_of
from millrace.models.training.dream.world import KINDS, choose, clip, prompt, words
from millrace.models.training.scenes import Dice


@pytest.mark.parametrize("name", [kind.name for kind in KINDS])
def test_scenes_are_pictures_that_move(name: str) -> None:
    kind = next(kind for kind in KINDS if kind.name == name)
    seen = []
    for turn in range(2):
        traits = {trait: list(values)[turn] for trait, values in kind.traits.items()}
        if "ground" in traits:
            traits["ground"] = "white"
        made = clip(Dice(turn), 32, 5, name, **traits)
        assert made.pictures.shape == (5, 3, 32, 32)
        assert float(made.pictures.min()) >= 0 and float(made.pictures.max()) <= 1
        assert bool(made.pictures.isfinite().all())
        moved = (made.pictures[1:] - made.pictures[:-1]).abs().mean()
        assert 1e-4 < float(moved) < 0.3
        again = clip(Dice(turn), 32, 5, name, **traits)
        assert torch.equal(made.pictures, again.pictures)
        seen.append(made.pictures)
    assert (seen[0] - seen[1]).abs().mean() > 0.01


@pytest.mark.parametrize(
    ("way", "across", "down"), [("left", -1, 0), ("right", 1, 0), ("up", 0, -1), ("down", 0, 1)]
)
def test_shapes_move_where_their_words_say(way: str, across: int, down: int) -> None:
    whole = 0
    for seed in range(12):
        made = clip(Dice(seed), 64, 3, "shape", hue="white", form="circle", way=way, ground="black")
        bright = (made.pictures.mean(1) - 0.1).clamp(min=0)
        mass = bright.sum((1, 2))
        if float(mass.min()) < 0.97 * float(mass.max()) or float(mass.max()) < 100:
            continue  # It is coming in or going out.
        whole += 1
        place = torch.arange(64.0)
        x, y = (bright * place).sum((1, 2)) / mass, (bright * place[:, None]).sum((1, 2)) / mass
        step = torch.stack((x, y), 1).diff(dim=0)
        assert bool((step @ torch.tensor((float(across), float(down))) > 1).all())
        assert float((step @ torch.tensor((float(down), float(across)))).abs().max()) < 0.3
    assert whole > 2


def test_all_that_prompts_say_is_known_and_read() -> None:
    model = SceneModel(TINY_SCENE, vocabulary_of(sorted(words())))
    longest = 0
    for seed in range(300):
        dice = Dice(seed)
        kind, traits = choose(dice)
        text = prompt(dice, kind.name, traits)
        heard = model.hear(text)
        assert heard.words and not heard.unknown, text
        assert "ground" not in traits or traits["ground"] != traits["hue"]
        longest = max(longest, len(heard.words))
    assert longest < TINY_SCENE.text_len
