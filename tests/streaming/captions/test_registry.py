"""From names to models, and what is said when there is none."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from caption_fakes import fake_model
from fakes import make_frames
from millrace.models.sources import open_source
from millrace.models.training.vl.telling import WISHES
from millrace.models.vl.checkpoint import read_spec
from millrace.models.vl.memory.sizes import RELEASED_SIZES, TINY_SIZES
from millrace.models.vl.specs import TINY_VL
from millrace.streaming.captions import registry
from millrace.streaming.captions.habits import TINY_WISHES
from millrace.streaming.captions.host import CaptionConfig, CaptionOptions, CaptionRefused
from millrace.streaming.captions.model import TextRule
from millrace.streaming.captions.offline import FileCaptions
from millrace.streaming.captions.registry import (
    OFFERED,
    RELEASED_TEXT,
    build,
    device_for,
    slots_for,
    token_bytes,
)
from millrace.streaming.config import ConfigError
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from vl_oracle import pair, small_spec

MARKS = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as they are released, of a very small model."""
    folder = tmp_path_factory.mktemp("small-vl")
    _, theirs = pair(small_spec(), dtype=torch.float32)
    theirs.save_pretrained(folder)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["a red circle ... moves"] * 3, trainer)
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in MARKS])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>")
    fast.save_pretrained(folder)
    return folder


def test_a_released_folder_tells_and_answers(released: Path) -> None:
    model = build(CaptionOptions(str(released), "cpu", "float32", max_sessions=1))
    assert model.info.name == str(released) and model.info.title == released.name
    assert model.info.look.factor == 28 and model.info.policies == OFFERED
    told = []
    with FileCaptions(model) as file:
        for frame in make_frames(90, (64, 48)):
            told += file.see(frame)
        parts = list(file.ask("what happened 2 seconds ago?"))
        stats: Any = file.stats()
    assert stats["turns"] == 3
    assert parts[-1].done and parts[-1].span == (0.0, 1.5)


def test_what_does_not_fit_says_how_much_is_missing(
    released: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "free_bytes", lambda device: 1_000_000)
    with pytest.raises(ConfigError, match=r"does not fit.* GB are free on cpu; use a smaller"):
        build(CaptionOptions(str(released), "cpu"))


@pytest.mark.parametrize(("dtype", "each"), [("float32", 4), ("bfloat16", 2)])
def test_weights_are_told_in_the_type_that_they_are_loaded_as(
    released: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, each: int
) -> None:
    """The files of this model are in 32 bits."""
    shapes = open_source(released).shapes.values()
    weights = each * sum(map(math.prod, shapes))
    arena = slots_for(RELEASED_SIZES, read_spec(released), RELEASED_TEXT, 1)
    needed = weights + arena * token_bytes(read_spec(released).text, dtype)
    monkeypatch.setattr(registry, "free_bytes", lambda device: needed - 1)
    with pytest.raises(ConfigError, match="does not fit"):
        build(CaptionOptions(str(released), "cpu", dtype, max_sessions=1))
    monkeypatch.setattr(registry, "free_bytes", lambda device: needed)
    build(CaptionOptions(str(released), "cpu", dtype, max_sessions=1))


@pytest.mark.parametrize(
    "name", ["nonsense", "no/such/folder/anywhere", "nowhere.at.all:thing", "caption_fakes:nothing"]
)
def test_unknown_models_are_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        build(CaptionOptions(name, "cpu"))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="config.json"):
        build(CaptionOptions(str(tmp_path), "cpu"))


def test_a_factory_of_something_else_is_refused() -> None:
    with pytest.raises(ConfigError, match="not a CaptionModel"):
        build(CaptionOptions("caption_fakes:LookSpec", "cpu"))
    assert build(CaptionOptions("caption_fakes:build", "cpu")).info == fake_model().info


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "cuda:x", ""])
def test_devices_that_are_not_there_are_refused(device: str) -> None:
    with pytest.raises(ConfigError, match="device"):
        device_for(device)


def test_types_that_are_none_are_refused() -> None:
    with pytest.raises(ConfigError, match="dtype"):
        build(CaptionOptions("tiny-random", "cpu", "float8"))


def test_random_weights_say_that_they_are_random() -> None:
    info = build(CaptionOptions("tiny-random", "cpu", max_sessions=1)).info
    assert "random" in info.title and "nonsense" in info.limits[0]
    assert info.device == "cpu" and "CPU" in info.choices[0]


def test_wishes_on_offer_are_those_that_the_model_was_taught() -> None:
    assert set(TINY_WISHES) <= {way for ways in WISHES.values() for way in ways}


def test_an_arena_grows_with_its_viewers() -> None:
    for sizes in (TINY_SIZES, RELEASED_SIZES):
        assert slots_for(sizes, TINY_VL, TextRule(), 1) >= 2 * sizes.recalled
    one, four = (slots_for(TINY_SIZES, TINY_VL, TextRule(), n) for n in (1, 4))
    assert four == 4 * one
    assert token_bytes(TINY_VL.text, "float32") == 3 * 4 * 2 * 32 * 4


def test_unknown_policies_are_refused_by_the_model() -> None:
    with pytest.raises(CaptionRefused, match="last4"):
        FileCaptions(fake_model(), CaptionConfig(memory="elephant"))
