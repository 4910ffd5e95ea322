"""The training steps: they run, they learn, they resume; and the measures count right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from millrace.models.training.vl.evaluate import fired
from millrace.models.training.vl.looking import Pool, arrivals, batch, draw
from millrace.models.training.vl.measures import (
    Matches,
    Score,
    Sheet,
    lag_name,
    match,
    quiet,
    total,
)
from millrace.models.training.vl.optimiser import Muon, orthogonal
from millrace.models.training.vl.recording import LOUDNESS, load_tower, record
from millrace.models.training.vl.report import Results, joined, report
from millrace.models.training.vl.story import Taste, tell
from millrace.models.training.vl.student import Course, Tally, Teacher
from millrace.models.training.vl.telling import caption
from millrace.models.training.vl.tower import Reader, accuracy, losses
from millrace.models.training.vl.truth import timeline
from millrace.models.vl.specs import TINY_VL
from millrace.models.vl.vision import VisionTower
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
    assert data[0].shape == (8, 4, 3, 64, 64)
    assert 0 <= accuracy(reader, [looks])["kind"] <= 1


def test_a_mirrored_look_goes_the_other_way() -> None:
    looks = draw(3, 16, 32, Taste(easy=True), (64, 96))
    (plain, cells, whole), (turned, other, _) = batch(looks), batch(looks, mirrored=True)
    assert torch.equal(plain.flip(-1), turned)
    rows = cells["motion"].unflatten(1, (2, 3)), other["motion"].unflatten(1, (2, 3))
    assert torch.equal(rows[0] == 1, rows[1].flip(2) == 2)
    assert torch.equal(
        cells["kind"].unflatten(1, (2, 3)), other["kind"].unflatten(1, (2, 3)).flip(2)
    )
    assert len(whole["count"]) == 16


def test_looks_are_stored_and_taken_in_once(tmp_path: Path) -> None:
    looks = draw(4, 8, 32, Taste(easy=True), (64, 64))
    looks.save(tmp_path / "1.npz")
    (found,) = arrivals(tmp_path)
    assert np.array_equal(found.pictures, looks.pictures)
    assert not list(arrivals(tmp_path))
    pool = Pool(2)
    for _ in range(3):
        pool.add(found)
    assert len(pool.chunks) == 2
    assert pool.batch(np.random.default_rng(0), 2)[0].shape == (8, 4, 3, 64, 64)


def test_the_tower_is_trained_and_resumed(tmp_path: Path) -> None:
    reader = Reader(TINY_VL.vision)
    torch.save({"reader": reader.state_dict()}, tmp_path / "tower.pt")
    tower = load_tower(tmp_path / "tower.pt", TINY_VL.vision)
    pictures = torch.rand(1, 4, 3, 64, 96)
    with torch.no_grad():
        loud, quiet_ = reader.tower(pictures)[0], tower(pictures)[0]
    torch.testing.assert_close(quiet_, LOUDNESS * loud)


def test_the_decoder_learns_and_resumes_where_it_stopped(tmp_path: Path) -> None:
    course = Course(1.0, lessons=1, forks=8, fewest=1, examined=0)
    eye = VisionTower(TINY_VL.vision).eval()
    record(eye, tell(1, 20.6, (96, 96))).save(tmp_path / "1.rec")
    teacher = Teacher(TINY_VL, tmp_path, course, None, tmp_path)
    teacher.take_in()
    first = teacher.once(Tally())
    for _ in range(3):
        teacher.once(Tally())
    teacher.save()
    again = Teacher(TINY_VL, tmp_path, course, None, tmp_path)
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


def test_an_alert_fires_once_until_it_was_false() -> None:
    odds = [-3.0, 2.5, 3.0, 0.0, 2.5, -3.0, 2.0]
    assert fired(odds, 2.0, -1.0) == [1, 6]
    assert fired(odds, 2.0, 1.0) == [1, 4, 6]
    assert fired([], 0.0, -1.0) == []


def test_the_report_says_what_is_missed_and_keeps_what_it_had() -> None:
    old: Results = {"60 s": {"last4": {"alert f1": 0.1}}, "300 s": {"default": {"alert f1": 0.7}}}
    new: Results = {"60 s": {"default": {"alert f1": 0.9, "now": {"color": 0.95}}}}
    both = joined(old, new)
    assert list(both) == ["60 s", "300 s"] and set(both["60 s"]) == {"last4", "default"}
    told = report(both)
    assert "| alerts, F1 | at least 0.8 | 0.9 | 0.7 (missed) |" in told
    assert "| colour | at least 0.9 | 0.95 | - |" in told
    assert "| now color |  | 0.95 |" in told


def test_shares_of_all_kinds_count_every_answer() -> None:
    assert total({"a": Score(1, 1), "b": Score(0, 3)}).share == 0.25
    assert total({}).share is None


def test_a_wish_leaves_its_own_events_to_be_told() -> None:
    turns = timeline(tell(4, 40.0))
    sheet, other = Sheet(), Sheet()
    truths = [caption(turn, number == 0, wish="motion") for number, turn in enumerate(turns)]
    assert any(truths) and truths != [caption(t, n == 0) for n, t in enumerate(turns)]
    sheet.captions_of(turns, truths, "motion")
    other.captions_of(turns, truths, "things")
    assert sheet.captions.f1 == 1.0 and other.captions.f1 == 0.0
