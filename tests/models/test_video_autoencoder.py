"""The autoencoders of released video models behind one protocol: beginnings, pairs, refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from millrace.models.loaders import WeightsError
from millrace.models.specs import TAEHV_WAN21, WAN_VAE, AutoencoderName
from millrace.models.taehv import TAEHV
from millrace.models.video_autoencoder import (
    Pair,
    VideoAutoencoder,
    load_autoencoder,
    load_taehv,
    load_wan_vae,
)
from millrace.models.wan_vae import WanVAE
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from .conftest import randomize

F64 = torch.float64
SIZE = (16, 24)
KINDS = ("wan", "taehv", "pair")
SMALL_VAE = replace(WAN_VAE, width=4, blocks=1)
SMALL_TAEHV = replace(TAEHV_WAN21, encoder_width=6, decoder_widths=(10, 8, 6, 6))


def make(kind: str) -> VideoAutoencoder:
    wan, taehv = WanVAE(SMALL_VAE).double(), TAEHV(SMALL_TAEHV).double()
    for module in (wan, taehv):
        randomize(module)
    models: dict[str, VideoAutoencoder] = {"wan": wan, "taehv": taehv, "pair": Pair(wan, taehv)}
    return models[kind]


@pytest.fixture(params=KINDS, scope="module")
def model(request: pytest.FixtureRequest) -> VideoAutoencoder:
    return make(request.param)


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    return torch.rand(2, 17, 3, *SIZE, dtype=F64, generator=torch.Generator().manual_seed(1))


def encoded(model: VideoAutoencoder, pictures: Tensor, sizes: list[int]) -> Tensor:
    state = model.init_state(len(pictures), *SIZE, "cpu", F64, decode=False)
    parts = pictures.split(sizes, 1)
    return torch.cat([model.encode(x, state, first=n == 0) for n, x in enumerate(parts)], 1)


def decoded(model: VideoAutoencoder, latents: Tensor, sizes: list[int]) -> Tensor:
    state = model.init_state(len(latents), *SIZE, "cpu", F64, encode=False)
    parts = latents.split(sizes, 1)
    return torch.cat([model.decode(z, state, first=n == 0) for n, z in enumerate(parts)], 1)


@pytest.mark.parametrize("sizes", [[1, 4, 4, 4, 4], [1, 16], [5, 4, 8], [13, 4]])
def test_any_chunking_encodes_as_the_whole(
    model: VideoAutoencoder, pictures: Tensor, sizes: list[int]
) -> None:
    whole = encoded(model, pictures, [17])
    assert whole.shape == (2, 5, 16, 2, 3)
    torch.testing.assert_close(encoded(model, pictures, sizes), whole)


@pytest.mark.parametrize("sizes", [[1, 1, 1, 1, 1], [1, 4], [2, 1, 2], [3, 2]])
def test_any_chunking_decodes_as_the_whole(model: VideoAutoencoder, sizes: list[int]) -> None:
    latents = torch.randn(2, 5, 16, 2, 3, dtype=F64, generator=torch.Generator().manual_seed(2))
    whole = decoded(model, latents, [5])
    assert whole.shape == (2, 17, 3, *SIZE)
    assert 0 <= whole.min() < whole.max() <= 1
    torch.testing.assert_close(decoded(model, latents, sizes), whole)


def test_rows_begin_at_different_times(model: VideoAutoencoder, pictures: Tensor) -> None:
    """A viewer joins a batch that runs: the others are masked out of the beginning."""
    state = model.init_state(2, *SIZE, "cpu", F64)
    only = [torch.tensor([True, False]), torch.tensor([False, True])]

    def both(x: Tensor, mask: Tensor | None, first: bool) -> Tensor:
        return model.decode(model.encode(x, state, mask, first=first), state, mask, first=first)

    both(pictures[:, :5], only[0], True)
    both(pictures[:, 5:9], only[0], False)
    state.reset(only[1])
    later = pictures.flip(1)
    both(later[:, :1], only[1], True)
    mixed = torch.stack((pictures[0, 9:13], later[1, 1:5]))
    out = both(mixed, None, False)
    alone = [
        decoded(model, encoded(model, clip[None], [1, length - 1]), [length // 4 + 1])[0, -4:]
        for clip, length in ((pictures[0, :13], 13), (later[1, :5], 5))
    ]
    torch.testing.assert_close(out, torch.stack(alone))


def test_raw_and_standardised_latents(model: VideoAutoencoder, pictures: Tensor) -> None:
    state = model.init_state(2, *SIZE, "cpu", F64)
    standard = model.encode(pictures[:, :5], state, first=True)
    state.reset(torch.tensor([True, True]))
    raw = model.encode(pictures[:, :5], state, first=True, normalise=False)
    mean, std = (
        torch.tensor(values, dtype=F64).view(-1, 1, 1)
        for values in (WAN_VAE.latent_mean, WAN_VAE.latent_std)
    )
    torch.testing.assert_close(raw, standard * std + mean)


def test_half_a_state_is_smaller(model: VideoAutoencoder) -> None:
    whole, encoder, decoder = (
        model.init_state(1, *SIZE, "meta", F64, encode=encode, decode=decode).nbytes
        for encode, decode in ((True, True), (True, False), (False, True))
    )
    assert encoder + decoder == whole
    assert min(encoder, decoder) > 0


def test_what_does_not_fit_is_refused(model: VideoAutoencoder) -> None:
    state = model.init_state(1, *SIZE, "cpu", F64)
    for count, first in ((3, False), (5, False), (4, True), (0, False), (0, True)):
        with pytest.raises(ValueError, match=f"{count} pictures; a chunk has a multiple of 4"):
            model.encode(torch.zeros(1, count, 3, *SIZE, dtype=F64), state, first=first)
    with pytest.raises(ValueError, match="20x16 is no multiple of 8"):
        model.init_state(1, 20, 16, "cpu", F64)


def test_a_pair_needs_the_same_latents() -> None:
    wan, taehv = (
        WanVAE(replace(WAN_VAE, width=4)),
        TAEHV(
            replace(TAEHV_WAN21, latent_channels=8, latent_mean=(0.0,) * 8, latent_std=(1.0,) * 8)
        ),
    )
    with pytest.raises(ValueError, match="encoder's channels is 16, the decoder's 8"):
        Pair(wan, taehv)


def test_lag() -> None:
    """The tiny encoder sees three pictures more than the latent frame stands for."""
    assert [make(kind).lag for kind in KINDS] == [0, 3, 0]


def test_memory_at_full_size() -> None:
    """In bfloat16 at 480 x 832: the reference measured 1.04 and 1.76 GiB for the large one."""
    with torch.device("meta"):
        models: list[VideoAutoencoder] = [WanVAE(WAN_VAE), TAEHV(TAEHV_WAN21)]
    sizes = [
        model.init_state(
            1, 480, 832, "meta", torch.bfloat16, encode=encode, decode=not encode
        ).nbytes
        / 2**30
        for model in models
        for encode in (True, False)
    ]
    assert sizes == pytest.approx([1.04, 1.76, 0.047, 0.062], abs=0.005)


def test_work_at_full_size() -> None:
    """For four pictures of 480 x 832, in TFLOP: what the reference was counted to do, less where
    channels are mixed before the picture is enlarged (0.54 there)."""
    with torch.device("meta"):
        models: list[VideoAutoencoder] = [WanVAE(WAN_VAE), TAEHV(TAEHV_WAN21)]
        pictures, latents = torch.empty(1, 4, 3, 480, 832), torch.empty(1, 1, 16, 60, 104)
    counts = []
    for model in models:
        state = model.init_state(1, 480, 832, "meta", torch.float32)
        for run, given in ((model.encode, pictures), (model.decode, latents)):
            with FlopCounterMode(display=False) as counter:
                run(given, state)
            counts.append(counter.get_total_flops() / 1e12)
    assert counts == pytest.approx([8.05, 13.55, 0.24, 0.527], abs=0.005)


def test_layout_changes_no_number(pictures: Tensor) -> None:
    for kind in (WanVAE(replace(WAN_VAE, width=4)), TAEHV(replace(TAEHV_WAN21, encoder_width=6))):
        randomize(kind)
        plain = kind.double()
        before = {name: value.clone() for name, value in plain.state_dict().items()}
        out = encoded(plain, pictures[:, :5], [5])
        torch.testing.assert_close(encoded(plain.optimise_layout(), pictures[:, :5], [5]), out)
        assert all(torch.equal(before[name], v) for name, v in plain.state_dict().items())


def test_load_by_name(tmp_path: Path, pictures: Tensor) -> None:
    wan, taehv = WanVAE(SMALL_VAE), TAEHV(SMALL_TAEHV)
    for module in (wan, taehv):
        randomize(module)
    # The released file of the tiny one doubles frames at its first stage as well.
    released = taehv.state_dict()
    first = "decoder.7.conv.weight"
    released[first] = torch.cat((torch.zeros_like(released[first]), released[first]))
    files = {"vae": tmp_path / "Wan2.1_VAE.pth", "taehv": tmp_path / "taew2_1.pth"}
    torch.save(wan.state_dict(), files["vae"])
    torch.save(released, files["taehv"])
    models: dict[AutoencoderName, VideoAutoencoder]
    models = {"wan": wan.double(), "taehv": taehv.double(), "wan+taehv": Pair(wan, taehv)}
    for name, model in models.items():
        loaded = load_autoencoder(name, files, "cpu", F64, SMALL_VAE, SMALL_TAEHV)
        latents = encoded(model, pictures, [17])
        torch.testing.assert_close(encoded(loaded, pictures, [17]), latents)
        torch.testing.assert_close(decoded(loaded, latents, [5]), decoded(model, latents, [5]))


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "taew2_1.pth"
    weights = TAEHV(SMALL_TAEHV).state_dict()
    first = "decoder.7.conv.weight"
    torch.save({**weights, first: torch.zeros(13, 10, 1, 1)}, path)
    with pytest.raises(WeightsError, match=f"taew2_1.pth does not fit TAEHV: wrong shape: {first}"):
        load_taehv(path, "cpu", F64, SMALL_TAEHV)
    torch.save({**weights, "decoder.99.bias": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="unknown: decoder.99.bias"):
        load_taehv(path, "cpu", F64, SMALL_TAEHV)
    torch.save({name: value for name, value in weights.items() if name != first}, path)
    with pytest.raises(WeightsError, match=f"missing: {first}"):
        load_taehv(path, "cpu", F64, SMALL_TAEHV)
    with pytest.raises(WeightsError, match="does not fit WanVAE"):
        load_wan_vae(path, "cpu", F64, SMALL_VAE)
    with pytest.raises(FileNotFoundError, match="nothing.pth"):
        load_wan_vae(tmp_path / "nothing.pth", "cpu", F64, SMALL_VAE)
