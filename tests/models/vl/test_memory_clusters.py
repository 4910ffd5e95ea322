"""Clustered memory: the optimum by brute force, true means and times, bounds, and the known
mistakes of the released code, one by one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.models.vl.memory.clusters import ClusteredMemory, pool
from millrace.models.vl.memory.policy import Cue
from millrace.models.vl.memory.sizes import ClusterSizes
from millrace.models.vl.segments import Pictures
from segment_fakes import picture
from torch import Tensor

SIZES = ClusterSizes(clusters=4, details=2, candidates=2, max_bytes=1 << 24, tokens=1000)
NOW = Cue(1e6, None)
PASTEL = st.lists(st.integers(-50, 50), min_size=1, max_size=30)


def memory(values: Sequence[float], sizes: ClusterSizes = SIZES) -> ClusteredMemory:
    """Has seen a plain picture a second, each of a value."""
    made = ClusteredMemory(sizes)
    for second, value in enumerate(values):
        made.seen(picture(second, value))
    return made


def noisy(number: int, seed: int = 0, grid: tuple[int, int, int] = (1, 4, 4)) -> Pictures:
    generator = torch.Generator().manual_seed(seed * 100_003 + number)
    length = grid[0] * grid[1] * grid[2]
    return picture(number, torch.randn(length, 3, generator=generator), grid)


def tensor(pictures: object) -> Tensor:
    assert isinstance(pictures, Pictures)
    assert isinstance(pictures.features, Tensor)
    return pictures.features


def recalled(made: ClusteredMemory) -> list[Pictures]:
    return [one for one in made.recall(NOW) if isinstance(one, Pictures)]


def whole(made: ClusteredMemory) -> list[Pictures]:
    return [one for one in recalled(made) if one.grid == (1, 4, 4)]


def spread_of(points: Sequence[tuple[float, int]]) -> float:
    """Squared distance of weighted points from their mean."""
    weight = sum(count for _, count in points)
    mean = sum(value * count for value, count in points) / weight
    return sum(count * (value - mean) ** 2 for value, count in points)


def _partitions() -> list[tuple[int, ...]]:
    """All ways to put 5 points into 4 clusters of which none is empty."""
    owners = itertools.product(range(4), repeat=5)
    named = {tuple(map(owner.index, owner)) for owner in owners}
    return sorted(owner for owner in named if len(set(owner)) == 4)


PARTITIONS = _partitions()


@settings(max_examples=40, deadline=None)
@given(values=PASTEL)
def test_each_picture_is_clustered_at_the_optimum(values: list[int]) -> None:
    """The step against all ways to make 4 clusters, none empty, of 5 weighted points."""
    made = ClusteredMemory(SIZES)
    for second, value in enumerate(values):
        points = [(float(one.centroid[0, 0]), one.weight) for one in made.clusters]
        points.append((float(value), 1))
        made.seen(picture(second, value))
        if len(points) <= SIZES.clusters:
            continue
        best = min(
            sum(
                spread_of([p for p, own in zip(points, owner, strict=True) if own == k])
                for k in set(owner)
            )
            for owner in PARTITIONS
        )
        joined = [(float(one.centroid[0, 0]), one.weight) for one in made.clusters]
        # What the join lost: squares about the old means less squares about the new ones.
        before = sum(count * value**2 for value, count in points)
        lost = before - sum(count * value**2 for value, count in joined)
        assert lost == pytest.approx(best, abs=1e-2)


@settings(max_examples=40, deadline=None)
@given(values=PASTEL)
def test_points_belong_to_their_nearest_centroid(values: list[int]) -> None:
    """The assignment step of k-means, by brute force, would move neither of the two joined."""
    made = ClusteredMemory(SIZES)
    for second, value in enumerate(values):
        old = [(one, float(one.centroid[0, 0])) for one in made.clusters]
        made.seen(picture(second, value))
        if len(old) < SIZES.clusters:
            continue
        now = list(made.clusters)
        gone = [point for one, point in old if one not in now]
        new = [one for one in now if all(one is not other for other, _ in old)]
        # Two old ones were joined, and the picture stands alone; or the picture joined an old one.
        points = gone if len(gone) == 2 else [*gone, float(value)]
        joined = max(new, key=lambda one: one.weight)
        for point in points:
            apart = [abs(point - float(one.centroid[0, 0])) for one in now]
            assert abs(point - float(joined.centroid[0, 0])) <= min(apart) + 1e-3


@settings(max_examples=40, deadline=None)
@given(values=PASTEL)
def test_weights_means_and_times_are_those_of_all_pictures(values: list[int]) -> None:
    clusters = memory(values).clusters
    count = len(values)
    assert sum(one.weight for one in clusters) == count
    mean = sum(one.weight * float(one.centroid.mean()) for one in clusters) / count
    assert mean == pytest.approx(sum(values) / count, abs=1e-3)
    time = sum(one.weight * one.time for one in clusters) / count
    assert time == pytest.approx((count - 1) / 2)


def test_the_memory_is_bounded_however_long_the_stream() -> None:
    """Released: every feature ever seen is concatenated and copied about, frame by frame."""
    made = ClusteredMemory(SIZES)
    most = 0
    for second in range(400):
        made.seen(noisy(second))
        if second == 30:
            most = made.nbytes
        assert len(made.clusters) <= SIZES.clusters
        assert len(recalled(made)) <= SIZES.clusters + SIZES.details
    assert made.nbytes <= max(most, SIZES.clusters * (SIZES.candidates * (16 + 4) + 4) * 3 * 4)


@settings(max_examples=20, deadline=None)
@given(room=st.integers(0, 3000), count=st.integers(1, 40))
def test_whole_pictures_stay_within_their_bytes(room: int, count: int) -> None:
    made = ClusteredMemory(replace(SIZES, max_bytes=room))
    for second in range(count):
        made.seen(noisy(second))
        stored = [c for one in made.clusters for c in one.candidates]
        assert sum(one.nbytes for one in stored) <= room
    assert len(whole(made)) <= min(SIZES.details, room // 240)


@settings(max_examples=20, deadline=None)
@given(tokens=st.integers(0, 80), count=st.integers(1, 12))
def test_what_comes_back_is_bounded(tokens: int, count: int) -> None:
    """Centroids have 4 tokens each and a third of all; whole pictures have 16."""
    made = ClusteredMemory(replace(SIZES, tokens=tokens))
    for second in range(count):
        made.seen(noisy(second))
    shown = recalled(made)
    assert sum(len(tensor(one)) for one in shown) <= tokens
    context = [one for one in shown if one.grid == (1, 2, 2)]
    assert len(context) == min(count, 4, tokens // 3 // 4)
    room = (tokens - 4 * len(context)) // 16
    assert len(shown) - len(context) == min(count, 2, room)


def test_whole_pictures_are_those_of_the_heaviest_clusters_at_their_own_times() -> None:
    """Released: ranks of clusters are taken for numbers of frames, so that frames 0 to 24 come
    back whatever happened."""
    values = [0.0] * 3 + [10.0] * 3 + [20.0] * 3 + [100.0] * 50 + [200.0] * 40
    shown = whole(memory(values, replace(SIZES, clusters=5)))
    assert [float(tensor(one).mean()) for one in shown] == [100.0, 200.0]
    assert 9 <= shown[0].time < 59
    assert 59 <= shown[1].time < 99
    assert [one.turn for one in shown] == [int(one.time) for one in shown]


def test_a_whole_picture_is_the_nearest_of_those_stored() -> None:
    made = ClusteredMemory(replace(SIZES, clusters=1, details=1, candidates=3))
    for second, value in enumerate([0.0, 4.0, 10.0]):
        made.seen(picture(second, value))
    # The mean is 14 / 3: the picture of value 4 is the nearest.
    assert [one.time for one in whole(made)] == [1.0]


def test_times_are_means_of_seconds_and_in_order() -> None:
    """Released: mean times are overwritten with mean row numbers."""
    made = ClusteredMemory(replace(SIZES, clusters=3))
    seconds = [(1000, 0), (1010, 0), (1500, 500), (2500, 900), (2540, 900), (3000, 0)]
    for turn, (second, value) in enumerate(seconds):
        made.seen(replace(picture(turn, value), time=float(second)))
    context = [one for one in recalled(made) if one.grid == (1, 2, 2)]
    shown = [(float(tensor(one).mean()), one.time) for one in context]
    assert shown == [(500.0, 1500.0), (0.0, pytest.approx(5010 / 3)), (900.0, 2520.0)]
    times = [one.time for one in recalled(made)]
    assert times == sorted(times)


def test_mean_time_of_a_cluster_is_that_of_its_pictures() -> None:
    values = [0.0, 100.0] * 10
    clusters = memory(values, replace(SIZES, clusters=2)).clusters
    assert sorted(one.time for one in clusters) == [9.0, 10.0]
    assert [one.weight for one in clusters] == [10, 10]


def test_a_still_scene_divides_by_nothing() -> None:
    """Released: a cluster that loses all its members divides by zero."""
    made = memory([5.0] * 50)
    assert all(tensor(one).isfinite().all() for one in recalled(made))
    assert all(float(tensor(one).mean()) == 5.0 for one in recalled(made))
    assert sum(one.weight for one in made.clusters) == 50


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
def test_a_young_memory_gives_what_it_has(count: int) -> None:
    """Released: an early return has three values where four are expected."""
    shown = recalled(memory([float(10 * n) for n in range(count)]))
    assert len(shown) == min(count, 4) + min(count, 2)


def test_the_same_pictures_make_the_same_memory_and_leave_the_random_state_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Released: k-means begins at random at every frame, and prints."""
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        made = ClusteredMemory(SIZES)
        for second in range(60):
            made.seen(noisy(second))
        assert torch.equal(before, torch.get_rng_state())
        results.append(recalled(made))
    for one, other in zip(*results, strict=True):
        assert torch.equal(tensor(one), tensor(other))
        assert (one.time, one.turn, one.grid) == (other.time, other.turn, other.grid)
    assert capsys.readouterr() == ("", "")


def test_asking_changes_nothing() -> None:
    made, quiet = ClusteredMemory(SIZES), ClusteredMemory(SIZES)
    for second in range(40):
        made.seen(noisy(second))
        quiet.seen(noisy(second))
        made.recall(NOW)
    for one, other in zip(recalled(made), recalled(quiet), strict=True):
        assert torch.equal(tensor(one), tensor(other))


def test_stored_pictures_are_copies() -> None:
    features = torch.ones(16, 3)
    made = ClusteredMemory(SIZES)
    made.seen(picture(0, features))
    features.zero_()
    assert all(float(tensor(one).mean()) == 1.0 for one in recalled(made))


def test_grids_of_one_turn_are_pictures_of_their_own() -> None:
    features = torch.arange(3.0).repeat_interleave(16)[:, None].expand(48, 3)
    made = ClusteredMemory(SIZES)
    made.seen(Pictures(features, (3, 4, 4), 5, 10.0, seconds=0.5))
    assert sorted(one.time for one in made.clusters) == [10.0, 10.5, 11.0]
    assert [float(one.centroid.mean()) for one in made.clusters] == [0.0, 1.0, 2.0]


def test_half_resolution_is_the_mean_of_two_by_two() -> None:
    grid = torch.arange(15.0).reshape(3, 5)
    small, shape = pool(picture(0, grid.reshape(15, 1), (1, 3, 5)), None)
    assert shape == (2, 3)
    expected = [[3.0, 5.0, 6.5], [10.5, 12.5, 14.0]]
    assert small.reshape(2, 3).tolist() == expected


def test_pictures_of_another_shape_join_the_memory() -> None:
    made = ClusteredMemory(SIZES)
    made.seen(noisy(0))
    for second, grid in enumerate([(1, 2, 6), (1, 5, 3), (1, 1, 1), (1, 4, 4)] * 3, start=1):
        made.seen(noisy(second, grid=grid))
    assert len(made.clusters) == 4
    assert all(one.centroid.shape == (4, 3) for one in made.clusters)


def test_features_keep_their_type() -> None:
    made = ClusteredMemory(SIZES)
    for second in range(9):
        made.seen(picture(second, noisy(second).features.bfloat16()))  # type: ignore[attr-defined]
    assert {tensor(one).dtype for one in recalled(made)} == {torch.bfloat16}
    assert made.clusters[0].centroid.dtype == torch.float32


def test_sizes_that_make_no_sense_are_refused() -> None:
    for wrong in ({"clusters": 0, "details": 0}, {"details": 5}, {"candidates": 0}):
        with pytest.raises(ValueError, match="needed"):
            replace(SIZES, **wrong)
