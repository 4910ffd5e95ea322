"""A UNet model of the released shape at a tiny size, with random weights, and its folder."""

from __future__ import annotations

import json
import string
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny, ControlNetModel, UNet2DConditionModel
from millrace.models.sd.network import Network
from millrace.models.sd.parts import Autoencoder, SDModel
from millrace.models.sd.specs import SD_TURBO, SDSpec
from millrace.models.sd.text import Prompt
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

TEXT_DIM, TOKENS = 32, 77
UNET: dict[str, Any] = {
    "block_out_channels": (32, 64),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": TEXT_DIM,
    "attention_head_dim": 8,
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "sample_size": 8,
}
CONTROLNET: dict[str, Any] = {
    **{
        name: value for name, value in UNET.items() if name not in ("sample_size", "up_block_types")
    },
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
    return seeded(UNet2DConditionModel, 1, **UNET).to(dtype)


def tiny_controlnet(dtype: torch.dtype = torch.float32) -> Any:
    network = seeded(ControlNetModel, 2, **CONTROLNET)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        # Its last layers are made of zeros, as it begins its training without any effect.
        for parameter in network.parameters():
            if not parameter.any():
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return network.to(dtype)


def tiny_vae(dtype: torch.dtype = torch.float32) -> Any:
    return seeded(AutoencoderTiny, 4, **VAE).to(dtype)


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
