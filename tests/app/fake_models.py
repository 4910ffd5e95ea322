"""Repositories as they were released, filled with tiny random models."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from millrace.models.dit import CausalDiT
from millrace.models.specs import TAEHV_WAN21, WAN_1_3B, WAN_VAE, DiTSpec
from millrace.models.taehv import TAEHV
from millrace.models.vl.model import VLModel
from millrace.models.wan_vae import WanVAE
from safetensors.torch import save
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn

Files = dict[str, bytes]
DIT = replace(
    WAN_1_3B, dim=48, ffn_dim=64, freq_dim=32, text_dim=32, text_len=16, heads=4, layers=2
)
CONFIG = {
    "_class_name": "WanModel", "dim": 48, "eps": 1e-06, "ffn_dim": 64, "freq_dim": 32,
    "in_dim": 16, "model_type": "t2v", "num_heads": 4, "num_layers": 2, "out_dim": 16,
    "text_len": 16, "text_dim": 32,
}  # fmt: skip


def weights(module: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """Random values in the scale of trained ones, by name."""
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name, value in module.state_dict().items():
        fan_in = max(1, value[0].numel() if value.ndim > 1 else 4)
        made[name] = torch.randn(value.shape, generator=generator) * fan_in**-0.5
        if "norm" in name or name.endswith("gamma"):
            made[name] = torch.ones(value.shape)
    return made


def build(kind: Any, *arguments: Any) -> dict[str, Tensor]:
    with torch.device("meta"):
        module = kind(*arguments)
    return weights(module)


def torch_file(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def dit_file(
    spec: DiTSpec = DIT,
    further: Mapping[str, Tensor] | None = None,
    container: str = "generator",
) -> bytes:
    """As StreamDiffusionV2 publishes it: nested, and every name with a prefix."""
    tensors = {**build(CausalDiT, spec), **(further or {})}
    return torch_file({container: {f"model.{name}": value for name, value in tensors.items()}})


def umt5_weights(vocabulary: int, dim: int = 32, layers: int = 2) -> dict[str, Tensor]:
    """As in Wan's file, in bfloat16; two heads of eight."""
    inner, ffn = 16, 48
    shapes: dict[str, tuple[int, ...]] = {"token_embedding.weight": (vocabulary, dim)}
    for block in (f"blocks.{layer}." for layer in range(layers)):
        shapes |= {
            f"{block}norm1.weight": (dim,),
            f"{block}norm2.weight": (dim,),
            **{f"{block}attn.{name}.weight": (inner, dim) for name in "qkv"},
            f"{block}attn.o.weight": (dim, inner),
            f"{block}pos_embedding.embedding.weight": (8, 2),
            f"{block}ffn.gate.0.weight": (ffn, dim),
            f"{block}ffn.fc1.weight": (ffn, dim),
            f"{block}ffn.fc2.weight": (dim, ffn),
        }
    shapes["norm.weight"] = (dim,)
    generator = torch.Generator().manual_seed(1)
    return {
        name: (torch.randn(shape, generator=generator) * 0.3).to(torch.bfloat16)
        for name, shape in shapes.items()
    }


def tokenizer_file(words: Sequence[str]) -> bytes:
    """A word for a token, and an end mark."""
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s+"), "removed")
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return made.to_str().encode()


def wan_repositories() -> dict[str, Files]:
    """All that `wan2.1-1.3b` is made of; the small autoencoder is of its true size."""
    words = ("<pad>", "</s>", "<unk>", "a", "red", "fox", "in", "snow", "oil", "painting")
    taehv = {name: value.half() for name, value in build(TAEHV, TAEHV_WAN21).items()}
    return {
        "jerryfeng/StreamDiffusionV2": {
            "wan_causal_dmd_v2v/model.pt": dit_file(),
            "README.md": b"# weights",
        },
        "Wan-AI/Wan2.1-T2V-1.3B": {
            "config.json": json.dumps(CONFIG).encode(),
            "Wan2.1_VAE.pth": torch_file(build(WanVAE, replace(WAN_VAE, width=8))),
            "models_t5_umt5-xxl-enc-bf16.pth": torch_file(umt5_weights(len(words))),
            "google/umt5-xxl/tokenizer.json": tokenizer_file(words),
            "google/umt5-xxl/tokenizer_config.json": json.dumps(
                {
                    "tokenizer_class": "PreTrainedTokenizerFast",
                    "pad_token": "<pad>",
                    "eos_token": "</s>",
                    "unk_token": "<unk>",
                }
            ).encode(),
            "google/umt5-xxl/special_tokens_map.json": b"{}",
            "google/umt5-xxl/spiece.model": b"not a model",
        },
        "lightx2v/Autoencoders": {"taew2_1.pth": torch_file(taehv), "lighttaew2_1.pth": b"x"},
    }


def files_in(folder: Path, prefix: str = "", rename: Mapping[str, str] | None = None) -> Files:
    """All files below a folder as a repository has them."""
    names = rename or {}
    return {
        prefix + str(path.parent.relative_to(folder) / names.get(path.name, path.name)): (
            path.read_bytes()
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def sd_turbo_repositories(folder: Path) -> dict[str, Files]:
    """All that `sd-turbo` is made of, in half-precision names as released."""
    import sd_fakes  # here, as it loads diffusers

    whole = sd_fakes.write_folder(folder)
    (whole / "tokenizer" / "special_tokens_map.json").write_text("{}")
    half = {
        "diffusion_pytorch_model.safetensors": "diffusion_pytorch_model.fp16.safetensors",
        "model.safetensors": "model.fp16.safetensors",
    }
    parts = [files_in(whole / r, f"{r}/", half) for r in ("unet", "text_encoder", "tokenizer")]
    return {
        "stabilityai/sd-turbo": {name: text for part in parts for name, text in part.items()},
        "madebyollin/taesd": files_in(whole / "vae"),
    }


def teller_repositories() -> dict[str, Files]:
    """All that `qwen2.5-vl-3b` is made of, but a tokenizer."""
    import vl_oracle  # here, as it loads transformers

    spec = vl_oracle.small_spec()
    model = VLModel(spec)
    vl_oracle.randomize(model)
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    config = json.loads(vl_oracle.oracle_config(spec).to_json_string(use_diff=False))
    config |= {"model_type": "qwen2_5_vl", "tie_word_embeddings": False}
    return {
        "Qwen/Qwen2.5-VL-3B-Instruct": {
            "config.json": json.dumps(config).encode(),
            "preprocessor_config.json": b"{}",
            "model.safetensors": save(tensors),
        }
    }
