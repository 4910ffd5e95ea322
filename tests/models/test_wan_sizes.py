"""Sizes that a folder of weights tells itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from millrace.models.specs import WAN_1_3B, WAN_14B, WAN_VAE
from millrace.models.wan_sizes import CONFIG, dit_sizes, vae_sizes

RELEASED_14B = {
    "_class_name": "WanModel", "dim": 5120, "eps": 1e-06, "ffn_dim": 13824, "freq_dim": 256,
    "in_dim": 16, "model_type": "t2v", "num_heads": 40, "num_layers": 40, "out_dim": 16,
    "text_len": 512,
}  # fmt: skip


def folder(tmp_path: Path, text: str) -> Path:
    (tmp_path / CONFIG).parent.mkdir()
    (tmp_path / CONFIG).write_text(text)
    return tmp_path


def test_the_released_config_makes_the_named_spec(tmp_path: Path) -> None:
    assert dit_sizes(folder(tmp_path, json.dumps(RELEASED_14B)), WAN_1_3B) == WAN_14B


def test_without_a_config_the_named_spec_holds(tmp_path: Path) -> None:
    assert dit_sizes(tmp_path, WAN_14B) is WAN_14B


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "no settings"),
        ('{"model_type": "i2v"}', "only t2v"),
        ('{"dim": "1536"}', "dim must be positive whole numbers"),
        ('{"num_layers": 0}', "layers must be"),
        ('{"dim": 100, "num_heads": 3}', "100 does not split into 3 heads"),
    ],
)
def test_a_wrong_config_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        dit_sizes(folder(tmp_path, text), WAN_1_3B)
    assert "config.json" in str(caught.value)


def test_an_autoencoder_is_as_wide_as_its_tensors() -> None:
    shapes = {"encoder.conv1.weight": (8, 3, 3, 3, 3)}
    assert vae_sizes(shapes, WAN_VAE) == replace(WAN_VAE, width=8)
    assert vae_sizes({}, WAN_VAE) is WAN_VAE
