"""The stream batch against its definition: one chunk, one level at a time, alone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.models.dit import CausalDiT
from millrace.models.specs import TINY, ConvStemSpec, DiTSpec, RingSpec
from millrace.streaming.entries import Entry
from millrace.streaming.lanes import Lanes
from millrace.streaming.prompts import Prompt

SIGMAS = (0.8, 0.6, 0.4, 0.2)
SPEC: DiTSpec = replace(
    TINY,
    dim=24,
    ffn_dim=32,
    freq_dim=16,
    text_dim=8,
    text_len=3,
    in_channels=4,
    out_channels=4,
    cond_channels=4,
    heads=2,
    layers=2,
    stem=ConvStemSpec(width=8, stem_blocks=1, head_blocks=1),
    ring=RingSpec(sinks=1, window=2, positions="relative", sink_threshold=None),
)
CHUNKS = 7  # sink, window and chunk fill after 4


@pytest.fixture(scope="module")
def dit() -> CausalDiT:
    torch.manual_seed(0)
    model = CausalDiT(SPEC).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return model.eval()


def prompt(key: int) -> Prompt:
    generator = torch.Generator().manual_seed(key)
    shape = (SPEC.text_len, SPEC.text_dim)
    return Prompt(str(key), torch.randn(shape, generator=generator, dtype=torch.float64))


def entries(
    stream: int, steps: list[int], prompts: list[int], scenes: Collection[int] = ()
) -> list[Entry]:
    generator = torch.Generator().manual_seed(100 + stream)
    result = []
    for index, (count, key) in enumerate(zip(steps, prompts, strict=True)):
        sigma = torch.tensor(0.7 + 0.02 * index, dtype=torch.float64)
        cond = torch.randn(1, 4, 4, 4, generator=generator, dtype=torch.float64)
        new_scene = index in scenes
        entry = Entry(index, cond, sigma, 1000 * sigma, count, stream, prompt(key), new_scene)
        result.append(entry)
    return result


def make(dit: CausalDiT, slots: int = 1, fresh: bool = True) -> Lanes:
    return Lanes(dit, slots, SIGMAS, (1, 4, 4), fresh)


def run_sequential(lanes: Lanes, slot: int, stream: list[Entry]) -> dict[int, torch.Tensor]:
    out = {}
    for entry in stream:
        lanes.enter(slot, entry)
        out.update({f.index: f.latent.clone() for f in lanes.complete(slot)})
    return out


def run_batched(lanes: Lanes, slot: int, stream: list[Entry]) -> dict[int, torch.Tensor]:
    out: dict[int, torch.Tensor] = {}
    for entry in stream:
        lanes.enter(slot, entry)
        out.update({f.index: f.latent.clone() for f in lanes.advance([slot])})
    while lanes.in_flight(slot):
        out.update({f.index: f.latent.clone() for f in lanes.advance([slot])})
    return out


TOLERANCE = 1e-10
"""Batched products sum in another order: float64 rounding, seen up to 2e-12."""


def apart(a: dict[int, torch.Tensor], b: dict[int, torch.Tensor]) -> float:
    """The largest difference between the latents of two runs over the same chunks."""
    assert a and sorted(a) == sorted(b)
    return max(float((a[index] - b[index]).abs().max()) for index in a)


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
@pytest.mark.parametrize("fresh", [True, False])
def test_stream_batch_equals_the_sequential_schedule(
    dit: CausalDiT, levels: int, fresh: bool
) -> None:
    stream = entries(1, [levels] * CHUNKS, [1] * CHUNKS)
    sequential = run_sequential(make(dit, fresh=fresh), 0, stream)
    batched = run_batched(make(dit, fresh=fresh), 0, stream)
    assert list(sequential) == list(range(CHUNKS))
    assert apart(sequential, batched) < TOLERANCE


def test_a_chunk_leaves_after_as_many_ticks_as_levels(dit: CausalDiT) -> None:
    lanes = make(dit)
    seen = []
    for entry in entries(1, [3] * 6, [1] * 6):
        lanes.enter(0, entry)
        seen.append([f.index for f in lanes.advance([0])])
    assert seen == [[], [], [0], [1], [2], [3]]


@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(st.integers(1, 4), min_size=CHUNKS, max_size=CHUNKS),
    prompts=st.lists(st.integers(1, 3), min_size=CHUNKS, max_size=CHUNKS),
    scenes=st.sets(st.integers(2, CHUNKS - 1)),
)
def test_changes_of_steps_and_prompt_keep_the_two_orders_equal(
    dit: CausalDiT, steps: list[int], prompts: list[int], scenes: set[int]
) -> None:
    stream = entries(2, steps, prompts, scenes)
    sequential = run_sequential(make(dit), 0, stream)
    batched = run_batched(make(dit), 0, stream)
    assert apart(sequential, batched) < TOLERANCE


@dataclass
class Plan:
    joins: int
    levels: int


@settings(max_examples=10, deadline=None)
@given(
    plans=st.lists(
        st.builds(Plan, joins=st.integers(0, 5), levels=st.integers(1, 4)), min_size=2, max_size=3
    )
)
def test_streams_that_come_and_go_beside_it_do_not_change_a_stream(
    dit: CausalDiT, plans: list[Plan]
) -> None:
    lanes = make(dit, len(plans))
    streams = [entries(i, [p.levels] * CHUNKS, [i + 1] * CHUNKS) for i, p in enumerate(plans)]
    together: list[dict[int, torch.Tensor]] = [{} for _ in plans]
    for tick in range(CHUNKS + 12):
        for slot, plan in enumerate(plans):
            if 0 <= tick - plan.joins < CHUNKS:
                lanes.enter(slot, streams[slot][tick - plan.joins])
        for finished in lanes.advance(range(len(plans))):
            together[finished.slot][finished.index] = finished.latent.clone()
    for slot, plan in enumerate(plans):
        assert apart(together[slot], run_batched(make(dit), 0, streams[slot])) < TOLERANCE
        assert sorted(together[slot]) == list(range(CHUNKS)), plan


def test_a_cleared_slot_is_as_new_and_others_are_untouched(dit: CausalDiT) -> None:
    lanes = make(dit, 2)
    run_batched(lanes, 0, entries(5, [2] * 6, [1] * 6))
    other = entries(6, [2] * CHUNKS, [2] * CHUNKS)
    lanes.enter(1, other[0])
    lanes.advance([1])
    bystander = [t.clone() for t in lanes.state.rows(4, 8).tensors()]
    lanes.clear(0)
    for before, after in zip(bystander, lanes.state.rows(4, 8).tensors(), strict=True):
        assert torch.equal(before, after)
    again = entries(7, [3] * CHUNKS, [3] * CHUNKS)
    assert apart(run_batched(lanes, 0, again), run_batched(make(dit), 0, again)) == 0


def test_the_past_matters_and_a_reset_forgets_it(dit: CausalDiT) -> None:
    stream = entries(8, [1] * 4, [1] * 4)
    whole = run_batched(make(dit), 0, stream)
    lanes = make(dit)
    run_batched(lanes, 0, stream[:3])
    lanes.reset(0)
    after = run_batched(lanes, 0, stream[3:])
    alone = run_batched(make(dit), 0, stream[3:])
    assert not torch.allclose(whole[3], after[3])
    assert apart(after, alone) < TOLERANCE


def test_running_neither_moves_state_nor_changes_weights(dit: CausalDiT) -> None:
    lanes = make(dit)
    weights = {name: value.clone() for name, value in dit.state_dict().items()}
    places = [t.data_ptr() for t in lanes.state.tensors()]
    run_batched(lanes, 0, entries(9, [4] * CHUNKS, [1] * CHUNKS))
    assert places == [t.data_ptr() for t in lanes.state.tensors()]
    assert all(torch.equal(weights[name], value) for name, value in dit.state_dict().items())


def test_too_many_steps_are_refused(dit: CausalDiT) -> None:
    with pytest.raises(ValueError, match="5 steps; these lanes have 1 to 4 levels"):
        make(dit).enter(0, entries(1, [5], [1])[0])


def levels_left_out(stream: list[Entry], exits: dict[int, int]) -> list[Entry]:
    """The same chunks, each entered with no more steps than it got."""
    return [replace(e, steps=min(e.steps, exits.get(e.index, e.steps))) for e in stream]


def stops_at(most: int, slot: int, passes: int) -> bool:
    return passes < most


@settings(max_examples=25, deadline=None)
@given(exits=st.dictionaries(st.integers(0, CHUNKS - 1), st.integers(1, 4)))
def test_an_early_exit_equals_having_asked_for_fewer_steps(
    dit: CausalDiT, exits: dict[int, int]
) -> None:
    stream = entries(10, [4] * CHUNKS, [1] * CHUNKS)
    lanes, out = make(dit), {}
    for entry in stream:
        lanes.enter(0, entry)
        most = exits.get(entry.index, 4)
        done = lanes.complete(0, go_on=partial(stops_at, most))
        out.update({f.index: f.latent.clone() for f in done})
    assert apart(out, run_batched(make(dit), 0, levels_left_out(stream, exits))) < TOLERANCE


def test_a_level_that_sat_out_goes_on_with_the_history_of_the_level_below(dit: CausalDiT) -> None:
    """By hand: after chunks of one pass, the second level's past is the first level's."""
    stream = entries(11, [1, 1, 1, 1, 1, 2], [1] * 6)
    lanes = make(dit)
    run_sequential(lanes, 0, stream[:5])
    past = lanes.state.rows(0, 1)
    by_hand = dit.init_state(1, 4, 4, 1, "cpu", torch.float64)
    dit.set_context(by_hand, torch.tensor([0]), stream[5].prompt.context[None])
    zero = torch.tensor([0])
    by_hand.ring.copy_rows(zero, zero, past.ring)
    lanes.enter(0, stream[5])
    got = lanes.complete(0)[0].latent
    first = make(dit)
    run_sequential(first, 0, stream[:5])
    first.enter(0, replace(stream[5], steps=1))
    clean = first.complete(0)[0].latent
    noise = lanes.forward.noises.of(lanes._words(stream[5], 1), (1, 4, 4, 4))
    x = torch.lerp(clean.float(), noise, SIGMAS[1]).double()[None]
    t = torch.full((1, 1), 1000 * SIGMAS[1])
    expected = dit(x, t, by_hand, None, stream[5].cond[None])[0]
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


@settings(max_examples=25, deadline=None)
@given(
    orders=st.lists(st.booleans(), min_size=CHUNKS, max_size=CHUNKS),
    steps=st.lists(st.integers(1, 4), min_size=CHUNKS, max_size=CHUNKS),
)
def test_the_order_of_passes_may_change_in_mid_stream(
    dit: CausalDiT, orders: list[bool], steps: list[int]
) -> None:
    stream = entries(12, steps, [1] * CHUNKS)
    lanes, out = make(dit, 2), {}
    other = entries(13, [3] * CHUNKS, [2] * CHUNKS)
    for entry, beside, spread in zip(stream, other, orders, strict=True):
        lanes.enter(0, entry)
        lanes.enter(1, beside)
        for done in lanes.step([0, 1], spread=[0] if spread else [1]):
            if done.slot == 0:
                out[done.index] = done.latent.clone()
    out.update({f.index: f.latent.clone() for f in lanes.complete(0)})
    assert list(out) == sorted(out), "chunks leave in order"
    assert apart(out, run_sequential(make(dit), 0, stream)) < TOLERANCE


def test_rows_of_all_streams_share_one_forward(dit: CausalDiT) -> None:
    calls: list[tuple[int, int | None]] = []

    def tell(rows: int, past: int | None) -> None:
        calls.append((rows, past))

    lanes = Lanes(dit, 4, SIGMAS, (1, 4, 4), passed=tell)
    for slot in (0, 1, 3):
        lanes.enter(slot, entries(slot, [2], [1])[0])
    lanes.step([0, 1, 3], spread=[1])
    assert calls == [(3, None), (2, None)]


def test_a_short_view_of_the_past_costs_nothing_for_later(dit: CausalDiT) -> None:
    """Chunks that look less far back are as those of a ring that has no more; afterwards all of
    the past is there again."""
    stream = entries(14, [1] * CHUNKS, [1] * CHUNKS)
    short = CausalDiT(replace(SPEC, ring=replace(SPEC.ring, window=1))).double().eval()
    short.load_state_dict(dit.state_dict())
    long_run, lanes = run_sequential(make(dit), 0, stream), make(dit)
    wanted = run_sequential(Lanes(short, 1, SIGMAS, (1, 4, 4)), 0, stream[:3])
    looking = [replace(e, past=2) for e in stream]
    # Before the window slides, sinks stand at the same place in both.
    assert apart(wanted, run_sequential(lanes, 0, looking[:3])) < TOLERANCE
    blind = run_sequential(make(dit), 0, [replace(e, past=1) for e in stream])
    assert not torch.allclose(blind[5], long_run[5])
    lanes = make(dit)
    assert (
        apart(long_run, run_sequential(lanes, 0, [replace(e, past=3) for e in stream])) < TOLERANCE
    )


def test_one_prompt_is_read_once_for_all_who_want_it(dit: CausalDiT) -> None:
    lanes, shared = make(dit, 3), prompt(1)
    first = [replace(entries(slot, [1], [1])[0], prompt=shared) for slot in range(3)]
    for slot in range(3):
        lanes.enter(slot, first[slot])
    lanes.complete(0, 1, 2)
    reading = lanes.forward.mixtures.of([shared] * 3)
    own = shared.reading(dit)
    assert all(
        key.data_ptr() == one.data_ptr() and len(key) == 3
        for (key, _), (one, _) in zip(reading.text, own.text, strict=True)
    )
