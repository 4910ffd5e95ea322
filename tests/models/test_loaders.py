"""Strict loading: the containers that exist, and files that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from millrace.models.dit import CausalDiT
from millrace.models.loaders import WeightsError, load_model, read_weights
from safetensors.torch import save_file
from torch import Tensor, nn

from .conftest import randomize, small_dit_spec


def build() -> nn.Module:
    return nn.Linear(3, 2)


@pytest.fixture
def weights() -> dict[str, Tensor]:
    return {"weight": torch.randn(2, 3), "bias": torch.randn(2)}


def wrap(weights: dict[str, Tensor], form: str) -> Any:
    if form == "prefix":
        return {"model." + name: value for name, value in weights.items()}
    if form == "both":
        other = {name: -value for name, value in weights.items()}
        return {"generator_ema": other, "generator": wrap(weights, "prefix"), "step": 7}
    return weights if form == "plain" else {form: weights, "epoch": 3}


@pytest.mark.parametrize(
    "form", ["plain", "prefix", "generator", "generator_ema", "state_dict", "both"]
)
def test_forms_of_checkpoints(tmp_path: Path, weights: dict[str, Tensor], form: str) -> None:
    path = tmp_path / "w.pt"
    torch.save(wrap(weights, form), path)
    found = read_weights(path)
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)


def test_a_model_runs_as_the_one_that_was_saved(tmp_path: Path) -> None:
    spec = small_dit_spec()
    saved = CausalDiT(spec)
    randomize(saved)
    path = tmp_path / "w.safetensors"
    save_file(saved.state_dict(), path)
    loaded = load_model(lambda: CausalDiT(spec), path, "cpu", torch.float32)
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    x, cond = torch.randn(2, 1, 2, 4, 4, 6)
    given = (x, torch.full((1, 2), 300.0), torch.randn(1, 3, 10), cond)
    # Not bit for bit: how memory lies decides the order of some sums.
    torch.testing.assert_close(loaded.forward_clip(*given), saved.forward_clip(*given).detach())
    half = load_model(lambda: CausalDiT(spec), path, "cpu", torch.bfloat16)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}


def test_what_does_not_fit_is_named(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"weight": weights["weight"].T.contiguous(), "scale": weights["bias"]}, path)
    with pytest.raises(WeightsError) as error:
        load_model(build, path, "cpu", torch.float32)
    message = str(error.value)
    for part in (
        str(path),
        "missing: bias",
        "unknown: scale",
        "weight is (3, 2), expected (2, 3)",
    ):
        assert part in message


def test_long_lists_are_cut(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    path = tmp_path / "w.pt"
    torch.save(weights | {f"extra{i}": torch.zeros(1) for i in range(9)}, path)
    with pytest.raises(WeightsError, match="extra4 and 4 more"):
        load_model(build, path, "cpu", torch.float32)


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights at all" * 9], ids=["empty", "text"])
def test_damaged_files(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="fetch it again"):
        read_weights(path)


def test_cut_off_files(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    torch_path, safe_path = tmp_path / "w.pt", tmp_path / "w.safetensors"
    torch.save(weights, torch_path)
    save_file(weights, safe_path)
    for path in (torch_path, safe_path):
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(WeightsError, match="fetch it again"):
            read_weights(path)


def test_files_without_weights(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save({"config": {"dim": 3}, "step": 4}, path)
    with pytest.raises(WeightsError, match="config, step are no tensors"):
        read_weights(path)
    torch.save([1, 2], path)
    with pytest.raises(WeightsError, match="no weights by name"):
        read_weights(path)
    with pytest.raises(FileNotFoundError, match="check the path"):
        read_weights(tmp_path / "absent.pt")
