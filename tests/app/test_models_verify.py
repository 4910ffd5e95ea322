"""Looking at what was pulled: files, checksums, and whether the tensors are those of the model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from millrace.app import catalog, hub_pull
from millrace.app.errors import CallError, CommandError
from millrace.app.hub_pull import Wish
from millrace.models import keys
from millrace.models.loaders import WeightsError
from millrace.models.released import RELEASED
from millrace.models.sd.library import MissingPackage
from millrace.models.specs import WAN_VAE
from millrace.models.wan_vae import WanVAE
from safetensors.torch import load, save

from .fake_models import (
    CONFIG,
    DIT,
    build,
    dit_file,
    sd_turbo_repositories,
    teller_repositories,
    torch_file,
    umt5_weights,
    wan_repositories,
)

NAME = "wan2.1-1.3b"


@pytest.fixture(scope="module")
def clones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repositories as somebody cloned them."""
    root = tmp_path_factory.mktemp("clones")
    for repo, files in wan_repositories().items():
        for name, content in files.items():
            path = root / repo / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return root


@pytest.fixture
def models(clones: Path, tmp_path: Path) -> Path:
    """A root with the model pulled into it."""
    hub_pull.pull(Wish(RELEASED[NAME], tmp_path, source=clones, agreed=True), None)
    for path in (tmp_path / NAME).rglob("*"):
        if path.is_file():  # the tests alter them, and links would alter the clones
            content = path.read_bytes()
            path.unlink()
            path.write_bytes(content)
    return tmp_path


def test_a_whole_model_is_verified(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    catalog.verify(NAME, models, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert set(found.values()) == {"ok"}
    assert {"dit", "vae", "taehv", "dit/model.pt", "tokenizer/spiece.model"} <= set(found)
    catalog.verify(NAME, models, as_json=False)
    shown = capsys.readouterr().out
    assert "width 48 with 2 blocks" in shown
    assert "sizes of its own, not those of wan2.1-1.3b" in shown


def altered(models: Path, file: str, content: bytes) -> None:
    (models / NAME / file).write_bytes(content)


def test_altered_truncated_and_missing_files_are_all_named(models: Path) -> None:
    path = models / NAME / "dit/model.pt"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    altered(models, "vae/Wan2.1_VAE.pth", b"short")
    (models / NAME / "taehv/taew2_1.pth").unlink()
    with pytest.raises(CommandError) as caught:
        catalog.verify(NAME, models, as_json=False)
    told = str(caught.value)
    assert "dit/model.pt: has sha256" in told
    assert "vae/Wan2.1_VAE.pth: has 5 bytes, expected" in told
    assert "taehv/taew2_1.pth: is missing" in told


def unlocked(models: Path) -> Path:
    """The same files without an account of where they came from, as somebody put them there."""
    (models / NAME / "millrace.lock.json").unlink()
    return models


HEAD_ONLY = {"encoder.conv1.weight": torch.zeros(8, 3, 3, 3, 3)}
WIDER = json.dumps({**CONFIG, "dim": 64}).encode()
OTHER_TEXT = torch_file(umt5_weights(10, dim=24))
SMALL_VAE = replace(WAN_VAE, width=8)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("dit/model.pt", dit_file(further={"extra": torch.zeros(1)}), "model.pt.*unknown: extra"),
        ("dit/model.pt", dit_file(replace(DIT, layers=3)), "48 with 3 blocks.*48 with 2"),
        ("dit/model.pt", dit_file()[:-4000], "model.pt.*damaged"),
        ("dit/model.pt", torch_file({"a": 1}), "model.pt.*no tensors"),
        ("config/config.json", b"{", "config.json: cannot be read"),
        ("config/config.json", WIDER, "model.pt.*48 with 2 blocks, and one of width 64"),
        ("config/config.json", b'{"model_type": "i2v"}', "only t2v"),
        ("vae/Wan2.1_VAE.pth", torch_file(HEAD_ONLY), "VAE.pth.*missing: "),
        ("taehv/taew2_1.pth", torch_file(build(WanVAE, SMALL_VAE)), "taew2_1.pth.*TAEHV"),
        ("text_encoder/models_t5_umt5-xxl-enc-bf16.pth", b"none", "t5.*cannot be read"),
        ("text_encoder/models_t5_umt5-xxl-enc-bf16.pth", OTHER_TEXT, "t5.*reads texts of width 32"),
        ("tokenizer/tokenizer.json", b"not json", "tokenizer.json: cannot be read"),
    ],
    ids=["extra key", "size", "cut", "no weights", "config", "config size", "kind", "keys", "other",
         "text", "text width", "words"],
)  # fmt: skip
def test_files_of_another_model_are_named_with_what_differs(
    models: Path, file: str, content: bytes, message: str
) -> None:
    altered(unlocked(models), file, content)
    with pytest.raises(CommandError, match=message):
        catalog.verify(NAME, models, as_json=False)


def test_a_folder_that_was_filled_by_hand_is_verified_without_checksums(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog.verify(NAME, unlocked(models), as_json=False)
    assert "no checksum is known" in capsys.readouterr().out
    shutil.rmtree(models / NAME / "tokenizer")
    with pytest.raises(CommandError, match="tokenizer: is missing"):
        catalog.verify(NAME, models, as_json=False)


def test_all_that_is_here_is_verified_by_default(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    catalog.verify(None, models, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["clip.mp4"] == "ok" and found[f"{NAME}/dit"] == "ok"


def test_what_is_not_here_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="millrace models pull sd-turbo"):
        catalog.verify("sd-turbo", tmp_path, as_json=False)
    with pytest.raises(CallError, match="no such model"):
        catalog.verify("sd-turbo-9000", tmp_path, as_json=False)


def put(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def told(name: str, folder: Path) -> str:
    try:
        return "; ".join(f"{role} {note}" for role, note in keys.check(RELEASED[name], folder))
    except WeightsError as error:
        return str(error)


@pytest.mark.slow
def test_a_unet_model_is_held_to_its_own_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "made"
    sd_turbo_repositories(folder)
    assert "unet" in told("sd-turbo", folder)
    path = folder / "unet/diffusion_pytorch_model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(save({**load(whole), "extra": torch.zeros(1)}))
    assert "does not fit UNet2DConditionModel: unknown: extra" in told("sd-turbo", folder)

    def missing(package: str) -> None:
        raise MissingPackage("pip install 'millrace[sd]'")

    with monkeypatch.context() as patched:
        patched.setattr(keys, "require", missing)
        assert "names not compared: pip install" in told("sd-turbo", folder)
    path.write_bytes(whole)
    words = folder / "text_encoder/model.safetensors"
    words.write_bytes(save({**load(words.read_bytes()), "extra": torch.zeros(1)}))
    assert "does not fit CLIPTextModel: unknown: extra" in told("sd-turbo", folder)
    config = folder / "text_encoder/config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "hidden_size": 768}))
    assert "is 768 wide, but the UNet reads texts" in told("sd-turbo", folder)


@pytest.mark.slow
def test_a_teller_is_held_to_its_own_configuration(tmp_path: Path) -> None:
    (files,) = teller_repositories().values()
    folder = put(tmp_path / "model", files).parent
    assert "layers" in told("qwen2.5-vl-3b", folder)
    tensors = load(files["model.safetensors"])
    del tensors["model.norm.weight"]
    (tmp_path / "model/model.safetensors").write_bytes(save(tensors))
    assert "missing: model.norm.weight" in told("qwen2.5-vl-3b", folder)


def test_a_policy_that_takes_averaged_weights_wants_them_in_the_file(models: Path) -> None:
    folder = models / NAME
    assert "holds no averaged weights" in told("self-forcing-1.3b", folder)
    altered(models, "dit/model.pt", dit_file(container="generator_ema"))
    assert "width 48 with 2 blocks" in told("self-forcing-1.3b", folder)
