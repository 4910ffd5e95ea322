"""`CausalDiT`: training form, conditions, views of its output, fresh weights, the ring's edges."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from millrace.kernels.prepared import side_by_side
from millrace.models.attention import OwnMemory, Projections, SelfAttention, rotation
from millrace.models.dit import CausalDiT
from millrace.models.specs import TINY, WAN_1_3B, WAN_14B, DiTSpec
from millrace.models.training.initial import init_local_attention, init_weights
from torch import Tensor

from .conftest import randomize, small_dit_spec

F64 = torch.float64


def small(spec: DiTSpec | None = None) -> CausalDiT:
    model = CausalDiT(spec or small_dit_spec()).double()
    randomize(model)
    return model


def clip(frames: int, rows: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, t, context, cond for `small()`."""
    generator = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=F64, generator=generator)

    x, cond = draw(rows, frames, 4, 4, 6), draw(rows, frames, 4, 4, 6)
    t = 1000 * torch.rand(rows, frames, dtype=F64, generator=generator)
    return x, t, draw(rows, 3, 10), cond


def stream(model: CausalDiT, x: Tensor, t: Tensor, context: Tensor, cond: Tensor) -> Tensor:
    state = model.init_state(len(x), x.shape[-2], x.shape[-1], 1, "cpu", x.dtype)
    every = torch.ones(len(x), dtype=torch.bool)
    model.set_context(state, every, context)
    outs = []
    for i in range(x.shape[1]):
        part = slice(i, i + 1)
        outs.append(model(x[:, part], t[:, part], state, None, cond[:, part]))
        state.ring.commit(every)
    return torch.cat(outs, 1)


@pytest.mark.parametrize("sinks, window", [(1, 3), (0, 2), (3, 0), (0, 0), (2, 1)])
@pytest.mark.parametrize("positions", ["relative", "absolute"])
def test_training_form_is_streaming(positions: str, sinks: int, window: int) -> None:
    model = small(small_dit_spec(positions, sinks=sinks, window=window))
    given = clip(3 * (sinks + window) + 4)
    torch.testing.assert_close(
        model.forward_clip(*given).detach(), stream(model, *given), rtol=1e-9, atol=1e-9
    )


def test_training_form_is_streaming_past_the_span() -> None:
    model = small(small_dit_spec("absolute", sinks=2, window=2, span=7))
    given = clip(16)
    streamed = stream(model, *given)
    torch.testing.assert_close(model.forward_clip(*given).detach(), streamed, rtol=1e-9, atol=1e-9)
    endless = small(small_dit_spec("absolute", sinks=2, window=2))
    assert torch.equal(stream(endless, *given)[:, :8], streamed[:, :8]), "no change before it"
    assert not torch.equal(stream(endless, *given)[:, 8:], streamed[:, 8:])


def test_tiny_in_float32() -> None:
    spec = replace(TINY, layers=1)
    model = CausalDiT(spec)
    init_weights(model, torch.Generator().manual_seed(0))
    init_local_attention(model)
    randomize(model.tail or model)
    generator = torch.Generator().manual_seed(1)
    x, cond = torch.randn(2, 1, 8, 48, 4, 4, generator=generator)
    t = torch.full((1, 8), 700.0)
    context = torch.randn(1, spec.text_len, spec.text_dim, generator=generator)
    with torch.no_grad():
        whole = model.forward_clip(x, t, context, cond)
    streamed = stream(model, x, t, context, cond)
    assert (streamed - whole).abs().max() < 1e-5 * whole.abs().max()
    assert (whole - cond).abs().max() > 0.1


def test_relative_positions_do_not_age() -> None:
    """The same frames, long after: nothing in the output tells how long the stream has run."""
    model = small(small_dit_spec("relative", sinks=0))
    x, t, context, cond = clip(30)
    x[:, 20:], t[:, 20:], cond[:, 20:] = x[:, 6:16], t[:, 6:16], cond[:, 6:16]
    out = stream(model, x, t, context, cond)
    # Frames reach back further through deeper layers: two layers of two frames each.
    torch.testing.assert_close(out[:, 24:30], out[:, 10:16], rtol=1e-9, atol=1e-9)


def test_cache_off_sees_only_itself() -> None:
    model = small()
    x, t, context, cond = clip(5)
    off = model.forward_clip(x, t, context, cond, cache=False)
    alone = [
        model.forward_clip(x[:, i : i + 1], t[:, i : i + 1], context, cond[:, i : i + 1])
        for i in range(5)
    ]
    torch.testing.assert_close(off, torch.cat(alone, 1))
    state = model.init_state(2, 4, 6, 1, "cpu", F64)
    model.set_context(state, torch.arange(2), context)
    model(x[:, :1], t[:, :1], state, None, cond[:, :1])
    state.ring.commit(torch.ones(2, dtype=torch.bool))
    streamed = model(x[:, 1:2], t[:, 1:2], state, None, cond[:, 1:2], cache=False)
    torch.testing.assert_close(streamed, off[:, 1:2].detach())


def test_keep_hides_frames() -> None:
    model = small()
    x, t, context, cond = clip(4)
    keep = torch.ones(4, 4, dtype=torch.bool)
    keep[3, :2] = False
    hidden = model.forward_clip(x, t, context, cond, keep)
    full = model.forward_clip(x, t, context, cond)
    assert torch.equal(hidden[:, :3], full[:, :3])
    assert not torch.equal(hidden[:, 3], full[:, 3])
    nothing = torch.zeros(4, 4, dtype=torch.bool)
    torch.testing.assert_close(
        model.forward_clip(x, t, context, cond, nothing),
        model.forward_clip(x, t, context, cond, cache=False),
    )


def test_gradients_reach_everything_and_the_past() -> None:
    model = small()
    x, t, context, cond = clip(7)
    x.requires_grad_()
    out = model.forward_clip(x, t, context, cond)
    out[:, 6].square().sum().backward()
    unused = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # Softmax does not feel a shift common to all keys of a prompt's layer.
    assert [name for name in unused if not name.endswith("cross_attn.k.bias")] == []
    assert x.grad is not None
    reach = x.grad.abs().amax((0, 2, 3, 4))
    assert reach[0] > 0 and reach[4] > 0 and reach[6] > 0


def test_a_masked_row_keeps_its_prompt_and_takes_a_new_one() -> None:
    model = small()
    x, t, context, cond = clip(1)
    state = model.init_state(2, 4, 6, 1, "cpu", F64)
    model.set_context(state, torch.tensor([0, 1]), context)
    before = model(x, t, state, None, cond)
    model.set_context(state, torch.tensor([False, True]), context[:1])
    after = model(x, t, state, None, cond)
    assert torch.equal(before[0], after[0])
    torch.testing.assert_close(
        after[1:], model.forward_clip(x[1:], t[1:], context[:1], cond[1:]).detach()
    )


def test_two_views_of_an_output() -> None:
    x, t, context, cond = clip(2)
    sigma = t / 1000
    for spec in (small_dit_spec(stem=True), small_dit_spec(stem=False)):
        model = small(spec)
        out = model.forward_clip(x, t, context, cond if spec.cond_channels else None).detach()
        clean, flow = model.to_x0(out, x, sigma), model.to_flow(out, x, sigma)
        torch.testing.assert_close(clean + sigma[:, :, None, None, None] * flow, x)
        assert torch.equal(out, clean if spec.prediction == "x0" else flow)


def test_fresh_weights_return_the_condition() -> None:
    model = CausalDiT(small_dit_spec()).double()
    init_weights(model, torch.Generator().manual_seed(0))
    x, t, context, cond = clip(3)
    assert torch.equal(model.forward_clip(x, t, context, cond), cond)


def test_fresh_weights_repeat_with_a_seed() -> None:
    first, second = (CausalDiT(small_dit_spec()) for _ in range(2))
    for model in (first, second):
        init_weights(model, torch.Generator().manual_seed(3))
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_local_attention_begins_local() -> None:
    """Tokens look at their own place, now and in the past, and hardly at places far off."""
    model = CausalDiT(replace(TINY, layers=1))
    init_weights(model, torch.Generator().manual_seed(0))
    init_local_attention(model)
    attn = model.blocks[0].self_attn
    seen = []

    class Spy:
        def __init__(self, memory: OwnMemory) -> None:
            self.rotation = memory.rotation

        def see(self, layer: int, x: Tensor, into: Projections) -> Tensor:
            query, key, _ = into.of(x, self.rotation)
            scores = query[0, 2, :, 0] @ key[0, :, :, 0].flatten(0, 1).T / 8
            seen.append(scores.softmax(-1).unflatten(-1, (3, 8, 8)))
            return query

    index = torch.arange(3)[None]
    memory = Spy(OwnMemory(rotation(model.spec, (8, 8), index, torch.float32)))
    noise = torch.randn(1, 3, 64, 256, generator=torch.Generator().manual_seed(1))
    attn(noise, 0, memory)  # type: ignore[operator]
    looks = seen[0].detach().unflatten(0, (8, 8))
    own = torch.stack([looks[r, c, :, r, c] for r in range(8) for c in range(8)])
    far = torch.stack([looks[r, c, :, r - 4, c - 4] for r in range(8) for c in range(8)])
    assert (own.mean(0) > 6 / (3 * 64)).all()
    assert (own.mean(0) > 6 * far.mean(0)).all()


@pytest.mark.parametrize(
    "spec, tensors, parameters",
    [(WAN_1_3B, 825, 1.419e9), (WAN_14B, 1095, 14.288e9)],
    ids=["1.3b", "14b"],
)
def test_released_sizes(spec: DiTSpec, tensors: int, parameters: float) -> None:
    with torch.device("meta"):
        weights = CausalDiT(spec).state_dict()
    assert len(weights) == tensors
    assert sum(w.numel() for w in weights.values()) == pytest.approx(parameters, rel=1e-3)


def test_joined_projections_are_the_same_weights() -> None:
    model = small()
    x, t, context, cond = clip(3)
    named = {name: value.clone() for name, value in model.state_dict().items()}
    before = model.forward_clip(x, t, context, cond)
    assert model.join_projections() is model
    assert all(torch.equal(value, named[name]) for name, value in model.state_dict().items())
    torch.testing.assert_close(model.forward_clip(x, t, context, cond), before)
    attn = model.blocks[0].self_attn
    assert isinstance(attn, SelfAttention)
    assert side_by_side((attn.q.weight, attn.k.weight, attn.v.weight)) is not None


def test_wrong_calls_say_what_to_do() -> None:
    model = small()
    x, t, context, cond = clip(2)
    state = model.init_state(2, 4, 6, 1, "cpu", F64)
    with pytest.raises(ValueError, match="takes 1 to 1"):
        model(x, t, state, None, cond)
    with pytest.raises(ValueError, match="condition of 4 channels"):
        model.forward_clip(x, t, context)
    with pytest.raises(ValueError, match=r"expected \(3, 10\)"):
        model.forward_clip(x, t, context[:, :2], cond)
    with pytest.raises(ValueError, match="multiple of the patch 2x2"):
        model.init_state(1, 5, 6, 1, "cpu", F64)
    with pytest.raises(ValueError, match="does not split"):
        replace(TINY, heads=3)
