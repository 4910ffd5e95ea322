"""The training steps: they run, they learn, they resume; and the measures count right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from millrace.models.training.vl.measures import Matches, Sheet, lag_name, match, quiet
from millrace.models.training.vl.optimiser import Muon, orthogonal
from millrace.models.training.vl.story import Taste, tell
from millrace.models.training.vl.student import Course, Tally, Teacher
from millrace.models.training.vl.telling import caption
from millrace.models.training.vl.tower import Reader, accuracy, batch, draw, losses, prepare
from millrace.models.training.vl.truth import timeline
from millrace.models.vl.specs import TINY_VL
from torch import nn


def test_an_orthogonal_update_has_singular_values_near_one() -> None:
    torch.manual_seed(0)
    for shape in ((12, 40), (40, 12)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
        assert values.min() > 0.4
        assert values.max() < 1.4


def test_muon_lowers_a_loss_and_resumes() -> None:
    torch.manual_seed(0)
    module = nn.Sequential()
    module.add_module("layers", nn.Linear(8, 8))
    wanted = torch.randn(8, 8)
    optimiser = Muon(module, 0.2)
    inputs = torch.randn(64, 8)
    seen = []
    for _ in range(60):
        loss = ((module(inputs) - inputs @ wanted) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seen.append(float(loss.detach()))
    assert seen[-1] < 0.5 * seen[0]
    again = Muon(module, 0.2)
    again.load_state_dict(optimiser.state_dict())
    assert torch.equal(again.velocity[0], optimiser.velocity[0])


def test_a_step_on_the_tower_lowers_its_loss() -> None:
    torch.manual_seed(0)
    looks = draw(1, 8, 32, Taste(easy=True), (64, 64))
    reader = Reader(TINY_VL.vision)
    prepare(reader, [looks])
    optimiser = Muon(reader, 2e-3)
    data = batch(looks)
    seen = []
    for _ in range(8):
        found = losses(reader, batch(looks))
        optimiser.zero_grad()
        found["total"].backward()
        optimiser.step()
        seen.append(float(found["total"].detach()))
    assert seen[-1] < 0.8 * seen[0]
    assert data[0].shape == (8, 2, 3, 64, 64)
    assert 0 <= accuracy(reader, [looks])["kind"] <= 1


def test_whitening_filters_give_patches_of_unit_variance() -> None:
    looks = draw(2, 32, 32, Taste(easy=True), (64, 64))
    reader = Reader(TINY_VL.vision)
    prepare(reader, [looks])
    tower = reader.tower
    seen = tower.patch_embed(tower._patches(batch(looks)[0])).flatten(0, 1)
    spread = seen.std(0)
    assert spread[:8].min() > 0.7
    assert spread.max() < 1.2


def test_the_decoder_learns_and_resumes_where_it_stopped(tmp_path: Path) -> None:
    course = Course(1.0, lessons=1, forks=8, short=1.0)
    teacher = Teacher(TINY_VL, tmp_path, course, None)
    first = teacher.once(Tally())
    for _ in range(3):
        teacher.once(Tally())
    teacher.save()
    again = Teacher(TINY_VL, tmp_path, course, None)
    assert again.step == teacher.step == 4
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(again.model.state_dict()[name], teacher.model.state_dict()[name])
    assert np.isfinite(first)


def test_events_are_matched_once_and_near() -> None:
    assert match([5, 10], [6, 6, 30]) == (1, 1, 2)
    assert match([], [1]) == (0, 0, 1)
    assert Matches(8, 2, 2).f1 == 0.8
    assert Matches().f1 is None


def test_perfect_captions_score_one_and_silence_none() -> None:
    turns = timeline(tell(4, 40.0))
    truths = [caption(turn, number == 0) for number, turn in enumerate(turns)]
    sheet = Sheet()
    sheet.captions_of(turns, truths)
    assert sheet.captions.f1 == 1.0
    assert sheet.repeated == 0
    assert sheet.quiet_captions == 0
    mute = Sheet()
    mute.captions_of(turns, [""] * len(turns))
    assert mute.captions.f1 == 0.0


def test_a_caption_that_is_said_again_is_a_repeat() -> None:
    turns = timeline(tell(4, 40.0))
    sheet = Sheet()
    sheet.captions_of(turns, ["a photo", "a photo", *[""] * (len(turns) - 2)])
    assert (sheet.said, sheet.repeated) in ((2, 1), (2, 0))


def test_an_alert_counts_when_it_fires_near_its_time() -> None:
    turns = timeline(tell(4, 40.0))
    holds: list[bool | None] = [False] * len(turns)
    holds[10] = True
    sheet = Sheet()
    sheet.alert(turns, holds, [11, 20])
    assert (sheet.alerts.found, sheet.alerts.missed, sheet.alerts.false) == (1, 0, 1)


def test_lags_fall_into_their_buckets() -> None:
    assert lag_name(3) != lag_name(20) != lag_name(100)
    assert lag_name(5000) == "longer"
    assert len(quiet(timeline(tell(4, 10.0)))) == 9
