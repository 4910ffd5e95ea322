"""What every streaming module owes: the exactness list of the design, sections 5.1 to 5.3.

One suite over all of them. To add a module, write a subclass of `Streaming` and name it in `KINDS`.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from millrace.models.autoencoder import PatchAutoencoder
from millrace.models.dit import CausalDiT, DiTState
from millrace.models.specs import TAEHV_WAN21, TINY_AUTOENCODER, WAN_VAE
from millrace.models.state import State
from millrace.models.steady import SteadyState, steady, steady_state
from millrace.models.taehv import TAEHV
from millrace.models.video_autoencoder import VideoAutoencoder
from millrace.models.wan_vae import WanVAE
from torch import Tensor

from .conftest import randomize, small_dit_spec

F64 = torch.float64
LENGTH = 12
"""Units in a whole clip: well past the sliding point of every module here."""


class Streaming:
    """How the suite drives one module.

    A unit is the shortest chunk that the module takes. `ident` names a stream; what belongs to the
    stream and not to its input (a prompt) must depend on nothing else.
    """

    module: Any
    unit = 1
    frame: tuple[int, ...]

    def input(self, idents: Sequence[int], units: int) -> Tensor:
        """[rows, frames, ...], a function of the stream alone."""
        shape = (units * self.unit, *self.frame)
        rows = [
            torch.randn(shape, dtype=F64, generator=torch.Generator().manual_seed(100 + ident))
            for ident in idents
        ]
        return torch.stack(rows)

    def state(self, idents: Sequence[int], chunk: int) -> State:
        raise NotImplementedError

    def step(self, x: Tensor, state: State, mask: Tensor | None) -> Tensor:
        """One chunk; [rows, output frames, ...]."""
        raise NotImplementedError

    def settle(self, state: State, rows: Sequence[int], idents: Sequence[int]) -> None:
        """Give rows what belongs to their stream and is not memory."""

    def whole(self, idents: Sequence[int], x: Tensor, chunk: int) -> Tensor:
        """The offline result; `chunk` units see one another where the module is defined so."""
        return self.step(x, self.state(idents, x.shape[1] // self.unit), None)


def small_taehv() -> TAEHV:
    return TAEHV(
        dataclasses.replace(
            TAEHV_WAN21,
            latent_channels=4,
            encoder_width=6,
            decoder_widths=(10, 8, 6, 6),
            blocks=2,
            latent_mean=(0.0, 0.1, 0.2, 0.3),
            latent_std=(1.0, 1.1, 1.2, 1.3),
        )
    )


def small_wan_vae() -> WanVAE:
    return WanVAE(
        dataclasses.replace(
            WAN_VAE,
            latent_channels=4,
            width=2,
            blocks=1,
            latent_mean=(0.0, 0.1, 0.2, 0.3),
            latent_std=(1.0, 1.1, 1.2, 1.3),
        )
    )


class Encoder(Streaming):
    """A stream begins with a picture of its own, outside the clip."""

    frame: tuple[int, ...] = (3, 16, 8)
    unit = 4
    encode = True
    module: VideoAutoencoder

    def __init__(self, module: TAEHV | WanVAE) -> None:
        self.module = module.double()

    def state(self, idents: Sequence[int], chunk: int) -> State:
        state = self.module.init_state(
            len(idents), 16, 8, "cpu", F64, encode=self.encode, decode=not self.encode
        )
        self.settle(state, range(len(idents)), idents)
        return state

    def settle(self, state: State, rows: Sequence[int], idents: Sequence[int]) -> None:
        every = next(state.tensors()).shape[0]
        mask = torch.zeros(every, dtype=torch.bool)
        openings = torch.zeros(every, 1, *self.frame, dtype=F64)
        for row, ident in zip(rows, idents, strict=True):
            mask[row] = True
            openings[row] = self.input([50 + ident], 1)[0, :1]
        self.run(openings, state, mask, True)

    def run(self, x: Tensor, state: State, mask: Tensor | None, first: bool) -> Tensor:
        return self.module.encode(x, state, mask, first=first)

    def step(self, x: Tensor, state: State, mask: Tensor | None) -> Tensor:
        return self.run(x, state, mask, False)


class Decoder(Encoder):
    frame = (4, 2, 1)
    unit = 1
    encode = False

    def run(self, x: Tensor, state: State, mask: Tensor | None, first: bool) -> Tensor:
        return self.module.decode(x, state, mask, first=first)


class PatchDecoder(Streaming):
    frame = (6, 3, 2)

    def __init__(self) -> None:
        spec = dataclasses.replace(TINY_AUTOENCODER, channels=6, coarse_width=8, fine_width=6)
        self.module = PatchAutoencoder(spec).double()

    def state(self, idents: Sequence[int], chunk: int) -> State:
        return self.module.init_state(len(idents), 24, 16, "cpu", F64)

    def step(self, x: Tensor, state: State, mask: Tensor | None) -> Tensor:
        every = torch.ones(len(x), dtype=torch.bool)
        return self.module.decode(x, state, every if mask is None else mask)


class Steady(Streaming):
    frame = (6, 4, 5)

    def __init__(self) -> None:
        self.module = torch.nn.Identity()

    def input(self, idents: Sequence[int], units: int) -> Tensor:
        return 0.06 * super().input(idents, units)  # in part noise, in part motion

    def state(self, idents: Sequence[int], chunk: int) -> State:
        return steady_state(len(idents), (6, 4, 5), "cpu", F64)

    def step(self, x: Tensor, state: State, mask: Tensor | None) -> Tensor:
        assert isinstance(state, SteadyState)
        return steady(x, state, mask)


class DiT(Streaming):
    """Two passes over each chunk, the second of which counts, then a commit.

    The whole clip is `forward_clip` in blocks of the chunk; timesteps and condition are read off
    the input, so that they too belong to the stream.
    """

    frame = (4, 4, 6)

    def __init__(self, positions: str, stem: bool) -> None:
        self.module = CausalDiT(small_dit_spec(positions, stem=stem)).double()

    def context(self, idents: Sequence[int]) -> Tensor:
        spec = self.module.spec
        rows = [
            torch.randn(
                spec.text_len,
                spec.text_dim,
                dtype=F64,
                generator=torch.Generator().manual_seed(ident),
            )
            for ident in idents
        ]
        return torch.stack(rows)

    def given(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        t = 500 + 400 * x.mean((2, 3, 4)).tanh()
        return t, x.roll(1, 3) if self.module.spec.cond_channels else None

    def state(self, idents: Sequence[int], chunk: int) -> State:
        state = self.module.init_state(len(idents), 4, 6, chunk, "cpu", F64)
        self.settle(state, range(len(idents)), idents)
        return state

    def settle(self, state: State, rows: Sequence[int], idents: Sequence[int]) -> None:
        self.module.set_context(state, torch.tensor(list(rows)), self.context(idents))

    def step(self, x: Tensor, state: State, mask: Tensor | None) -> Tensor:
        t, cond = self.given(x)
        self.module(x + 1, t, state, mask, cond)
        out = self.module(x, t, state, mask, cond)
        every = torch.ones(len(x), dtype=torch.bool)
        assert isinstance(state, DiTState)
        state.ring.commit(every if mask is None else mask, x.shape[1])
        return out

    def whole(self, idents: Sequence[int], x: Tensor, chunk: int) -> Tensor:
        t, cond = self.given(x)
        return self.module.forward_clip(x, t, self.context(idents), cond, chunk=chunk).detach()


KINDS = {
    "taehv-encoder": lambda: Encoder(small_taehv()),
    "taehv-decoder": lambda: Decoder(small_taehv()),
    "wan-vae-encoder": lambda: Encoder(small_wan_vae()),
    "wan-vae-decoder": lambda: Decoder(small_wan_vae()),
    "patch-decoder": PatchDecoder,
    "steady": Steady,
    "dit-relative": lambda: DiT("relative", stem=True),
    "dit-absolute": lambda: DiT("absolute", stem=True),
    "dit-wan": lambda: DiT("relative", stem=False),
}


@pytest.fixture(params=KINDS, scope="module")
def kind(request: pytest.FixtureRequest) -> Streaming:
    made = KINDS[request.param]()
    randomize(made.module)
    return made


def run(kind: Streaming, state: State, x: Tensor, chunk: int, mask: Tensor | None = None) -> Tensor:
    """Stream x through in chunks of `chunk` units."""
    with torch.no_grad():
        parts = [kind.step(part, state, mask) for part in x.split(chunk * kind.unit, 1)]
    return torch.cat(parts, 1)


def snapshot(state: State, row: int) -> list[Tensor]:
    return [t.clone() for t in state.rows(row, row + 1).tensors()]


def same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("chunk", [1, 2, 3, LENGTH])
def test_chunked_equals_whole(kind: Streaming, chunk: int) -> None:
    x = kind.input([0, 1], LENGTH)
    whole = kind.whole([0, 1], x, chunk)
    chunked = run(kind, kind.state([0, 1], chunk), x, chunk)
    assert whole.std() > 0.01
    torch.testing.assert_close(chunked, whole, rtol=1e-9, atol=1e-9)


def test_the_past_matters(kind: Streaming) -> None:
    """Else the test above would hold for a module without memory."""
    x = kind.input([0], LENGTH)
    late = x[:, -kind.unit :]
    fresh = run(kind, kind.state([0], 1), late, 1)
    streamed = run(kind, kind.state([0], 1), x, 1)[:, -fresh.shape[1] :]
    assert (streamed - fresh).abs().max() > 1e-3


def test_a_masked_row_never_ran(kind: Streaming) -> None:
    x = kind.input([0, 1, 2], LENGTH)
    half = LENGTH // 2 * kind.unit
    state = kind.state([0, 1, 2], 1)
    run(kind, state, x[:, :half], 1)
    before = [snapshot(state, row) for row in range(3)]
    run(kind, state, torch.rand_like(x[:, :half]), 1, torch.tensor([True, False, True]))
    assert same(snapshot(state, 1), before[1])
    assert not same(snapshot(state, 0), before[0])
    paused = run(kind, state, x[:, half:], 1)[1]
    torch.testing.assert_close(paused, run(kind, kind.state([1], 1), x[1:2], 1)[0][-len(paused) :])


def test_a_reset_row_is_a_new_row(kind: Streaming) -> None:
    x = kind.input([0, 1, 2], LENGTH)
    disturbed, untouched = kind.state([0, 1, 2], 1), kind.state([0, 1, 2], 1)
    for state in (disturbed, untouched):
        run(kind, state, x, 1)
    disturbed.reset(torch.tensor([False, True, False]))
    kind.settle(disturbed, [1], [7])
    following = kind.input([5, 7, 6], LENGTH)
    after, expected = (run(kind, state, following, 1) for state in (disturbed, untouched))
    new = run(kind, kind.state([7], 1), following[1:2], 1)
    torch.testing.assert_close(after[1:2], new)
    for row in (0, 2):
        assert torch.equal(after[row], expected[row])
        assert same(snapshot(disturbed, row), snapshot(untouched, row))


def test_a_row_of_a_batch_is_the_stream_alone(kind: Streaming) -> None:
    idents = [3, 1, 4, 2]
    batch = run(kind, kind.state(idents, 1), kind.input(idents, LENGTH), 1)
    for row, ident in enumerate(idents):
        alone = run(kind, kind.state([ident], 1), kind.input([ident], LENGTH), 1)
        torch.testing.assert_close(batch[row], alone[0])


def test_rows_of_a_state_run_by_themselves(kind: Streaming) -> None:
    x = kind.input([0, 1, 2], LENGTH)
    state = kind.state([0, 1, 2], 1)
    before = snapshot(state, 0)
    part = run(kind, state.rows(1, 3), x[1:], 1)
    torch.testing.assert_close(part, run(kind, kind.state([1, 2], 1), x[1:], 1))
    assert same(snapshot(state, 0), before)
    assert same(snapshot(state, 2), snapshot(state.rows(1, 3), 1))


def test_copied_rows_go_on_alike(kind: Streaming) -> None:
    x = kind.input([0, 1], LENGTH)
    state, other = kind.state([0, 1], 1), kind.state([0, 1], 1)
    run(kind, state, x, 1)
    state.copy_rows(torch.tensor([0]), torch.tensor([1]))
    other.copy_rows(torch.tensor([0, 0]), torch.tensor([0, 1]), state)
    for copied in (state, other):
        following = run(kind, copied, x[:1].expand_as(x), 1)
        assert torch.equal(following[0], following[1])


def test_running_moves_nothing(kind: Streaming) -> None:
    weights = copy.deepcopy(kind.module.state_dict())
    state = kind.state([0, 1], 1)
    places = [t.data_ptr() for t in state.tensors()]
    size = state.nbytes
    run(kind, state, kind.input([0, 1], LENGTH), 1)
    state.reset(torch.tensor([True, False]))
    assert [t.data_ptr() for t in state.tensors()] == places
    assert state.nbytes == size > 0
    now = kind.module.state_dict()
    assert list(now) == list(weights)
    assert all(torch.equal(now[name], weights[name]) for name in weights)
