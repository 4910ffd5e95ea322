"""Models with parts in eight bits: as asked, said, and near what they are without."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from millrace.kernels import Fp8Weight
from millrace.models.quantise import Fp8Choice, LayerError, fingerprint, groups_of
from millrace.streaming.config import ConfigError
from millrace.streaming.diffusion import VideoDiffusion
from millrace.streaming.pipeline import PipelineContext
from millrace.streaming.stage_runs import told
from millrace.streaming.tiny import build as build_tiny
from millrace.streaming.wan import build

from .wan_models import DIT

SMALL = {"random_weights": True, "max_sessions": 1, "size": (32, 32), "vae": "taehv"}


def small(**options: object) -> VideoDiffusion:
    return build("wan2.1-1.3b", PipelineContext(options={**SMALL, **options}), DIT)


def choice_of(host: VideoDiffusion, names: set[str]) -> Fp8Choice:
    layers = {n: LayerError(0.04, 0.01, n in names) for n in groups_of(host.parts.dit)}
    weights = fingerprint(host.parts.dit)
    return Fp8Choice("wan2.1-1.3b", weights, "8 random chunks", 0.05, 0.02, 40.0, layers)


def test_nothing_is_in_eight_bits_unless_asked() -> None:
    host = small()
    assert host.parts.dit.spec.ring.store == "plain"
    assert not any(isinstance(p, Fp8Weight) for p in host.parts.dit.parameters())
    assert not any("eight bits" in line for line in told(host))


def test_the_layers_of_a_file_are_put_into_eight_bits_and_that_is_told(tmp_path: Path) -> None:
    file = tmp_path / "fp8.json"
    choice_of(small(), {"blocks.0.self_attn.qkv", "blocks.1.ffn.0"}).save(file)
    dit = small(fp8=str(file)).parts.dit
    eight = {name for name, p in dit.named_parameters() if isinstance(p, Fp8Weight)}
    qkv = {f"blocks.0.self_attn.{part}.weight" for part in "qkv"}
    assert eight == qkv | {"blocks.1.ffn.0.weight"}
    said = told(small(fp8=str(file)))
    assert said[0].startswith("Layers: fp8: 2 of 12 groups of linear layers in eight bits")
    assert "relative error 0.02 on 8 random chunks" in said[0] and str(file) in said[0]
    assert "slower" in said[1]


@pytest.mark.parametrize("store", ["fp8", "int8"])
def test_the_past_is_stored_as_asked_and_that_is_told(store: str) -> None:
    for host in (
        small(kv_cache=store),
        build_tiny(PipelineContext(options={"random_weights": True, "kv_cache": store})),
    ):
        assert host.parts.dit.spec.ring.store == store
        ring = host.parts.dit.init_state(1, 4, 4, 1, "cpu", torch.float32).ring
        assert ring.k_scale is not None and ring.k.element_size() == 1
        expected = f"Past: keys and values are stored in eight bits ({store}), as asked."
        assert expected in told(host)


def test_a_file_for_other_weights_or_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fp8: .*nothing.json.*make one with"):
        small(fp8=str(tmp_path / "nothing.json"))
    file = tmp_path / "fp8.json"
    choice_of(small(), set()).save(file)
    with pytest.raises(ConfigError, match="made for another model"):
        build_tiny(PipelineContext(options={"random_weights": True, "fp8": str(file)}))


def test_a_store_that_there_is_not_is_named() -> None:
    with pytest.raises(ConfigError, match="kv_cache: 'fp4' is not one of plain, fp8, int8"):
        small(kv_cache="fp4")


def test_a_device_without_such_products_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from millrace.kernels import fp8_ops

    monkeypatch.setattr(fp8_ops, "why_not", lambda device: "Mill 9000 has none")
    with pytest.raises(ConfigError, match="fp8: Mill 9000 has none; leave the option out"):
        small(fp8=str(tmp_path / "fp8.json"))
