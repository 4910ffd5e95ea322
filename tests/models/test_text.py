from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from itertools import islice
from pathlib import Path

import pytest
import torch
from millrace.models.text import (
    CAMERA,
    PromptEncoder,
    PromptSpec,
    load_prompt_encoder,
    save_prompt_encoder,
)
from millrace.models.tiny import load_prompts
from millrace.models.training.heldout_prompts import HELD_OUT
from millrace.models.training.phrases import PHRASES
from millrace.models.training.prompts import (
    NAMES,
    SPEC,
    examples,
    score,
    train_prompt_encoder,
    vocabulary,
)
from millrace.models.words import MAX_LETTERS, Vocabulary, split_words


@pytest.fixture(scope="module")
def encoder() -> PromptEncoder:
    return load_prompts()


def _weights(encoder: PromptEncoder, prompt: str) -> dict[str, float]:
    return dict(encoder.understand(prompt).weights)


def test_words_are_lower_case_without_accents_and_signs_stand_alone() -> None:
    assert split_words("Café-STYLE, 70% b&w!") == [
        "cafe",
        "style",
        ",",
        "70",
        "%",
        "b",
        "and",
        "w",
    ]
    assert split_words(" \n\t") == []


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("watercolor", "watercolor"),
        ("watercolr", "watercolor"),
        ("watercolorr", "watercolor"),
        ("waterxolor", "watercolor"),
        ("watrecolor", "watercolor"),
        ("noirish", "noir"),
        ("nior", "noir"),
        ("neons", "neon"),
    ],
)
def test_forms_and_slips_of_one_letter_are_resolved(word: str, meant: str) -> None:
    known = Vocabulary.of(["watercolor", "noir", "neon"])
    assert known.resolve(word) == known.resolve(meant) is not None


@pytest.mark.parametrize("word", ["soil", "noi", "watercaler", "giraffe", "from", "xeon"])
def test_other_words_are_not_bent_into_known_ones(word: str) -> None:
    assert Vocabulary.of(["oil", "noir", "watercolor", "form", "neon"]).resolve(word) is None


def test_weights_are_a_mean_whatever_the_prompt(encoder: PromptEncoder) -> None:
    prompts = [example.words for example in islice(examples(99), 200)]
    weights, sure = encoder(encoder.tokens([*prompts, [], ["qwxz"]]))
    assert weights.shape == (202, len(NAMES)) and sure.shape == (202,)
    assert weights.min() >= 0
    torch.testing.assert_close(weights.sum(1), torch.ones(202))
    assert weights[-2:, NAMES.index(CAMERA)].min() > 0.999


def test_a_prompt_means_the_same_alone_and_in_a_batch(encoder: PromptEncoder) -> None:
    long = split_words("make the whole city look like an oil painting with thick brush strokes")
    batch, _ = encoder(encoder.tokens([["neon"], long]))
    alone, _ = encoder(encoder.tokens([["neon"]]))
    torch.testing.assert_close(batch[:1], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("prompt", ["", "   ", "hello", "qwxz flurb", "?!", "a portrait of my dog"])
def test_where_nothing_is_asked_the_camera_is_shown_and_said(
    encoder: PromptEncoder, prompt: str
) -> None:
    understood = encoder.understand(prompt)
    assert understood.weights == ((CAMERA, 1.0),)
    assert not understood.recognised
    assert "camera" in understood.sentence()


def test_unknown_words_are_named_once_in_order(encoder: PromptEncoder) -> None:
    understood = encoder.understand("Zorbing in watercolor with a flumph and a zorbing 1234")
    assert understood.unknown == ("zorbing", "flumph")
    assert understood.weights[0][0] == "watercolor"
    assert "zorbing, flumph" in understood.sentence()
    assert encoder.understand("please make it look like watercolor for me").unknown == ()


@pytest.mark.parametrize("name", NAMES)
def test_each_look_has_many_names_and_answers_to_its_own(encoder: PromptEncoder, name: str) -> None:
    assert len(set(PHRASES[name])) >= 15
    assert encoder.understand(name).weights[0][0] == name


def test_case_and_order_of_words_do_not_matter(encoder: PromptEncoder) -> None:
    for prompt in ("OIL PAINTING of my cat", "my cat, painting in oil", "oil-painting my cat"):
        assert encoder.understand(prompt).weights[0][0] == "oil"


def test_two_looks_are_blended(encoder: PromptEncoder) -> None:
    even = _weights(encoder, "mix of mosaic and neon")
    assert even["mosaic"] == pytest.approx(0.5, abs=0.2)
    assert even["neon"] == pytest.approx(0.5, abs=0.2)


def test_weights_are_positive_sorted_and_sum_to_one(encoder: PromptEncoder) -> None:
    for prompt, _ in HELD_OUT:
        shares = [weight for _, weight in encoder.understand(prompt).weights]
        assert shares == sorted(shares, reverse=True)
        assert min(shares) > 0 and sum(shares) == pytest.approx(1)


def test_giant_prompts_are_fine(encoder: PromptEncoder) -> None:
    assert encoder.understand("neon " + "lorem ipsum amet " * 2000).weights[0][0] == "neon"
    assert encoder.understand("watercolor " * 2000).weights[0][0] == "watercolor"
    assert encoder.understand("x" * 200_000).unknown == ("x" * MAX_LETTERS,)
    assert encoder.understand("水彩 \u202e \x00 🎨").weights == ((CAMERA, 1.0),)


def test_a_wish_is_found_in_a_long_story(encoder: PromptEncoder) -> None:
    story = "the old man and the boy walk by the river with a dog, and at home there is tea, "
    understood = encoder.understand(story * 2 + "in the style of a mosaic, " + story * 4)
    assert understood.weights[0][0] == "mosaic"


def test_the_shipped_encoder_understands_nearly_all_hand_written_prompts(
    encoder: PromptEncoder,
) -> None:
    assert len(HELD_OUT) >= 80
    result = score(encoder)
    assert result.top1 >= 0.95, result.wrong
    assert result.error < 0.1


def test_the_shipped_encoder_is_what_this_training_teaches(encoder: PromptEncoder) -> None:
    """Words, prompts and meanings that changed since it was made would show here, without the
    minutes that making it anew takes."""
    assert encoder.spec == SPEC
    taught = vocabulary()
    assert encoder.vocabulary.known == taught.known and encoder.vocabulary.near == taught.near
    fresh = list(islice(examples(12_345), 500))
    with torch.no_grad():
        weights, sure = encoder(encoder.tokens([example.words for example in fresh]))
    asks = torch.tensor([example.asks for example in fresh])
    assert ((sure > 0) == asks).float().mean() > 0.98
    meant = torch.stack([torch.tensor([e.meaning.get(n, 0.0) for n in NAMES]) for e in fresh])
    assert (weights - meant)[asks].abs().sum(1).mean() / 2 < 0.05


def test_a_twentieth_of_the_training_understands_most_already() -> None:
    assert score(train_prompt_encoder(seed=1, steps=100, batch=64)).top1 > 0.7


def test_hand_written_prompts_are_not_among_the_training_ones() -> None:
    trained = {example.words for example in islice(examples(0), 20_000)}
    # Names of a look ("charcoal drawing") may be, sentences may not.
    split = [tuple(split_words(prompt)) for prompt, _ in HELD_OUT]
    leaked = [words for words in split if len(words) > 3 and words in trained]
    assert leaked == []


def test_training_is_the_same_for_the_same_seed_and_leaves_the_random_state() -> None:
    steps: list[int] = []

    def train(seed: int) -> torch.Tensor:
        return train_prompt_encoder(seed, 3, lambda step, loss: steps.append(step), 8).table.weight

    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = train(0)
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(first, train(0))
    assert not torch.equal(first, train(1))
    assert steps == [1, 2, 3] * 3


def test_it_is_written_small_and_read_back(encoder: PromptEncoder, tmp_path: Path) -> None:
    path = tmp_path / "prompts.safetensors"
    trained = deepcopy(encoder)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.mul_(1.0003)  # values that the file's float16 has to round
    save_prompt_encoder(trained, path)
    assert path.stat().st_size < 3_000_000
    read = load_prompt_encoder(path)
    assert read.spec == trained.spec
    for prompt in ("mix of oil and neon", "watercolr of a giraffe"):
        first, again = trained.understand(prompt), read.understand(prompt)
        assert again.unknown == first.unknown
        torch.testing.assert_close(
            read.weights_of(again), trained.weights_of(first), atol=0.02, rtol=0
        )


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(1)}, str(path))
    with pytest.raises(ValueError, match="not a prompt encoder"):
        load_prompt_encoder(path)
    with pytest.raises(FileNotFoundError):
        load_prompt_encoder(tmp_path / "none.safetensors")


def test_weights_of_follows_the_order_of_the_spec(encoder: PromptEncoder) -> None:
    row = encoder.weights_of(encoder.understand("mix of oil and neon"))
    assert row.shape == (len(NAMES),) and row.sum() == pytest.approx(1)
    assert {NAMES[i] for i in row.topk(2).indices.tolist()} == {"oil", "neon"}


def test_a_spec_without_the_camera_is_refused() -> None:
    styles: Sequence[str] = ("oil", "neon")
    with pytest.raises(ValueError, match="camera"):
        PromptEncoder(PromptSpec(tuple(styles), 16, 8, 2, 1, 4), vocabulary())


def test_running_changes_no_weights(encoder: PromptEncoder) -> None:
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    encoder.understand("a bit of vapor on my oil painting")
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert encoder.spec == SPEC
