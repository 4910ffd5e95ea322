"""Repositories as they were released, filled with tiny random models."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from millrace.models.dit import CausalDiT
from millrace.models.specs import TAEHV_WAN21, WAN_1_3B, WAN_VAE, DiTSpec
from millrace.models.taehv import TAEHV
from millrace.models.wan_vae import WanVAE
from safetensors.torch import save
from torch import Tensor, nn

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


def dit_file(spec: DiTSpec = DIT, further: Mapping[str, Tensor] | None = None) -> bytes:
    """As StreamDiffusionV2 publishes it: nested, and every name with a prefix."""
    tensors = {**build(CausalDiT, spec), **(further or {})}
    return torch_file({"generator": {f"model.{name}": value for name, value in tensors.items()}})


def wan_repositories() -> dict[str, dict[str, bytes]]:
    """All that `wan2.1-1.3b` is made of; the small autoencoder is of its true size."""
    taehv = {name: value.half() for name, value in build(TAEHV, TAEHV_WAN21).items()}
    tokenizer = {"version": "1.0", "model": {"type": "Unigram", "vocab": [["<pad>", 0.0]]}}
    return {
        "jerryfeng/StreamDiffusionV2": {
            "wan_causal_dmd_v2v/model.pt": dit_file(),
            "README.md": b"# weights",
        },
        "Wan-AI/Wan2.1-T2V-1.3B": {
            "config.json": json.dumps(CONFIG).encode(),
            "Wan2.1_VAE.pth": torch_file(build(WanVAE, replace(WAN_VAE, width=8))),
            "models_t5_umt5-xxl-enc-bf16.pth": torch_file(
                {"token_embedding.weight": torch.zeros(4, 32)}
            ),
            "google/umt5-xxl/tokenizer.json": json.dumps(tokenizer).encode(),
            "google/umt5-xxl/tokenizer_config.json": b"{}",
            "google/umt5-xxl/special_tokens_map.json": b"{}",
            "google/umt5-xxl/spiece.model": b"not a model",
        },
        "lightx2v/Autoencoders": {"taew2_1.pth": torch_file(taehv), "lighttaew2_1.pth": b"x"},
    }


def safetensors_file(tensors: Mapping[str, Tensor]) -> bytes:
    return save(dict(tensors))
