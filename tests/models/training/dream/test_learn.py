"""Steps of the scene model: noise by chunk, clips from disk, a loss that can be learned."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from millrace.models.autoencoder import PatchAutoencoder
from millrace.models.scene import SHIFT, WEIGHTS, SceneModel, load_scene, vocabulary_of
from millrace.models.specs import TINY_AUTOENCODER
from millrace.models.training.dream import cache as caching
from millrace.models.training.dream.cache import Cache, write
from millrace.models.training.dream.learn import Recipe, StepLosses, init_scene
from millrace.models.training.dream.run import main, new_model
from millrace.models.training.dream.show import dream
from millrace.models.training.dream.world import words
from millrace.models.training.loop import Plan, train

from ...test_scene import small_scene


@pytest.fixture
def clips(tmp_path: Path) -> Cache:
    with patch.object(caching, "SIDE", 32), patch.object(caching, "SHARD", 3):
        write(tmp_path / "clips", 5, PatchAutoencoder(TINY_AUTOENCODER), 0)
        made = {path: path.stat().st_mtime_ns for path in (tmp_path / "clips").iterdir()}
        write(tmp_path / "clips", 9, PatchAutoencoder(TINY_AUTOENCODER), 0)
    assert all(path.stat().st_mtime_ns == time for path, time in made.items())
    return Cache(tmp_path / "clips")


def test_clips_are_kept_and_found(clips: Cache, tmp_path: Path) -> None:
    assert len(clips) == 9
    assert clips.latents(8, 2, 8).shape == (8, 48, 4, 4)
    mean, deviation = clips.statistics()
    assert mean.shape == deviation.shape == (48,)
    with pytest.raises(SystemExit, match="clips"):
        Cache(tmp_path / "nothing")


def test_noise_lies_in_the_place_of_each_chunk(clips: Cache) -> None:
    losses = StepLosses(small_scene(), clips, Recipe(), lambda step: None)
    generator = torch.Generator().manual_seed(0)
    sigma = losses._sigma(generator, 200)
    sigma = sigma / (SHIFT - (SHIFT - 1) * sigma)
    assert sigma.shape == (200, 8) and float(sigma.min()) >= 0 and float(sigma.max()) <= 1
    assert bool((sigma[:, 1:] >= sigma[:, :-1]).all())  # the oldest, first, is the cleanest
    distinct = [len(set(row.tolist())) for row in sigma]
    assert set(distinct) == {1, 2, 4, 8}
    for row, count in zip(sigma, distinct, strict=True):
        for place, chunk in enumerate(row.view(count, -1)):
            assert place / count <= float(chunk[0]) + 1e-5
            assert float(chunk[0]) <= (place + 1) / count + 1e-5


def test_a_short_training_learns_and_resumes(clips: Cache, tmp_path: Path) -> None:
    model = small_scene(tuple(words()))
    init_scene(model)
    model.set_measure(*clips.statistics())
    taken: list[int] = []
    losses = StepLosses(model, clips, Recipe(clips=4), taken.append)

    def judged() -> float:
        """The same draws each time: what training changed, and nothing else."""
        draws = StepLosses(model, clips, Recipe(clips=16), lambda step: None)
        with torch.no_grad():
            return float(draws(torch.Generator().manual_seed(9), 0)["total"])

    before = judged()
    for steps in (20, 40):
        plan = Plan(steps=steps, lr=3e-3, warmup=5, save_every=10, average=0.8)
        train(model, losses, plan, tmp_path / "scene")
    assert taken == list(range(40))
    assert judged() < 0.9 * before


def test_a_sheet_has_the_pictures_that_were_asked_for() -> None:
    model = small_scene()
    films = dream(model, PatchAutoencoder(TINY_AUTOENCODER), ("sea", "fire"), 3, 1, side=32)
    assert films.shape == (2, 4, 3, 32, 32)
    assert bool(films.isfinite().all())


def test_words_are_the_ones_of_the_prompts() -> None:
    model = SceneModel(small_scene().spec, vocabulary_of(sorted(words())))
    assert model.hear("the waves, at sunset!").words == ("waves", "sunset")


def test_what_was_learned_is_written_for_the_pipeline(
    clips: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = new_model(1, clips)
    train(
        model,
        lambda generator, step: {"total": model.word.weight.square().mean()},
        Plan(steps=1, lr=1e-3),
        tmp_path / "scene",
    )
    monkeypatch.setattr("sys.argv", ["dream", "export", "--folder", str(tmp_path)])
    main()
    found = load_scene(file=tmp_path / WEIGHTS)
    assert found.hear("northern lights").unknown == ()
    for name, tensor in found.state_dict().items():
        torch.testing.assert_close(tensor, model.state_dict()[name], rtol=1e-3, atol=1e-3)
