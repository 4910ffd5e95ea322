"""Retrieval by keys: hash-bit clusters, attention mass against brute force, selection, bounds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.models.vl.memory.archive import Entry
from millrace.models.vl.memory.hashing import cluster_keys, hamming, leaders
from millrace.models.vl.memory.policy import Cue
from millrace.models.vl.memory.recalls import ArchiveRecall
from millrace.models.vl.memory.retrieval import ByKeys, KeyIndex, attention_mass, heaviest
from millrace.models.vl.memory.sizes import ArchiveSizes, RetrievalSizes
from millrace.models.vl.memory.store import ArchiveStore
from segment_fakes import Maker, entry_of
from torch import Tensor

SIZES = RetrievalSizes(planes=32, distance=7, mass=0.3, tokens=24)
EXACT = replace(SIZES, distance=1)
"""Keys share a cluster only where all bits agree."""


def entries(lengths: list[int], seed: int = 0, scale: float = 1.5) -> list[Entry]:
    """Pictures a second with keys of 2 layers, 2 heads, 8 channels."""
    maker, out = Maker(), []
    generator = torch.Generator().manual_seed(seed)
    for turn, length in enumerate(lengths):
        keys = scale * torch.randn(2, length, 2, 8, generator=generator)
        out.append(entry_of(maker.segment("vision", length, turn, float(turn)), keys=keys))
    return out


def queries(seed: int = 0, tokens: int = 3, heads: int = 4, scale: float = 1.5) -> Tensor:
    generator = torch.Generator().manual_seed(1000 + seed)
    return scale * torch.randn(2, tokens, heads, 8, generator=generator)


def recall_of(sizes: RetrievalSizes, held: list[Entry], room: int = 1 << 24) -> ArchiveRecall:
    store = ArchiveStore(ArchiveSizes(room), index=KeyIndex(sizes))
    recall = ArchiveRecall(store, ByKeys(store, sizes))
    recall.archived(held)
    return recall


def brute_mass(query: Tensor, held: list[Entry]) -> np.ndarray:
    """Attention over every archived token, added up by segment: [layers, tokens, heads, n]."""
    layers, tokens, heads, dim = query.shape
    out = np.zeros((layers, tokens, heads, len(held)))
    for layer in range(layers):
        for token in range(tokens):
            for head in range(heads):
                scores = [
                    [
                        float(query[layer, token, head] @ key[head // (heads // 2)])
                        / math.sqrt(dim)
                        for key in entry.keys[layer]
                    ]
                    for entry in held
                ]
                weights = [[math.exp(score) for score in line] for line in scores]
                whole = sum(sum(line) for line in weights)
                out[layer, token, head] = [sum(line) / whole for line in weights]
    return out


def brute_selection(query: Tensor, held: list[Entry], part: float) -> dict[int, float]:
    """Segments that some layer, head and word selects, with the mass over those that did."""
    scores: dict[int, float] = {}
    for row in brute_mass(query, held).reshape(-1, len(held)):
        reached = 0.0
        for place in sorted(range(len(held)), key=lambda place: -row[place]):
            if reached >= part:
                break
            reached += row[place]
            scores[place] = scores.get(place, 0.0) + row[place]
    return scores


def test_hamming_counts_the_signs_that_differ() -> None:
    keys = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    apart = hamming(keys, planes=16, seed=3)
    normals = torch.randn(8, 16, generator=torch.Generator().manual_seed(3))
    for one in range(5):
        for other in range(5):
            bits = sum(
                bool(keys[one] @ plane >= 0) != bool(keys[other] @ plane >= 0)
                for plane in normals.T
            )
            assert apart[one, other] == bits


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 14), distance=st.integers(1, 20))
def test_clusters_are_those_of_the_sequential_definition(
    seed: int, count: int, distance: int
) -> None:
    keys = torch.randn(3, count, 4, generator=torch.Generator().manual_seed(seed))
    apart = hamming(keys, planes=24, seed=0)
    found = leaders(apart, distance)
    for head in range(3):
        founders: list[int] = []
        for key in range(count):
            near = min(founders, key=lambda one: (int(apart[head, key, one]), one), default=None)
            if near is not None and apart[head, key, near] < distance:
                assert found[head, key] == near
            else:
                founders.append(key)
                assert found[head, key] == key


def test_clusters_hold_the_mean_and_number_of_their_keys() -> None:
    entry = entries([12])[0]
    clusters = cluster_keys(entry, planes=8, distance=4, seed=0)
    keys = entry.keys.transpose(1, 2)
    assert torch.equal(clusters.counts.sum(-1), torch.full((2, 2), 12.0))
    weighted = (clusters.means * clusters.counts[..., None]).sum(2)
    torch.testing.assert_close(weighted, keys.sum(2))
    apart = hamming(keys, planes=8, seed=0)
    leader = leaders(apart, 4)
    for layer in range(2):
        for head in range(2):
            founders = sorted(set(leader[layer, head].tolist()))
            for number, founder in enumerate(founders):
                members = keys[layer, head][leader[layer, head] == founder]
                torch.testing.assert_close(clusters.means[layer, head, number], members.mean(0))
                assert clusters.counts[layer, head, number] == len(members)


def test_like_keys_share_a_cluster() -> None:
    base = torch.randn(2, 1, 2, 8, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(2, 16, 2, 8, generator=torch.Generator().manual_seed(2))
    entry = entry_of(Maker().segment("vision", 16), keys=base + 0.01 * noise)
    clusters = cluster_keys(entry, 32, 7, 0)
    assert clusters.counts.shape[-1] == 1


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), lengths=st.lists(st.integers(1, 5), min_size=1, max_size=7))
def test_mass_equals_brute_force_where_keys_stand_for_themselves(
    seed: int, lengths: list[int]
) -> None:
    held, query = entries(lengths, seed), queries(seed)
    # No cluster of two different keys: the hash is as long as it may be.
    clusters = [cluster_keys(entry, 63, 1, 0) for entry in held]
    mass = attention_mass(query, clusters).reshape(2, 2, 2, 3, -1)
    brute = brute_mass(query, held).reshape(2, 3, 2, 2, -1).transpose(0, 2, 3, 1, 4)
    np.testing.assert_allclose(mass.numpy(), brute, atol=2e-5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), part=st.sampled_from([0.1, 0.3, 0.7]))
def test_selection_is_that_of_brute_force_attention(seed: int, part: float) -> None:
    held, query = entries([3, 1, 4, 2, 5], seed), queries(seed)
    sizes = replace(EXACT, planes=63, mass=part, tokens=1000)
    recall = recall_of(sizes, held)
    brute = brute_selection(query, held, part)
    found = recall.recall(Cue(50.0, None, query))
    assert {entry.segment.turn for entry in found if isinstance(entry, Entry)} == set(brute)
    scores = ByKeys(recall.store, sizes).scores(query, recall.store.kept)
    np.testing.assert_allclose(scores, [brute.get(n, 0.0) for n in range(5)], atol=1e-4)


def test_clusters_lose_little_mass_where_keys_are_alike() -> None:
    """Tokens of one picture that resemble each other, as those of a plain wall do."""
    maker, held = Maker(), []
    generator = torch.Generator().manual_seed(5)
    for turn in range(12):
        kinds = torch.randn(2, 3, 2, 8, generator=generator)
        keys = kinds.repeat_interleave(6, 1) + 0.1 * torch.randn(2, 18, 2, 8, generator=generator)
        held.append(entry_of(maker.segment("vision", 18, turn, float(turn)), keys=keys))
    clusters = [cluster_keys(entry, 32, 7, 0) for entry in held]
    assert max(one.counts.shape[-1] for one in clusters) <= 6
    query = queries(5)
    near = attention_mass(query, clusters).reshape(2, 2, 2, 3, -1).numpy()
    brute = brute_mass(query, held).reshape(2, 3, 2, 2, -1).transpose(0, 2, 3, 1, 4)
    assert np.abs(near - brute).max() < 0.05


def test_heaviest_takes_the_fewest_that_reach_the_part() -> None:
    mass = torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.1, 0.8], [0.25, 0.5, 0.25]])
    assert heaviest(mass, 0.3).tolist() == [
        [True, False, False],
        [False, False, True],
        [False, True, False],
    ]
    assert heaviest(mass, 0.6).tolist() == [
        [True, False, True],
        [False, False, True],
        [True, True, False],
    ]
    assert heaviest(mass, 1.0)[0].all()
    # The part is reached exactly by the first, and of equals the older one is taken.
    assert heaviest(torch.tensor([0.25, 0.5, 0.25]), 0.5).tolist() == [False, True, False]
    assert heaviest(torch.tensor([0.25, 0.5, 0.25]), 0.75).tolist() == [True, True, False]


def test_what_the_question_points_at_is_found_among_many() -> None:
    held = entries([4] * 200, seed=9, scale=0.5)
    needle = held[57]
    query = 8 * needle.keys[:, :1].repeat_interleave(2, 2)
    found = recall_of(SIZES, held).recall(Cue(300.0, None, query))
    turns = [entry.segment.turn for entry in found if isinstance(entry, Entry)]
    assert 57 in turns


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), max_size=20),
    tokens=st.integers(0, 40),
    room=st.sampled_from([2_000, 20_000, 1 << 24]),
)
def test_what_comes_back_is_bounded_ordered_and_the_same(
    lengths: list[int], tokens: int, room: int
) -> None:
    sizes = replace(SIZES, tokens=tokens)
    results = []
    for _ in range(2):
        recall = recall_of(sizes, entries(lengths), room)
        assert recall.store.nbytes <= room
        found = recall.recall(Cue(99.0, None, queries()))
        results.append([e.segment.turn for e in found if isinstance(e, Entry)])
        assert sum(e.segment.length for e in found if isinstance(e, Entry)) <= tokens
    assert results[0] == results[1] == sorted(results[0])


def test_a_picture_comes_with_the_headers_that_say_when_it_was() -> None:
    maker = Maker()
    store = ArchiveStore(ArchiveSizes(1 << 24), index=KeyIndex(SIZES))
    recall = ArchiveRecall(store, ByKeys(store, SIZES))
    for turn in range(20):
        before, vision, footer = maker.turn(turn, 4)
        after = maker.segment("header", 1, turn, float(turn))
        recall.archived([entry_of(part) for part in (before, vision, after, footer)])
    target = store.pictures[7].entry
    query = 30 * target.keys[:, :1].repeat_interleave(2, 2)
    found = [e.segment for e in recall.recall(Cue(40.0, None, query)) if isinstance(e, Entry)]
    assert sorted(s.kind for s in found if s.turn == 7) == ["header", "header", "vision"]
    assert all(item.index is None for item in store.words)


def test_clusters_do_not_depend_on_the_random_state_and_leave_it_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = cluster_keys(entries([9])[0], 32, 7, 4)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    again = cluster_keys(entries([9])[0], 32, 7, 4)
    assert torch.equal(first.means, again.means)


def test_half_precision_keys_are_clustered_and_scored() -> None:
    store = ArchiveStore(ArchiveSizes(1 << 24), KeyIndex(SIZES), dtype=torch.bfloat16)
    recall = ArchiveRecall(store, ByKeys(store, SIZES))
    recall.archived(entries([4] * 10))
    assert recall.recall(Cue(20.0, None, queries().bfloat16()))


def test_without_queries_or_archive_it_finds_nothing() -> None:
    assert recall_of(SIZES, entries([4])).wants_queries
    assert not recall_of(SIZES, entries([4])).recall(Cue(9.0, None))
    assert not recall_of(SIZES, []).recall(Cue(9.0, None, queries()))


@pytest.mark.parametrize("wrong", [{"planes": 0}, {"planes": 64}, {"distance": 0}, {"mass": 0.0}])
def test_sizes_that_make_no_sense_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="needed"):
        replace(SIZES, **wrong)
