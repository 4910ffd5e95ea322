"""Released checkpoints: every layout they come in, every way they can be wrong, and the memory."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from millrace.models.checkpoints import check_causal_wan, load_causal_wan
from millrace.models.dit import CausalDiT
from millrace.models.loaders import WeightsError
from millrace.models.sources import place
from millrace.models.specs import WAN_1_3B, WAN_14B, DiTSpec
from safetensors.torch import save_file
from torch import Tensor

from .conftest import randomize, small_dit_spec

SPEC = small_dit_spec(stem=False)
Weights = dict[str, Tensor]


@pytest.fixture
def weights() -> Weights:
    model = CausalDiT(SPEC)
    randomize(model)
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def prefixed(weights: Weights) -> Weights:
    return {"model." + name: value for name, value in weights.items()}


def shards(weights: Weights, folder: Path, count: int = 3, index: bool = True) -> Path:
    """Write `weights` as a hub repository does."""
    folder.mkdir(exist_ok=True)
    names = list(weights)
    where: dict[str, str] = {}
    for number in range(count):
        file = f"diffusion_pytorch_model-{number + 1:05d}-of-{count:05d}.safetensors"
        part = {name: weights[name].contiguous() for name in names[number::count]}
        save_file(part, folder / file)
        where |= dict.fromkeys(part, file)
    if index:
        content = {"metadata": {"total_size": 1}, "weight_map": where}
        path = folder / "diffusion_pytorch_model.safetensors.index.json"
        path.write_text(json.dumps(content))
    return folder


def load(path: Path, **settings: Any) -> CausalDiT:
    return load_causal_wan(SPEC, path, "cpu", settings.pop("dtype", torch.float32), **settings)


def assert_holds(model: CausalDiT, weights: Mapping[str, Tensor]) -> None:
    held = model.state_dict()
    assert held.keys() == weights.keys()
    assert all(torch.equal(held[name], weights[name]) for name in weights)
    assert not model.training and not any(p.requires_grad for p in model.parameters())


# -- layouts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", [False, True], ids=["plain", "prefix"])
@pytest.mark.parametrize("container", [None, "generator", "generator_ema", "state_dict"])
@pytest.mark.parametrize("suffix", ["pt", "pth"])
def test_torch_files(
    tmp_path: Path, weights: Weights, prefix: bool, container: str | None, suffix: str
) -> None:
    content: Any = prefixed(weights) if prefix else weights
    path = tmp_path / f"model.{suffix}"
    torch.save(content if container is None else {container: content, "step": 7}, path)
    check_causal_wan(SPEC, path)
    assert_holds(load(path), weights)


def test_plain_or_averaged_weights(tmp_path: Path, weights: Weights) -> None:
    path = tmp_path / "model.pt"
    average = {name: value + 1 for name, value in weights.items()}
    torch.save({"generator": prefixed(weights), "generator_ema": prefixed(average)}, path)
    assert_holds(load(path), weights)
    assert_holds(load(path, ema=True), average)
    torch.save({"generator": weights}, path)
    with pytest.raises(WeightsError, match=r"model.pt: holds no averaged.*only generator"):
        load(path, ema=True)
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="drop the EMA option"):
        load(tmp_path / "model.safetensors", ema=True)


@pytest.mark.parametrize("index", [True, False], ids=["index", "names"])
@pytest.mark.parametrize("prefix", [True, False])
def test_folders_of_shards(tmp_path: Path, weights: Weights, index: bool, prefix: bool) -> None:
    shards(prefixed(weights) if prefix else weights, tmp_path / "dit", index=index)
    check_causal_wan(SPEC, tmp_path / "dit")
    assert_holds(load(tmp_path / "dit"), weights)


def test_single_files_and_their_folders(tmp_path: Path, weights: Weights) -> None:
    inner = tmp_path / "dit" / "wan_causal_dmd_v2v"
    inner.mkdir(parents=True)
    save_file(weights, inner / "model.safetensors")
    for path in (inner / "model.safetensors", inner, tmp_path / "dit"):
        assert_holds(load(path), weights)
    torch.save(weights, tmp_path / "dit" / "model.pt")
    assert_holds(load(tmp_path / "dit"), weights)


def test_converted_weights_have_memory_of_their_own(tmp_path: Path, weights: Weights) -> None:
    path = tmp_path / "model.pt"
    torch.save(weights, path)
    half = load(path, dtype=torch.bfloat16)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    assert_holds(half, {name: value.bfloat16() for name, value in weights.items()})
    same = load(path)
    path.write_bytes(bytes(path.stat().st_size))  # A mapped file would change under the model.
    assert_holds(same, weights)


# -- files that are wrong -----------------------------------------------------------------------


def test_keys_that_do_not_fit_are_named(tmp_path: Path, weights: Weights) -> None:
    path = tmp_path / "model.pt"
    del weights["head.head.bias"]
    weights["blocks.0.self_attn.lora"] = torch.zeros(1)
    weights["blocks.1.ffn.0.weight"] = weights["blocks.1.ffn.0.weight"].T
    torch.save({"generator": prefixed(weights)}, path)
    for call in (lambda: load(path), lambda: check_causal_wan(SPEC, path)):
        with pytest.raises(WeightsError) as error:
            call()
        for part in (
            str(path),
            "missing: head.head.bias",
            "unknown: blocks.0.self_attn.lora",
            "blocks.1.ffn.0.weight is (24, 40), expected (40, 24)",
        ):
            assert part in str(error.value)


def test_the_shard_that_does_not_fit_is_named(tmp_path: Path, weights: Weights) -> None:
    weights["head.head.bias"] = weights["head.head.bias"][:-1]
    folder = shards(weights, tmp_path / "dit")
    listed = json.loads((folder / "diffusion_pytorch_model.safetensors.index.json").read_text())
    shard = listed["weight_map"]["head.head.bias"]
    with pytest.raises(WeightsError, match=rf"head.head.bias is \(15,\).*\(in {shard}\)"):
        load(folder)


def test_a_model_of_another_size_is_called_so(tmp_path: Path, weights: Weights) -> None:
    save_file(weights, tmp_path / "model.safetensors")
    for other in (WAN_14B, replace(SPEC, layers=3)):
        told = rf"width 24 with 2 blocks.*width {other.dim} with {other.layers} blocks"
        with pytest.raises(WeightsError, match=told):
            load_causal_wan(other, tmp_path / "model.safetensors", "cpu", torch.float32)


@pytest.mark.parametrize(
    "name, told",
    [
        ("condition_embedder.time_proj.weight", "layout of diffusers.*blocks.0.self_attn.q.weight"),
        ("blocks.0.attn1.to_q.weight", "layout of diffusers"),
        ("img_emb.proj.0.weight", "image-to-video"),
    ],
)
def test_other_layouts_are_called_by_name(
    tmp_path: Path, weights: Weights, name: str, told: str
) -> None:
    save_file(weights | {name: torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=told):
        load(tmp_path / "model.safetensors")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_no_numbers(tmp_path: Path, weights: Weights, bad: float) -> None:
    weights["blocks.1.ffn.2.bias"][3] = bad
    shards(weights, tmp_path / "dit")
    with pytest.raises(WeightsError, match=r"-of-00003.*blocks.1.ffn.2.bias holds values that"):
        load(tmp_path / "dit")


def test_values_beyond_a_narrow_type(tmp_path: Path, weights: Weights) -> None:
    weights["blocks.1.ffn.2.bias"][3] = 1e6
    torch.save(weights, tmp_path / "model.pt")
    load(tmp_path / "model.pt", dtype=torch.bfloat16)
    with pytest.raises(WeightsError, match="finite numbers in float16.*wider type"):
        load(tmp_path / "model.pt", dtype=torch.float16)


def test_quantised_weights_are_refused(tmp_path: Path, weights: Weights) -> None:
    weights["blocks.1.ffn.2.weight"] = weights["blocks.1.ffn.2.weight"].to(torch.int8)
    torch.save(weights, tmp_path / "model.pt")
    with pytest.raises(WeightsError, match=r"blocks.1.ffn.2.weight is torch.int8; quantised"):
        load(tmp_path / "model.pt")


class Touch:
    """Makes a file when it is unpickled by a program that trusts what it reads."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


def test_code_in_a_file_is_not_run(tmp_path: Path, weights: Weights) -> None:
    path, trace = tmp_path / "model.pt", tmp_path / "trace"
    torch.save({"generator": weights, "extra": Touch(trace)}, path)
    with pytest.raises(WeightsError, match="model.pt: cannot be read as weights"):
        load(path)
    assert not trace.exists()


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.99], ids=["empty", "third", "nearly"])
@pytest.mark.parametrize("kind", ["pt", "safetensors", "shard"])
def test_truncated_files(tmp_path: Path, weights: Weights, kind: str, keep: float) -> None:
    if kind == "shard":
        folder = shards(weights, tmp_path / "dit")
        broken = folder / "diffusion_pytorch_model-00002-of-00003.safetensors"
    else:
        folder = broken = tmp_path / f"model.{kind}"
        torch.save(weights, broken) if kind == "pt" else save_file(weights, broken)
    whole = broken.read_bytes()
    broken.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(WeightsError, match=rf"{broken.name}: cannot be read.*fetch it again"):
        check_causal_wan(SPEC, folder)


def test_missing_files_are_named(tmp_path: Path, weights: Weights) -> None:
    for index in (True, False):
        folder = shards(weights, tmp_path / "dit", index=index)
        (folder / "diffusion_pytorch_model-00002-of-00003.safetensors").unlink()
        with pytest.raises(FileNotFoundError, match="model-00002-of-00003.safetensors missing"):
            load(folder)
    with pytest.raises(FileNotFoundError, match="nowhere: no such file or folder"):
        load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty: no weights \(.safetensors"):
        load(tmp_path / "empty")


def test_folders_with_several_models(tmp_path: Path, weights: Weights) -> None:
    for name in ("a", "b"):
        torch.save(weights, tmp_path / f"{name}.pt")
    with pytest.raises(WeightsError, match=r"several models \(a.pt, b.pt\)"):
        load(tmp_path)
    folder = shards(weights, tmp_path / "dit", count=3, index=False)
    shards(weights, folder, count=2, index=False)
    with pytest.raises(WeightsError, match="several models"):
        load(folder)


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"weight_map": {}}', '{"weight_map": {"a": "../b.safetensors"}}']
)
def test_indices_that_are_none(tmp_path: Path, weights: Weights, content: str) -> None:
    folder = shards(weights, tmp_path / "dit")
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(content)
    with pytest.raises(WeightsError, match="index.json: (is no index|must list)"):
        load(folder)


def test_a_tensor_in_two_shards(tmp_path: Path, weights: Weights) -> None:
    folder = shards(weights, tmp_path / "dit", index=False)
    first, second = sorted(folder.iterdir())[:2]
    save_file({next(iter(weights)): next(iter(weights.values()))}, second)
    with pytest.raises(WeightsError, match=f"00002.*{next(iter(weights))} is in .*00001"):
        load(folder)


# -- memory -------------------------------------------------------------------------------------


class Counting:
    """A source that knows how many of the tensors that it gave are still alive."""

    origin = "counting"

    def __init__(self, weights: Weights) -> None:
        self.weights, self.alive, self.most = weights, 0, 0
        self.shapes = {name: tuple(value.shape) for name, value in weights.items()}

    def where(self, name: str) -> str:
        return "counting"

    def read(self, name: str) -> Tensor:
        given = self.weights[name].clone()
        weakref.finalize(given.untyped_storage(), self._gone)
        self.alive += 1
        self.most = max(self.most, self.alive)
        return given

    def _gone(self) -> None:
        self.alive -= 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_tensor_besides_the_model(weights: Weights, dtype: torch.dtype) -> None:
    with torch.device("meta"):
        model = CausalDiT(SPEC)
    source, steps = Counting(weights), []
    place(model, source, "cpu", dtype, lambda done, of: steps.append((done, of, source.alive)))
    assert source.most == 1 and source.alive == 0
    assert steps == [(n + 1, len(weights), 0) for n in range(len(weights))]
    assert_holds(model.eval(), {name: value.to(dtype) for name, value in weights.items()})


def test_nothing_is_read_of_a_file_that_does_not_fit(
    tmp_path: Path, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    del weights["head.head.bias"]
    torch.save(weights, tmp_path / "model.pt")
    monkeypatch.setattr("millrace.models.checkpoints.place", pytest.fail)
    with pytest.raises(WeightsError, match="missing: head.head.bias"):
        load(tmp_path / "model.pt")


# -- the tables of the released models ----------------------------------------------------------


def released_table(dim: int, ffn: int, layers: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a Wan 2.1 text-to-video checkpoint, written from its description."""

    def linear(name: str, out: int, inner: int) -> dict[str, tuple[int, ...]]:
        return {f"{name}.weight": (out, inner), f"{name}.bias": (out,)}

    table = {
        "patch_embedding.weight": (dim, 16, 1, 2, 2),
        "patch_embedding.bias": (dim,),
        **linear("text_embedding.0", dim, 4096),
        **linear("text_embedding.2", dim, dim),
        **linear("time_embedding.0", dim, 256),
        **linear("time_embedding.2", dim, dim),
        **linear("time_projection.1", 6 * dim, dim),
        "head.modulation": (1, 2, dim),
        **linear("head.head", 64, dim),
    }
    for i in range(layers):
        block = f"blocks.{i}"
        table[f"{block}.modulation"] = (1, 6, dim)
        for attn in ("self_attn", "cross_attn"):
            for part in "qkvo":
                table |= linear(f"{block}.{attn}.{part}", dim, dim)
            table[f"{block}.{attn}.norm_q.weight"] = (dim,)
            table[f"{block}.{attn}.norm_k.weight"] = (dim,)
        table |= {f"{block}.norm3.weight": (dim,), f"{block}.norm3.bias": (dim,)}
        table |= linear(f"{block}.ffn.0", ffn, dim) | linear(f"{block}.ffn.2", dim, ffn)
    return table


@pytest.mark.parametrize(
    "spec, table, tensors, parameters",
    [
        (WAN_1_3B, lambda: released_table(1536, 8960, 30), 825, 1_418_996_800),
        (WAN_14B, lambda: released_table(5120, 13_824, 40), 1095, 14_288_491_584),
    ],
    ids=["wan2.1-1.3b", "wan2.1-14b"],
)
def test_key_tables(
    spec: DiTSpec,
    table: Callable[[], dict[str, tuple[int, ...]]],
    tensors: int,
    parameters: int,
) -> None:
    with torch.device("meta"):
        ours = CausalDiT(spec).state_dict()
    expected = table()
    assert {name: tuple(value.shape) for name, value in ours.items()} == expected
    assert len(expected) == tensors
    assert sum(value.numel() for value in ours.values()) == parameters


def test_a_released_file_into_the_other_size(tmp_path: Path) -> None:
    """The whole 1.3B table, in a sparse file of no bytes on disk, refused by the 14B spec."""
    header, offset = {}, 0
    for name, shape in released_table(1536, 8960, 30).items():
        size = 2 * torch.Size(shape).numel()
        header[name] = {
            "dtype": "BF16",
            "shape": list(shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header).encode()
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + offset)
    check_causal_wan(WAN_1_3B, path)
    with pytest.raises(WeightsError, match="width 1536 with 30 blocks.*width 5120 with 40 blocks"):
        load_causal_wan(WAN_14B, path, "cpu", torch.bfloat16)
