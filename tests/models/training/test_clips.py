from __future__ import annotations

from pathlib import Path

import pytest
import torch
from millrace.models.training import clips, faults, photos
from millrace.models.training.clips import HELD_OUT_KINDS, held_out_clip, render
from millrace.models.training.scenes import Dice


def _render(seed: int, count: int = 4, frames: int = 5, size: int = 32) -> clips.Clip:
    return render(torch.Generator().manual_seed(seed), count, frames, size)


def test_clips_have_the_asked_shape_and_range() -> None:
    clip = _render(0)
    for part in (clip.source, clip.clean):
        assert part.shape == (4, 5, 3, 32, 32)
        assert part.dtype == torch.float32
        assert 0 <= part.min() and part.max() <= 1


def test_the_generator_decides_everything() -> None:
    first, again, other = _render(1), _render(1), _render(2)
    assert torch.equal(first.source, again.source)
    assert torch.equal(first.clean, again.clean)
    assert not torch.equal(first.clean, other.clean)


def test_the_generator_moves_on_between_calls() -> None:
    generator = torch.Generator().manual_seed(3)
    assert not torch.equal(
        render(generator, 2, 2, 16).clean,
        render(generator, 2, 2, 16).clean,
    )


@pytest.mark.parametrize("wrong", [(0, 2, 32), (1, 0, 32), (1, 2, 20), (1, 2, 0)])
def test_impossible_sizes_are_refused(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="cannot render"):
        render(torch.Generator(), *wrong)


def test_one_clip_of_one_frame_is_possible() -> None:
    assert _render(4, 1, 1, 8).clean.shape == (1, 1, 3, 8, 8)


def test_faults_are_on_the_source_only() -> None:
    clip = _render(5, 40, 4, 16)
    still = [row for row in clip.clean if all(torch.equal(f, row[0]) for f in row)]
    assert len(still) >= 3, "some clips stand perfectly still when clean"
    assert (clip.source - clip.clean).abs().amax((1, 2, 3, 4)).min() > 0
    # Noise is small as a rule and never absent.
    assert 0.001 < (clip.source - clip.clean).abs().mean() < 0.06


def test_most_clips_move_and_some_stand_still() -> None:
    clean = _render(6, 60, 3, 16).clean
    moving = (clean[:, 1:] - clean[:, :-1]).abs().amax((1, 2, 3, 4)) > 1e-3
    assert 0.5 < moving.float().mean() < 0.95


def test_a_lost_frame_repeats_goes_black_or_breaks_in_place() -> None:
    seen = set()
    for seed in range(12):
        frames = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
        before = frames.clone()
        faults.lose(Dice(seed), frames, 2)
        for kept in (0, 1, 3):
            assert torch.equal(frames[kept], before[kept])
        assert not torch.equal(frames[2], before[2])
        if torch.equal(frames[2], before[1]):
            seen.add("repeat")
        elif frames[2].max() == 0:
            seen.add("black")
        else:
            seen.add("block")
    assert seen == {"repeat", "black", "block"}


def test_a_cut_changes_the_scene_from_one_frame_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips, "_CUT", 1.0)
    whole = torch.rand(2, 6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    cut = clips._cut(Dice(0), whole)
    for row in range(2):
        same = [torch.equal(cut[row, t], whole[row, t]) for t in range(6)]
        assert same[0] and not same[-1]
        assert same == sorted(same, reverse=True)


def test_block_compression_keeps_the_mean_and_loses_detail() -> None:
    frames = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    blocky = faults.blocky(frames, 0.08)
    assert (blocky.mean() - frames.mean()).abs() < 0.01
    assert 1e-3 < (blocky - frames).abs().mean() < 0.2
    torch.testing.assert_close(faults.blocky(frames, 1e-6), frames, atol=1e-4, rtol=0)


def test_held_out_photographs_are_not_trained_on() -> None:
    trained = {photo.name for photo in photos.training_photos()}
    kept = {photo.name for photo in photos.heldout_photos()}
    assert {"astronaut", "coffee"} <= kept
    assert not trained & kept
    assert len(trained) >= 8


def test_rendering_reads_no_held_out_photograph(monkeypatch: pytest.MonkeyPatch) -> None:
    read: set[str] = set()
    whole = photos.pyramid

    def watched(name: str, device: str = "cpu") -> tuple[torch.Tensor, ...]:
        read.add(name)
        return whole(name, device)

    monkeypatch.setattr(photos, "pyramid", watched)
    _render(7, 80, 1, 8)
    assert len(read) >= 6
    assert read <= {photo.name for photo in photos.training_photos()}


def test_every_photograph_names_licence_and_author_and_is_there() -> None:
    for photo in photos.PHOTOS:
        assert photo.licence in ("CC0-1.0", "CC-BY-2.0", "public domain")
        assert photo.attribution
        assert photos._path(photo).is_file()
    assert "CC-BY-2.0" in photos.credit_lines() and "danielbuechele" in photos.credit_lines()


def test_a_photograph_in_no_installed_package_names_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(photos.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="training"):
        photos._path(photos.PHOTOS[0])


@pytest.mark.parametrize("kind", HELD_OUT_KINDS)
def test_evaluation_clips_never_change(kind: str) -> None:
    first = held_out_clip("astronaut", kind, 4, 64)
    again = held_out_clip("astronaut", kind, 4, 64)
    assert first.clean.shape == first.source.shape == (1, 4, 3, 64, 64)
    assert torch.equal(first.source, again.source)
    moves = not torch.equal(first.clean[0, 0], first.clean[0, 3])
    assert moves == (kind != "still")
    noisy = not torch.equal(first.source, first.clean)
    assert noisy == (kind == "still")


def test_the_still_clip_has_sensor_noise_of_three_percent() -> None:
    clip = held_out_clip("coffee", "still", 4, 64)
    inner = (clip.clean > 0.15) & (clip.clean < 0.85)
    assert (clip.source - clip.clean)[inner].std() == pytest.approx(0.03, rel=0.05)


def test_a_longer_evaluation_clip_begins_like_a_short_one() -> None:
    short = held_out_clip("coffee", "objects", 3, 32)
    assert torch.equal(held_out_clip("coffee", "objects", 6, 32).clean[:, :3], short.clean)


def test_evaluation_refuses_training_photographs_and_unknown_kinds() -> None:
    with pytest.raises(ValueError, match="astronaut, coffee"):
        held_out_clip("chelsea", "pan", 2, 32)
    with pytest.raises(ValueError, match="pan, zoom"):
        held_out_clip("coffee", "spin", 2, 32)
    with pytest.raises(KeyError, match="camera"):
        held_out_clip("lenna", "pan", 2, 32)
