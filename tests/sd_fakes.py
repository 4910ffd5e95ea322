"""A UNet model of the released shape at a tiny size, with random weights, and its folder."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny, ControlNetModel, UNet2DConditionModel
from millrace.kernels import gaussian_noise
from millrace.models.sd.denoiser import Drawing
from millrace.models.sd.network import Network
from millrace.models.sd.parts import Autoencoder, SDModel
from millrace.models.sd.specs import SD_TURBO, NoiseLevel, SDSpec
from millrace.models.sd.text import Prompt
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

TEXT_DIM, TOKENS = 32, 77
UNET: dict[str, Any] = {
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (32, 64),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": TEXT_DIM,
    "attention_head_dim": 8,
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "sample_size": 8,
}
NOT_OF_CONTROLNETS = ("out_channels", "sample_size", "up_block_types")
CONTROLNET: dict[str, Any] = {
    **{name: value for name, value in UNET.items() if name not in NOT_OF_CONTROLNETS},
    "conditioning_embedding_out_channels": (8, 8, 8, 16),
}
VAE: dict[str, Any] = {
    "encoder_block_out_channels": (8, 8, 8, 8),
    "decoder_block_out_channels": (8, 8, 8, 8),
    "num_encoder_blocks": (1, 1, 1, 1),
    "num_decoder_blocks": (1, 1, 1, 1),
}
SPEC = replace(SD_TURBO, unet=UNET)


def seeded(kind: Any, seed: int, **config: Any) -> Any:
    """A network of diffusers with random weights, the same for the same seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = kind(**config)
    return network.eval().requires_grad_(False)


def tiny_unet(dtype: torch.dtype = torch.float32) -> Any:
    return nn.Module.to(seeded(UNet2DConditionModel, 1, **UNET), dtype)


def tiny_controlnet(dtype: torch.dtype = torch.float32) -> Any:
    network = seeded(ControlNetModel, 2, **CONTROLNET)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        # Its last layers are made of zeros, as it begins its training without any effect.
        for parameter in network.parameters():
            if not parameter.any():
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return nn.Module.to(network, dtype)


def tiny_vae(dtype: torch.dtype = torch.float32) -> Any:
    return nn.Module.to(seeded(AutoencoderTiny, 4, **VAE), dtype)


class FakePrompts:
    """An embedding for each text, drawn at random."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        self.dtype, self.known = dtype, dict[str, Prompt]()

    def get(self, text: str, lora: float = 0.0) -> Prompt:
        if text not in self.known:
            generator = torch.Generator().manual_seed(sum(map(ord, text)))
            drawn = torch.randn(TOKENS, TEXT_DIM, generator=generator)
            self.known[text] = Prompt(text, drawn.to(self.dtype))
        return self.known[text]


def tiny_sd(dtype: torch.dtype = torch.float32, spec: SDSpec = SPEC) -> SDModel:
    network = Network(spec, tiny_unet(dtype))
    return SDModel(spec, network, Autoencoder(tiny_vae(dtype)), FakePrompts(dtype))


def picture(seed: int, frames: int = 1, side: int = 32) -> Tensor:
    """Smooth random pictures [frames, 3, side, side] in 0..1."""
    generator = torch.Generator().manual_seed(seed)
    rough = torch.rand(frames, 3, 8, 8, generator=generator)
    return torch.nn.functional.interpolate(rough, size=(side, side), mode="bilinear")


def write_folder(folder: Path) -> Path:
    """The parts as a pulled model has them, tiny: unet, vae, text_encoder and tokenizer."""
    tiny_unet().save_pretrained(folder / "unet")
    tiny_vae().save_pretrained(folder / "vae")
    write_tokenizer(folder / "tokenizer")
    config = CLIPTextConfig(
        vocab_size=len(vocabulary()),
        hidden_size=TEXT_DIM,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        bos_token_id=1,
        eos_token_id=2,
    )
    encoder = seeded(CLIPTextModel, 5, config=config)
    (folder / "text_encoder").mkdir()
    config.architectures = ["CLIPTextModel"]
    config.save_pretrained(folder / "text_encoder")
    # As published: with the level of names that newer versions left out, and an extra buffer.
    tensors = {f"text_model.{name}": value for name, value in encoder.state_dict().items()}
    tensors["text_model.embeddings.position_ids"] = torch.arange(TOKENS)[None]
    save_file(tensors, folder / "text_encoder" / "model.safetensors", metadata={"format": "pt"})
    return folder


def write_tokenizer(folder: Path) -> None:
    """One that knows the letters, each alone and at the end of a word, and no merges."""
    folder.mkdir(parents=True)
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": TOKENS,
        "pad_token": "!",
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
    }
    numbers = {word: number for number, word in enumerate(vocabulary())}
    (folder / "vocab.json").write_text(json.dumps(numbers))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def vocabulary() -> list[str]:
    letters = list(string.ascii_lowercase + ",")
    return ["!", "<|startoftext|>", "<|endoftext|>", *letters, *(f"{x}</w>" for x in letters)]


class Answers(nn.Module):
    """In place of a UNet: some smooth function of latent, time and text, the same for each row."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(
        self, z: Tensor, time: Tensor, text: Tensor, return_dict: bool
    ) -> tuple[Tensor, ...]:
        told = text.mean((1, 2)).view(-1, 1, 1, 1) + time.view(-1, 1, 1, 1) / 1000
        return (torch.tanh(0.7 * z + told) + 0.1 * z.roll(1, -1),)


def noises(seed: int, count: int, latent: tuple[int, int, int]) -> list[Tensor]:
    """The noise of each step of a stream."""
    return [gaussian_noise(seed, 0, i, latent, dtype=torch.float64) for i in range(count)]


def oracle(network: Network, clean: Tensor, drawing: Drawing, noises: list[Tensor]) -> list[Tensor]:
    """Clean latents [C, h, w] after each step of one frame, float64; guidance as StreamDiffusion
    writes it, step by step: the virtual noise is carried along, and no anchor is kept."""
    first, prediction = drawing.levels[0], network.spec.prediction
    z = first.clean * clean + first.noise * noises[0]
    virtual, found = noises[0], []
    guides = drawing.cfg != "none" and drawing.guidance != 1
    for i, level in enumerate(drawing.levels):
        a, b = level.clean, level.noise

        def noise_of(text: Tensor, z: Tensor = z, level: NoiseLevel = level) -> Tensor:
            time = torch.tensor([level.timestep], dtype=torch.float64)
            output = network(z[None], time, text[None])[0]
            if prediction == "epsilon":
                return output
            if prediction == "v_prediction":
                return level.clean * output + level.noise * z
            return z + level.clean * output

        noise = noise_of(drawing.prompt.embedding)
        if guides and drawing.cfg == "full":
            negative = noise_of(drawing.negative.embedding)
            noise = negative + drawing.guidance * (noise - negative)
        elif guides:
            if drawing.cfg == "onetime" and i == 0:
                virtual = noise_of(drawing.negative.embedding)
            away = drawing.delta * virtual
            noise = away + drawing.guidance * (noise - away)
        estimate = (z - b * noise) / a
        found.append(level.out * estimate + level.skip * z)
        if i + 1 < len(drawing.levels):
            after, fresh = drawing.levels[i + 1], noises[i + 1] * drawing.noise
            away_from_anchor = found[-1] - (z - b * virtual) / a
            virtual = fresh + after.clean * away_from_anchor / after.noise
            z = after.clean * found[-1] + after.noise * fresh
    return found


LAYERS = (
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q",
    "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k",
    "mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0",
    "up_blocks.1.attentions.0.transformer_blocks.0.ff.net.0.proj",
    "down_blocks.0.attentions.0.proj_in",
    "down_blocks.0.resnets.0.conv1",
    "down_blocks.0.downsamplers.0.conv",
    "time_embedding.linear_1",
)
LORA_NAMES: dict[str, Callable[[str], tuple[str, str]]] = {
    "kohya": lambda name: (
        f"lora_unet_{name.replace('.', '_')}.lora_down.weight",
        f"lora_unet_{name.replace('.', '_')}.lora_up.weight",
    ),
    "peft": lambda name: (
        f"base_model.model.{name}.lora_A.weight",
        f"base_model.model.{name}.lora_B.weight",
    ),
    "diffusers": lambda name: (f"unet.{name}.lora_A.weight", f"unet.{name}.lora_B.weight"),
    "old": lambda name: (
        f"unet.{_processor(name)}_lora.down.weight",
        f"unet.{_processor(name)}_lora.up.weight",
    ),
}


def _processor(name: str) -> str:
    for part in ("attn1.", "attn2."):
        name = name.replace(part, f"{part}processor.")
    return name.replace("to_out.0", "to_out")


@cache
def model_unet() -> Any:
    """One for the shapes of its layers; nobody changes it."""
    return tiny_unet()


def write_lora(path: Path, naming: str = "kohya", layers: tuple[str, ...] = LAYERS) -> Path:
    """A random LoRA of rank 2; a layer that the UNet lacks gets a square one."""
    unet, generator = model_unet(), torch.Generator().manual_seed(6)
    known = {name: layer.weight.shape for name, layer in unet.named_modules() if name in layers}
    tensors = {}
    for layer in layers:
        outer, *inner = known.get(layer, (32, 32))
        down = 0.3 * torch.randn(2, *inner, generator=generator)
        up = 0.3 * torch.randn(outer, 2, *[1] * (len(inner) - 1), generator=generator)
        for name, factor in zip(LORA_NAMES[naming](layer), (down, up), strict=True):
            tensors[name] = factor
        if naming == "kohya":
            tensors[f"lora_unet_{layer.replace('.', '_')}.alpha"] = torch.tensor(2.0)
    save_file(tensors, path)
    return path
