"""UNet models: exact key tables, LoRA, ControlNet and strict loading, at a tiny size."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import AutoencoderTiny, ControlNetModel, UNet2DConditionModel
from millrace.models.loaders import WeightsError
from millrace.models.sd.control import CONDITIONS, edges
from millrace.models.sd.denoiser import Denoiser
from millrace.models.sd.lora import Lora, merge, read_lora
from millrace.models.sd.network import Network
from millrace.models.sd.parts import Additions, Autoencoder, load_sd, random_sd
from millrace.models.sd.room import estimate
from millrace.models.sd.specs import (
    SD15_LCM,
    SD15_UNET,
    SD21_UNET,
    SD_TURBO,
    SDSpec,
)
from safetensors.torch import load_file, save_file
from sd_fakes import (
    LAYERS,
    LORA_NAMES,
    SPEC,
    TEXT_DIM,
    TOKENS,
    model_unet,
    picture,
    tiny_controlnet,
    tiny_unet,
    tiny_vae,
    write_folder,
    write_lora,
)
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

LATENT = (4, 4, 4)


# The networks.


@pytest.mark.parametrize(
    ("config", "parameters", "first"),
    [(SD21_UNET, 865_910_724, (320, 320)), (SD15_UNET, 859_520_964, (320, 320, 1, 1))],
    ids=["sd-turbo", "sd1.5"],
)
def test_the_published_unets_have_their_published_tensors(
    config: dict, parameters: int, first: tuple[int, ...]
) -> None:
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel(**config)
    tensors = unet.state_dict()
    assert len(tensors) == 686
    assert sum(tensor.numel() for tensor in tensors.values()) == parameters
    assert tensors["down_blocks.0.attentions.0.proj_in.weight"].shape == first
    key = "up_blocks.3.attentions.2.transformer_blocks.0.attn2.to_k.weight"
    assert tensors[key].shape == (320, config["cross_attention_dim"])
    assert tensors["time_embedding.linear_1.weight"].shape == (1280, 320)
    assert tensors["conv_out.weight"].shape == (4, 320, 3, 3)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (SD_TURBO, {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23}),
        (SD15_LCM, {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_memory_told_before_is_that_of_the_networks(spec: SDSpec, text: dict) -> None:
    with torch.device("meta"):
        parts: list[Any] = [
            UNet2DConditionModel(**spec.unet),
            AutoencoderTiny(),
            CLIPTextModel(CLIPTextConfig(num_attention_heads=text["hidden_size"] // 64, **text)),
        ]
    count = sum(parameter.numel() for part in parts for parameter in part.parameters())
    assert count == spec.parameters
    told = estimate(spec, (512, 384), sessions=2, frames=3, dtype="bfloat16", steps=4)
    assert told["weights"] == 2 * count
    network: Any = SimpleNamespace(device="meta", dtype=torch.bfloat16, conditioned=False)
    denoiser = Denoiser(network, 3, (4, 48, 64))
    assert told["frames"] == denoiser.init_state(2 * spec.max_steps).nbytes
    with pytest.raises(ValueError, match="dtype 'int8'"):
        estimate(spec, (512, 512), 1, 1, "int8", 1)


def test_networks_are_called_as_they_are() -> None:
    unet, vae = tiny_unet(), tiny_vae()
    z, text = torch.randn(3, *LATENT), torch.randn(3, TOKENS, TEXT_DIM)
    time = torch.tensor([99.0, 359.0, 999.0])
    theirs = unet(z, time.long(), encoder_hidden_states=text).sample
    assert torch.equal(Network(SPEC, unet)(z, time, text), theirs)
    pictures, coder = picture(1, 2), Autoencoder(vae)
    latents = vae.encode(pictures * 2 - 1).latents * vae.config.scaling_factor
    assert torch.equal(coder.encode(pictures), latents)
    shown = vae.decode(latents / vae.config.scaling_factor).sample
    assert torch.equal(coder.decode(latents), (shown / 2 + 0.5).clamp(0, 1))


# LoRA.


def sample(network: Network, scales: Tensor | None = None, rows: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(8)
    z = torch.randn(1, *LATENT, generator=generator).expand(rows, -1, -1, -1)
    text = torch.randn(1, TOKENS, TEXT_DIM, generator=generator).expand(rows, -1, -1)
    return network(z, torch.full((rows,), 359.0), text, lora=scales)


def test_names_of_all_kinds_mean_the_same_layers(tmp_path: Path) -> None:
    unet = model_unet()
    read = {
        n: read_lora(write_lora(tmp_path / f"{n}.safetensors", n), unet, None) for n in LORA_NAMES
    }
    for in_unet, in_text in read.values():
        assert set(in_unet) == set(LAYERS) and not in_text
        for name, factor in in_unet.items():
            assert torch.equal(factor.down, read["kohya"][0][name].down)
            assert factor.share == 1.0


def test_a_lora_beside_the_weights_equals_one_that_is_merged(tmp_path: Path) -> None:
    file = write_lora(tmp_path / "style.safetensors")
    plain, beside, merged = tiny_unet(), tiny_unet(), tiny_unet()
    factors = read_lora(file, merged, None)[0]
    merge(merged, factors, 0.7)
    network = Network(SPEC, beside, Lora((beside, factors)))
    found = sample(network, torch.tensor([0.7, 0.0]))
    torch.testing.assert_close(found[0], sample(Network(SPEC, merged))[0], rtol=1e-4, atol=1e-5)
    base = sample(Network(SPEC, plain))
    assert (found[0] - base[0]).abs().max() > 0.01
    # A row without it is the base bit for bit, beside one with it and after any others.
    assert torch.equal(found[1], base[1])
    for scale in (0.3, 2.0, -1.0):
        sample(network, torch.full((2,), scale))
    assert torch.equal(sample(network), base)
    assert torch.equal(sample(network, torch.zeros(2)), base)
    assert beside.state_dict().keys() == plain.state_dict().keys()


def test_alpha_scales_and_a_1x1_convolution_takes_a_linear_factor(tmp_path: Path) -> None:
    unet = tiny_unet()
    layer = "down_blocks.0.attentions.0.proj_in"
    down, up = torch.randn(4, 32), torch.randn(32, 4)
    tensors = dict(zip(LORA_NAMES["peft"](layer), (down, up), strict=True))
    tensors[f"base_model.model.{layer}.alpha"] = torch.tensor(2.0)
    save_file(tensors, tmp_path / "x.safetensors")
    before = unet.get_submodule(layer).weight.clone()
    merge(unet, read_lora(tmp_path / "x.safetensors", unet, None)[0])
    change = (unet.get_submodule(layer).weight - before).flatten(1)
    torch.testing.assert_close(change, 0.5 * up @ down, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lora_unet_nowhere.lora_down.weight": (2, 32),
          "lora_unet_nowhere.lora_up.weight": (32, 2)},
         "no such layer: lora_unet_nowhere"),
        ({"lora_unet_mid_block_resnets_0_conv1.lora_down.weight": (2, 5, 3, 3),
          "lora_unet_mid_block_resnets_0_conv1.lora_up.weight": (64, 2, 1, 1)},
         "wrong shape: lora_unet_mid_block_resnets_0_conv1"),
        ({"lora_unet_conv_in.lora_down.weight": (2, 4, 3, 3)}, "lora_unet_conv_in is no part"),
        ({"lora_unet_conv_in.hada_w1_a": (2, 2)}, "hada_w1_a.*LoHa"),
        ({"lora_unet_conv_in.dora_scale": (2, 2)}, "dora_scale"),
    ],
    ids=["unknown layer", "wrong shape", "half a pair", "LoHa", "DoRA"],
)  # fmt: skip
def test_a_lora_that_does_not_fit_is_named(
    tmp_path: Path, change: dict[str, tuple[int, ...]], message: str
) -> None:
    file = write_lora(tmp_path / "x.safetensors")
    tensors = load_file(file)
    save_file({**tensors, **{name: torch.ones(s) for name, s in change.items()}}, file)
    with pytest.raises(WeightsError, match=message):
        read_lora(file, model_unet(), None)


# ControlNet.


def test_a_controlnet_reaches_the_unet_by_its_weight() -> None:
    plain = Network(SPEC, tiny_unet())
    network = Network(SPEC, tiny_unet(), None, tiny_controlnet(), CONDITIONS["edges"])
    z, text = torch.randn(3, *LATENT), torch.randn(3, TOKENS, TEXT_DIM)
    time, shown = torch.tensor([99.0, 359.0, 999.0]), edges(picture(1, 3))
    base = plain(z, time, text)
    weights = torch.tensor([0.0, 1.0, 0.5])
    found = network(z, time, text, condition=shown, control=weights)
    assert torch.equal(found[0], base[0])
    assert torch.equal(network(z, time, text, condition=shown, control=None), base)
    assert (found[1] - base[1]).abs().max() > 0.01
    down, middle = network.controlnet(z, time, text, shown, return_dict=False)  # type: ignore[misc]
    part = weights.view(3, 1, 1, 1)
    theirs = plain.unet(
        z,
        time,
        text,
        down_block_additional_residuals=[one * part for one in down],
        mid_block_additional_residual=middle * part,
    ).sample
    assert torch.equal(found, theirs)


def test_edges_are_lines_one_pixel_wide() -> None:
    square = torch.zeros(1, 3, 32, 32)
    square[..., 8:24, 8:24] = 1
    lines = edges(square)
    assert lines.shape == square.shape and set(lines.unique().tolist()) == {0.0, 1.0}
    across = lines[0, 0, 16]
    assert across.sum() == 2 and across[7:9].sum() == 1 and across[23:25].sum() == 1
    assert edges(torch.full((1, 3, 32, 32), 0.6)).sum() == 0
    faint = edges(square * 0.05)
    assert faint.sum() == 0


# A folder.

NOTHING = Additions()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "model"))


def load(folder: Path, additions: Additions = NOTHING) -> object:
    return load_sd(SD_TURBO, folder, "cpu", torch.float32, additions)


def test_a_folder_gives_the_networks_that_were_saved(folder: Path) -> None:
    model = load_sd(SD_TURBO, folder, "cpu", torch.float32, Additions())
    for name, tensor in tiny_unet().state_dict().items():
        assert torch.equal(model.network.unet.state_dict()[name], tensor), name
    assert model.spec.text_dim == TEXT_DIM
    prompt = model.prompts.get("a cat")
    assert prompt.embedding.shape == (TOKENS, TEXT_DIM) and not prompt.cut
    assert model.prompts.get("a cat") is prompt
    assert not torch.equal(model.prompts.get("a dog").embedding, prompt.embedding)
    long = model.prompts.get("x " * 75 + "the end")
    assert long.cut.replace(" ", "") == "theend"


def test_a_model_s_own_lora_is_merged(copied: Path) -> None:
    (copied / "lora").mkdir()
    file = write_lora(copied / "lora" / "pytorch_lora_weights.safetensors")
    expected = tiny_unet()
    merge(expected, read_lora(file, expected, None)[0])
    model = load_sd(SD15_LCM, copied, "cpu", torch.float32, Additions())
    for name, tensor in expected.state_dict().items():
        assert torch.equal(model.network.unet.state_dict()[name], tensor), name
    assert model.network.lora is None


def test_a_lora_may_change_the_text_encoder_too(copied: Path, tmp_path: Path) -> None:
    layer = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
    tensors = {
        f"{layer}.lora_down.weight": torch.randn(2, TEXT_DIM),
        f"{layer}.lora_up.weight": torch.randn(TEXT_DIM, 2),
    }
    save_file(tensors, tmp_path / "te.safetensors")
    model = load_sd(
        SD_TURBO, copied, "cpu", torch.float32, Additions(lora=tmp_path / "te.safetensors")
    )
    plain = load_sd(SD_TURBO, copied, "cpu", torch.float32, Additions()).prompts.get("cat")
    assert not torch.equal(model.prompts.get("cat", 1.0).embedding, plain.embedding)
    assert torch.equal(model.prompts.get("cat", 0.0).embedding, plain.embedding)


def test_a_controlnet_folder_is_loaded(copied: Path, tmp_path: Path) -> None:
    tiny_controlnet().save_pretrained(tmp_path / "lines")
    model = load_sd(
        SD_TURBO, copied, "cpu", torch.float32, Additions(controlnet=tmp_path / "lines")
    )
    assert isinstance(model.network.controlnet, ControlNetModel) and model.network.conditioned
    with pytest.raises(WeightsError, match="is of a AutoencoderTiny, expected ControlNetModel"):
        load(copied, Additions(controlnet=copied / "vae"))


def test_the_scheduler_of_the_folder_says_what_the_output_means(copied: Path) -> None:
    (copied / "scheduler").mkdir()
    file = copied / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps({"prediction_type": "v_prediction", "beta_end": 0.01}))
    spec = load_sd(SD_TURBO, copied, "cpu", torch.float32, Additions()).spec
    assert spec.prediction == "v_prediction" and spec.betas.last == 0.01
    file.write_text(json.dumps({"prediction_type": "sample"}))
    with pytest.raises(WeightsError, match="prediction_type 'sample'"):
        load(copied)


def test_weights_that_do_not_fit_are_refused_by_name(copied: Path) -> None:
    file = copied / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    save_file({**tensors, "a.new.key": torch.ones(2)}, file)
    with pytest.raises(WeightsError, match="unknown: a.new.key"):
        load(copied)
    save_file({n: t for n, t in tensors.items() if n != "conv_in.bias"}, file)
    with pytest.raises(WeightsError, match="missing: conv_in.bias"):
        load(copied)
    file.write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="damaged"):
        load(copied)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"unet.*no such weights file"):
        load(copied)


def test_a_text_encoder_that_does_not_fit_is_refused_by_name(copied: Path) -> None:
    file = copied / "text_encoder" / "model.safetensors"
    tensors = load_file(file)
    less = {name: t for name, t in tensors.items() if "layers.0.mlp.fc1.bias" not in name}
    save_file({**less, "odd.key": torch.ones(2)}, file, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"missing: .*fc1.bias; unknown: odd.key"):
        load(copied)
    (copied / "tokenizer" / "merges.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"merges.txt"):
        load(copied)


def test_random_weights_stand_in_for_speed() -> None:
    model = random_sd(SPEC, "cpu", torch.bfloat16)
    again = random_sd(SPEC, "cpu", torch.bfloat16)
    prompt = model.prompts.get("a cat").embedding
    assert prompt.shape == (TOKENS, TEXT_DIM)
    assert torch.equal(prompt, again.prompts.get("a cat").embedding)
    assert torch.equal(model.network.unet.conv_in.weight, again.network.unet.conv_in.weight)  # type: ignore[union-attr, arg-type]
    assert isinstance(model.autoencoder.vae, AutoencoderTiny)


def test_loading_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_folder(tmp_path)
    capfd.readouterr()
    load_sd(SPEC, tmp_path, "cpu", torch.float32, Additions())
    assert capfd.readouterr() == ("", "")
