"""`KVRing`: which frames a chunk sees, where they stand in time, and how sinks change."""

from __future__ import annotations

import pytest
import torch
from millrace.kernels import angles, axis_pairs, rope, turns
from millrace.models.ring import KVRing
from millrace.models.specs import RingSpec
from torch import Tensor

SHAPE = (2, 1, 3, 2, 12)


def new_ring(
    sinks: int = 2,
    window: int = 2,
    chunk: int = 1,
    positions: str = "relative",
    threshold: float | None = None,
    span: int | None = None,
) -> KVRing:
    policy = RingSpec(sinks, window, positions, threshold, span)  # type: ignore[arg-type]
    return KVRing.allocate(policy, chunk, 10_000.0, SHAPE, "cpu", torch.float64)


def content(frame: int, like: int | None = None) -> Tensor:
    """Keys of a frame; `like` makes it resemble another."""
    generator = torch.Generator().manual_seed(frame if like is None else like)
    base = torch.randn(1, 1, 3, 2, 12, dtype=torch.float64, generator=generator)
    return base if like is None else base + 0.01 * content(frame)


def placed(keys: Tensor, frame: int) -> Tensor:
    """Keys with their place in time."""
    turn = angles(torch.tensor(frame), axis_pairs(keys.shape[-1])[0], 10_000.0)
    return rope(keys, turns(turn, keys.dtype))


def write(ring: KVRing, keys: Tensor) -> None:
    """One committed chunk of one frame, the same in every layer."""
    view = ring.view(1)
    there = placed(keys, int(view.positions[0, 0]))
    for layer in range(SHAPE[0]):
        ring.attend(layer, view, there, there, keys, None)
    ring.commit(torch.ones(1, dtype=torch.bool))


def visible(ring: KVRing, frames: int = 1) -> dict[int, int]:
    """Frame -> its place in time relative to the chunk's first, for all that the chunk sees."""
    view = ring.view(frames)
    held = ring.slot_frames(frames)
    place = held.clone()
    place[:, : ring.policy.sinks] += ring.left_behind(held)
    start = int(view.positions[0, 0])
    seen = [
        (int(frame), int(at) - start)
        for frame, at, ok in zip(held[0], place[0], view.valid[0], strict=True)
        if ok
    ]
    assert len(dict(seen)) == len(seen), "a frame is seen twice"
    return dict(seen)


def test_what_a_chunk_sees() -> None:
    ring = new_ring()
    seen = []
    for frame in range(9):
        seen.append(visible(ring))
        write(ring, content(frame))
    assert seen[0] == {0: 0}
    assert seen[3] == {0: -3, 1: -2, 2: -1, 3: 0}
    assert seen[4] == {0: -4, 1: -3, 2: -2, 3: -1, 4: 0}
    # From here on the sinks stay just before the window.
    assert seen[8] == {0: -4, 1: -3, 6: -2, 7: -1, 8: 0}


def test_absolute_positions_keep_their_distance() -> None:
    ring = new_ring(positions="absolute")
    for frame in range(8):
        write(ring, content(frame))
    assert visible(ring) == {0: -8, 1: -7, 6: -2, 7: -1, 8: 0}


def test_absolute_positions_end_with_the_trained_range() -> None:
    """Sinks keep their distance up to the span, and then they move along."""
    ring = new_ring(positions="absolute", span=6)
    seen = []
    for frame in range(12):
        seen.append(visible(ring))
        write(ring, content(frame))
    assert seen[6] == {0: -6, 1: -5, 4: -2, 5: -1, 6: 0}
    assert seen[7] == {0: -6, 1: -5, 5: -2, 6: -1, 7: 0}
    assert seen[11] == {0: -6, 1: -5, 9: -2, 10: -1, 11: 0}


def test_spans_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="for absolute positions"):
        RingSpec(2, 2, "relative", None, 9)
    with pytest.raises(ValueError, match="span of 3 frames is shorter than 2 sinks"):
        RingSpec(2, 2, "absolute", None, 3)


def test_a_longer_chunk_sees_the_same_past() -> None:
    ring = new_ring(chunk=3)
    ring.frames.fill_(10)
    assert visible(ring, 3) == {0: -4, 1: -3, 8: -2, 9: -1, 10: 0, 11: 1, 12: 2}
    assert visible(ring, 1) == {0: -4, 1: -3, 8: -2, 9: -1, 10: 0}


def test_an_uncommitted_chunk_leaves_no_trace() -> None:
    given = [content(frame) for frame in range(9)]
    disturbed, plain = new_ring(), new_ring()
    for frame, keys in enumerate(given):
        write(plain, keys)
        for layer in range(SHAPE[0]):  # A chunk that is given up.
            disturbed.attend(layer, disturbed.view(1), keys + 1, keys - 1, keys * 2, None)
        write(disturbed, given[frame])
    assert torch.equal(disturbed.k, plain.k) and torch.equal(disturbed.v, plain.v)


def test_empty_slots_count_for_nothing() -> None:
    ring = new_ring()
    ring.k.fill_(1e6)
    ring.v.fill_(1e6)
    keys = content(0)
    out = ring.attend(0, ring.view(1), keys, keys, keys, None)
    assert out.abs().max() < 10


def test_a_new_scene_becomes_the_only_sink() -> None:
    ring = new_ring()
    for frame in range(7):
        write(ring, content(frame))
    ring.replace_sinks()
    assert visible(ring) == {5: -2, 6: -1, 7: 0}, "seen once, in the window, while it is there"
    for frame in range(7, 10):
        write(ring, content(frame))
    assert visible(ring) == {6: -4, 8: -2, 9: -1, 10: 0}
    assert torch.equal(ring.v[:, :, 0], content(6)[0].expand_as(ring.v[:, :, 0]))
    assert torch.equal(ring.k[:, :, 0], placed(content(6), 6)[0].expand_as(ring.k[:, :, 0]))


def test_a_new_scene_before_the_sinks_are_full() -> None:
    ring = new_ring(sinks=3)
    write(ring, content(0))
    write(ring, content(1))
    ring.replace_sinks()
    assert visible(ring) == {1: -1, 2: 0}
    write(ring, content(2))
    write(ring, content(3))
    assert visible(ring) == {1: -3, 2: -2, 3: -1, 4: 0}


def test_a_new_scene_of_one_row_leaves_the_others() -> None:
    policy = RingSpec(2, 2, "relative", None)
    ring = KVRing.allocate(policy, 1, 1e4, (1, 2, 3, 2, 12), "cpu", torch.float64)
    for frame in range(7):
        keys = content(frame).expand(2, -1, -1, -1, -1)
        ring.attend(0, ring.view(1), keys, keys, keys, None)
        ring.commit(torch.ones(2, dtype=torch.bool))
    before = [t.clone() for t in ring.rows(0, 1).tensors()]
    ring.replace_sinks(torch.tensor([False, True]))
    assert all(torch.equal(a, b) for a, b in zip(before, ring.rows(0, 1).tensors(), strict=True))
    assert ring.sink_shift[1].tolist() == [6, -2]


def test_sinks_are_kept_while_the_scene_is() -> None:
    ring = new_ring(threshold=0.5)
    for frame in range(12):
        write(ring, content(frame, like=0))
    assert ring.sink_shift.tolist() == [[0, 0]]


def test_an_unlike_sink_is_replaced_once_the_ring_is_full() -> None:
    ring = new_ring(threshold=0.5)
    for frame in range(4):
        write(ring, content(frame))  # All unlike one another, but nothing is judged yet.
    assert ring.sink_shift.tolist() == [[0, 0]]
    for frame in range(4, 7):
        write(ring, content(frame, like=50))
    # Both sinks gave way, one a chunk; then the stream looks like its sinks.
    assert sorted((ring.sink_shift + torch.arange(2))[0].tolist()) == [4, 5]
    for frame in range(7, 12):
        write(ring, content(frame, like=50))
    assert sorted(visible(ring)) == [4, 5, 10, 11, 12]


def test_too_long_a_chunk_is_refused() -> None:
    ring = new_ring()
    with pytest.raises(ValueError, match="2 latent frames; this ring takes 1 to 1"):
        ring.view(2)
    assert ring.view(5, first=True).slots.tolist() == [[0, 1, 2, 3, 4]]
    with pytest.raises(ValueError, match="1 to 5"):
        ring.view(6, first=True)
    with pytest.raises(ValueError, match="must not be negative"):
        RingSpec(-1, 2, "relative", None)


@pytest.mark.parametrize("positions", ["relative", "absolute"])
def test_a_full_ring_can_be_promised(positions: str) -> None:
    """From the frame on at which the device would say so itself."""
    ring = new_ring(positions=positions, span=6 if positions == "absolute" else None)
    for frame in range(7):
        view = ring.view(1)
        assert bool(view.valid.all()) == (frame >= 4) and not view.full
        if frame >= 4:
            promised = ring.view(1, full=True)
            query = content(frame)
            assert promised.full and torch.equal(promised.valid, view.valid)
            assert torch.equal(ring.look(0, promised, query), ring.look(0, view, query))
        write(ring, content(frame))


def test_a_promise_that_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="full with a whole chunk"):
        new_ring(chunk=2).view(1, full=True)
    with pytest.raises(ValueError, match="nothing limits the past"):
        new_ring().view(1, past=torch.tensor([2]), full=True)
