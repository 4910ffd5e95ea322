"""Released layouts are read strictly, shard by shard."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from millrace.kernels.prepared import stays_plain
from millrace.models.loaders import WeightsError
from millrace.models.vl.checkpoint import (
    canonical,
    fetch,
    load_checkpoint,
    read_spec,
)
from millrace.models.vl.model import VLModel
from safetensors.torch import load_file, save_file
from vl_oracle import oracle_config, pair, randomize, small_spec

SPEC = small_spec()
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
Rename = Callable[[str], str]


def first_release(name: str) -> str:
    return name


def newer(name: str) -> str:
    """As transformers 5 calls them in memory, and as some fine-tuned files have them."""
    if name.startswith("visual."):
        return f"model.{name}"
    return name.replace("model.", "model.language_model.", 1)


def config_file(folder: Path, flat: bool, tied: bool = False) -> None:
    """`config.json`: flat as in the first releases, or nested."""
    spec = small_spec(tied=tied)
    config = json.loads(oracle_config(spec).to_json_string(use_diff=False))
    text = config.pop("text_config")
    if flat:
        rope = text.pop("rope_parameters")
        sections = {"type": "mrope", "mrope_section": rope["mrope_section"]}
        config = {**text, **config, "rope_theta": rope["rope_theta"], "rope_scaling": sections}
    else:
        config["text_config"] = text
    config["model_type"], config["tie_word_embeddings"] = "qwen2_5_vl", tied
    (folder / "config.json").write_text(json.dumps(config))
    pictures = {"image_mean": list(spec.vision.mean), "image_std": list(spec.vision.std)}
    (folder / "preprocessor_config.json").write_text(json.dumps(pictures))


def write(folder: Path, model: VLModel, rename: Rename, shards: int = 1) -> None:
    weights = {rename(name): value.contiguous() for name, value in model.state_dict().items()}
    if shards == 1:
        save_file(weights, folder / SINGLE)
        return
    names = sorted(weights)
    placed = {name: f"model-{1 + i % shards:05d}.safetensors" for i, name in enumerate(names)}
    for file in set(placed.values()):
        save_file({n: weights[n] for n in names if placed[n] == file}, folder / file)
    (folder / INDEX).write_text(json.dumps({"weight_map": placed}))


def made(spec_tied: bool = False) -> VLModel:
    model = VLModel(small_spec(tied=spec_tied))
    randomize(model)
    return model


@pytest.mark.parametrize("rename", [first_release, newer])
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("tied", [False, True])
def test_all_layouts_are_read(tmp_path: Path, rename: Rename, shards: int, tied: bool) -> None:
    config_file(tmp_path, flat=rename is first_release, tied=tied)
    model = made(tied)
    write(tmp_path, model, rename, shards)
    spec = read_spec(tmp_path)
    assert spec.text == small_spec(tied=tied).text
    assert spec.vision.mean == SPEC.vision.mean and spec.vision.full_layers == (1,)
    loaded = load_checkpoint(tmp_path, "cpu", torch.float32)
    assert not loaded.training
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    assert all(not parameter.requires_grad for parameter in loaded.parameters())
    assert all(stays_plain(parameter) for parameter in loaded.parameters())
    half = load_checkpoint(tmp_path, "cpu", torch.bfloat16)
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}


def test_what_transformers_writes_is_read(tmp_path: Path) -> None:
    ours, theirs = pair(SPEC, dtype=torch.float32)
    theirs.save_pretrained(tmp_path, max_shard_size="200KB")
    assert (tmp_path / INDEX).is_file()
    loaded = load_checkpoint(tmp_path, "cpu", torch.float32)
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, ours.state_dict()[name]), name


def test_names_of_all_releases_are_one() -> None:
    for name in made().state_dict():
        assert canonical(newer(name)) == name == canonical(name)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda w: w.pop("model.layers.1.mlp.up_proj.weight"), "missing: .*layers.1.mlp.up_proj"),
        (lambda w: w.update({"model.layers.9.x": torch.zeros(1)}), "unknown: model.layers.9.x"),
        (
            lambda w: w.update({"model.language_model.norm.weight": torch.zeros(1)}),
            "model.norm.weight are both|model.language_model.norm.weight are both",
        ),
        (lambda w: w.update({"lm_head.weight": torch.zeros(2, 3)}), r"lm_head.weight is \(2, 3\)"),
    ],
)
def test_what_does_not_fit_is_named(
    tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], object], message: str
) -> None:
    config_file(tmp_path, flat=False)
    write(tmp_path, made(), first_release)
    weights = load_file(tmp_path / SINGLE)
    change(weights)
    save_file(weights, tmp_path / SINGLE)
    with pytest.raises(WeightsError, match=message):
        load_checkpoint(tmp_path, "cpu", torch.float32)


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="config.json"):
        read_spec(tmp_path)
    config_file(tmp_path, flat=False)
    with pytest.raises(FileNotFoundError, match="no weights .*there; pull the model"):
        load_checkpoint(tmp_path, "cpu", torch.float32)
    write(tmp_path, made(), first_release, shards=3)
    shard = tmp_path / "model-00002.safetensors"
    content = shard.read_bytes()
    shard.write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError, match="00002.*damaged"):
        load_checkpoint(tmp_path, "cpu", torch.float32)
    shard.unlink()
    with pytest.raises(FileNotFoundError, match="00002"):
        load_checkpoint(tmp_path, "cpu", torch.float32)
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": "../outside.safetensors"}}))
    with pytest.raises(WeightsError, match="outside"):
        load_checkpoint(tmp_path, "cpu", torch.float32)


def test_other_models_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen3_vl"}))
    with pytest.raises(WeightsError, match="qwen3_vl"):
        read_spec(tmp_path)
    config_file(tmp_path, flat=False)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["vision_config"]["depth"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="vision_config names no depth"):
        read_spec(tmp_path)


def test_names_that_are_no_model_are_refused(tmp_path: Path) -> None:
    assert fetch(str(tmp_path)) == tmp_path
    (tmp_path / "weights.bin").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="is a file"):
        fetch(str(tmp_path / "weights.bin"))
    for name in ("nothing", "./not/here", "/not/here", "a/b/c"):
        with pytest.raises(FileNotFoundError, match="no such folder"):
            fetch(name)
