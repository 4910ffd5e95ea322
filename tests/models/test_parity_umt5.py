"""umT5: the released names against an encoder written down here, transformers, and the reader."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as functional
from millrace.models import text_encoder
from millrace.models.loaders import WeightsError
from millrace.models.parked import Parked
from millrace.models.specs import UMT5_XXL, UMT5Spec
from millrace.models.text_encoder import clean
from millrace.models.umt5 import (
    from_released,
    load_text_encoder,
    released_names,
    released_sizes,
)
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

WORDS = (
    "<pad>",
    "</s>",
    "<unk>",
    "a",
    "fox",
    "in",
    "the",
    "snow",
    "oil",
    "painting",
    "of",
    "night",
)
SIZES = replace(
    UMT5_XXL, vocabulary=len(WORDS), dim=24, heads=3, head_dim=6, ffn_dim=20, layers=2, text_len=16
)
CLOSE = 1e-5


def released_shapes(sizes: UMT5Spec) -> dict[str, tuple[int, ...]]:
    """Of the file as Wan publishes it."""
    inner = sizes.heads * sizes.head_dim
    shapes: dict[str, tuple[int, ...]] = {
        "token_embedding.weight": (sizes.vocabulary, sizes.dim),
        "norm.weight": (sizes.dim,),
    }
    for layer in range(sizes.layers):
        block = {
            "norm1.weight": (sizes.dim,),
            "attn.q.weight": (inner, sizes.dim),
            "attn.k.weight": (inner, sizes.dim),
            "attn.v.weight": (inner, sizes.dim),
            "attn.o.weight": (sizes.dim, inner),
            "norm2.weight": (sizes.dim,),
            "ffn.gate.0.weight": (sizes.ffn_dim, sizes.dim),
            "ffn.fc1.weight": (sizes.ffn_dim, sizes.dim),
            "ffn.fc2.weight": (sizes.dim, sizes.ffn_dim),
            "pos_embedding.embedding.weight": (sizes.buckets, sizes.heads),
        }
        shapes |= {f"blocks.{layer}.{name}": shape for name, shape in block.items()}
    return shapes


def released_weights(seed: int = 0) -> dict[str, Tensor]:
    """A tiny file as Wan publishes it, random."""
    generator = torch.Generator().manual_seed(seed)
    shapes = released_shapes(SIZES)
    return {name: torch.randn(shape, generator=generator) / 3 for name, shape in shapes.items()}


def by_definition(weights: dict[str, Tensor], ids: list[int]) -> Tensor:
    """T5's encoder (arXiv 1910.10683, section 2.1) with gated GELU and, as in umT5, a table of
    relative positions in every block, over the released names; [tokens, dim]."""

    def norm(x: Tensor, name: str) -> Tensor:
        return x * (x.square().mean(-1, keepdim=True) + SIZES.eps).rsqrt() * weights[name]

    half = SIZES.buckets // 2
    exact, places = half // 2, range(len(ids))
    buckets = torch.zeros(len(ids), len(ids), dtype=torch.long)
    for query in places:
        for key in places:
            far = abs(key - query)
            share = math.log(max(far, 1) / exact) / math.log(SIZES.distance / exact)
            coarse = min(half - 1, exact + int(share * (half - exact)))
            buckets[query, key] = (far if far < exact else coarse) + (half if key > query else 0)
    x = weights["token_embedding.weight"][ids]
    for layer in range(SIZES.layers):
        part = {
            name.removeprefix(f"blocks.{layer}."): value
            for name, value in weights.items()
            if name.startswith(f"blocks.{layer}.")
        }
        y = norm(x, f"blocks.{layer}.norm1.weight")
        q, k, v = (
            (y @ part[f"attn.{name}.weight"].T).unflatten(-1, (SIZES.heads, -1)).transpose(0, 1)
            for name in "qkv"
        )
        bias = part["pos_embedding.embedding.weight"][buckets].permute(2, 0, 1)
        mixed = (q @ k.transpose(1, 2) + bias).softmax(-1) @ v
        x = x + mixed.transpose(0, 1).flatten(1) @ part["attn.o.weight"].T
        y = norm(x, f"blocks.{layer}.norm2.weight")
        gate = functional.gelu(y @ part["ffn.gate.0.weight"].T, approximate="tanh")
        x = x + (gate * (y @ part["ffn.fc1.weight"].T)) @ part["ffn.fc2.weight"].T
    return norm(x, "norm.weight")


def tokenizer() -> PreTrainedTokenizerFast:
    """A word for a token and an end mark, as T5's gives one."""
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, "<unk>"))
    words.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s+"), "removed")
    words.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


class OtherMemory(Parked):
    """As if the device had a memory of its own: every fetch is a copy, counted."""

    most = 0
    fetched = 0

    @property
    def away(self) -> bool:
        return True

    def fetch(self, value: Tensor) -> Tensor:
        self.fetched += 1
        return value.clone()

    def there(self) -> int:
        """Blocks on the device."""
        return sum(
            any(getattr(owner, name) is not value for owner, name, value in slots)
            for slots in self._slots.values()
        )

    def _come(self, block: nn.Module) -> None:
        super()._come(block)
        self.most = max(self.most, self.there())


@pytest.fixture
def away(weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> tuple[Any, OtherMemory]:
    """A reader whose device is elsewhere, and its memory."""
    monkeypatch.setattr(text_encoder, "Parked", OtherMemory)
    reader = make(weights)
    return reader, reader._weights


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return released_weights()


def make(weights: dict[str, Tensor], **named: Any) -> Any:
    model = from_released(weights, "tiny.pth", torch.float32).eval().requires_grad_(False)
    return text_encoder.TextEncoder(model, tokenizer(), SIZES, "cpu", **named)


def close(ours: Tensor, theirs: Tensor) -> bool:
    return float((ours - theirs).abs().max() / theirs.abs().max()) < CLOSE


# -- the network ----------------------------------------------------------------------------------


def test_released_names_compute_what_they_say(weights: dict[str, Tensor]) -> None:
    text = "a fox in the snow oil painting of the night fox"
    ids = tokenizer()(text)["input_ids"]
    assert len(ids) == 12
    got = make(weights)(text)
    assert got.shape == (SIZES.text_len, SIZES.dim)
    assert close(got[:12], by_definition(weights, ids))
    assert not got[12:].any()


def test_parity_with_transformers_padded(weights: dict[str, Tensor]) -> None:
    """The released wrapper pads to the full length, masks, and zeroes the rows after the end."""
    texts = ["a fox in the snow", "oil painting"]
    config = UMT5Config(
        vocab_size=SIZES.vocabulary,
        d_model=SIZES.dim,
        d_kv=SIZES.head_dim,
        d_ff=SIZES.ffn_dim,
        num_layers=SIZES.layers,
        num_heads=SIZES.heads,
        feed_forward_proj="gated-gelu",
    )
    model: Any = UMT5EncoderModel(config).eval()
    names = released_names(SIZES.layers)
    own = {names[name]: value for name, value in weights.items()}
    own["encoder.embed_tokens.weight"] = own["shared.weight"]
    model.load_state_dict(own)
    given = tokenizer()(texts, padding="max_length", max_length=16, return_tensors="pt")
    with torch.no_grad():
        hidden = model(given["input_ids"], given["attention_mask"]).last_hidden_state
    expected = hidden * given["attention_mask"][..., None]
    assert close(make(weights).encode(texts), expected)


def test_names_and_sizes_of_the_released_file() -> None:
    """242 tensors, 5.68 billion parameters, each of the shape that transformers has."""
    shapes = released_shapes(UMT5_XXL)
    assert len(shapes) == 242
    assert set(shapes) == set(released_names(UMT5_XXL.layers))
    assert released_sizes(shapes, "x") == UMT5_XXL
    on_meta = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    model = from_released(on_meta, "x", torch.bfloat16)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert round(count / 1e9, 2) == 5.68
    # The public file has 11 361 920 418 bytes: two a parameter, and its table of contents.
    assert 0 < 11_361_920_418 - 2 * count < 200_000


# -- the reader -----------------------------------------------------------------------------------


def test_clean() -> None:
    assert clean("  A &amp;amp; B\n\t“c”  d’e \x07 ") == 'A & B "c" d\'e'
    assert clean("Cafe\u0301") == "Caf\u00e9"
    assert clean("") == ""


def test_an_empty_prompt_is_an_end_mark(weights: dict[str, Tensor]) -> None:
    """As every negative prompt that is left empty."""
    got = make(weights).encode(["", "a fox"])
    assert got[0, 0].any() and not got[0, 1:].any()
    assert close(got[0, :1], by_definition(weights, [1]))


def test_a_long_prompt_is_cut_and_says_so(weights: dict[str, Tensor]) -> None:
    reader = make(weights)
    long = " ".join(["fox"] * 15)  # and an end mark
    assert reader.note(long) == ""
    longer = " ".join(["snow"] * 20)
    assert reader.note(longer) == (
        "the prompt has 21 tokens and the model reads 16; the last 5 are left out"
    )
    ids = [*[WORDS.index("snow")] * 15, 1]
    assert close(reader(longer), by_definition(weights, ids))


def test_each_prompt_is_read_once(weights: dict[str, Tensor]) -> None:
    reader = make(weights)
    calls: list[int] = []
    reader._blocks[0].register_forward_hook(lambda *_: calls.append(1))
    first = reader.encode(["a fox", "snow"])
    again = reader.encode([" a  fox ", "snow", "a fox"])
    assert len(calls) == 2
    assert torch.equal(first, again[:2]) and torch.equal(again[2], again[0])


def test_the_cache_is_bounded_in_bytes(weights: dict[str, Tensor]) -> None:
    row = 4 * SIZES.dim
    reader = make(weights, cache_bytes=7 * row)
    calls: list[int] = []
    reader._blocks[0].register_forward_hook(lambda *_: calls.append(1))
    for text in ("a fox", "snow", "a fox", "night"):  # 3 + 2 + 2 rows
        reader(text)
    assert (len(calls), reader.held_bytes) == (3, 7 * row)
    reader("oil")  # the one used longest ago goes
    assert reader.held_bytes == 7 * row
    reader("a fox")
    assert len(calls) == 4
    reader("snow")
    assert len(calls) == 5
    reader("a fox in the snow of night a fox")  # more than the bound: it alone
    assert reader.held_bytes == 10 * row
    reader("oil")
    assert reader.held_bytes == 2 * row


def test_blocks_visit_the_device_one_by_one(
    weights: dict[str, Tensor], away: tuple[Any, OtherMemory]
) -> None:
    here, (reader, memory) = make(weights), away
    assert torch.equal(here("a fox"), reader("a fox"))
    assert (memory.there(), memory.most) == (0, 1)
    count = memory.fetched
    assert count == len(weights) - 1  # the table of words stays
    reader("a fox")
    assert memory.fetched == count
    reader.wake()
    reader.wake()
    assert memory.there() == SIZES.layers + 1
    assert reader.advance(reader.begin("snow"), 1)
    assert torch.equal(here("snow"), reader("snow"))
    assert memory.fetched == 2 * count
    reader.park()
    assert memory.there() == 0
    assert torch.equal(here("night"), reader("night"))


def test_a_prompt_is_read_in_parts(
    weights: dict[str, Tensor], away: tuple[Any, OtherMemory]
) -> None:
    """So that a stream need not stand still for it; two of them take turns."""
    here, (reader, memory) = make(weights), away
    first, second = reader.begin("a fox"), reader.begin("oil  painting")
    assert not reader.advance(first, 1)
    assert not reader.advance(second, 2)
    assert memory.there() == 0
    assert not reader.advance(first, 1)
    assert reader.advance(second, 5)
    assert reader.advance(first, 1)
    assert reader.advance(first, 1)
    count = memory.fetched
    texts = ["a fox", "oil painting"]
    assert torch.equal(reader.encode(texts), here.encode(texts))
    assert memory.fetched == count
    assert reader.begin(" a fox") is None
    third, again = reader.begin("snow"), reader.begin("snow")
    assert reader.advance(third, 3) and reader.advance(again, 1)
    assert torch.equal(reader("snow"), here("snow"))


def test_a_failure_leaves_nothing_on_the_device(
    weights: dict[str, Tensor], away: tuple[Any, OtherMemory]
) -> None:
    reader, memory = away

    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    handle = reader._blocks[1].register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        reader("a fox")
    assert memory.there() == 0
    handle.remove()
    assert torch.equal(reader("a fox"), make(weights)("a fox"))


# -- files ----------------------------------------------------------------------------------------


def folder(path: Path, weights: dict[str, Tensor]) -> Path:
    (path / "text_encoder").mkdir(parents=True)
    torch.save(weights, path / "text_encoder" / "models_t5_umt5-xxl-enc-bf16.pth")
    tokenizer().save_pretrained(str(path / "tokenizer"))
    return path


def test_load_a_pulled_model(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    reader = load_text_encoder(folder(tmp_path, weights), "cpu", torch.float32, text_len=16)
    assert reader.spec == SIZES
    assert torch.equal(reader("oil painting of a fox"), make(weights)("oil painting of a fox"))
    half = load_text_encoder(tmp_path, "cpu", torch.bfloat16, text_len=16)
    assert half("a fox").dtype == torch.bfloat16


def test_load_what_transformers_saves(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    from_released(weights, "x", torch.float32).save_pretrained(str(tmp_path / "text_encoder"))
    tokenizer().save_pretrained(str(tmp_path / "tokenizer"))
    reader = load_text_encoder(tmp_path, "cpu", torch.float32, text_len=16)
    assert close(reader("a fox in the snow"), make(weights)("a fox in the snow"))


def test_files_that_do_not_fit(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    name = "blocks.1.ffn.fc1.weight"
    without = {key: value for key, value in weights.items() if key != name}
    for number, (held, told) in enumerate(
        (
            (without, f"missing: {name}"),
            ({**weights, "head.weight": torch.zeros(2)}, "unknown: head.weight"),
            ({**weights, name: torch.zeros(4, 5)}, f"wrong shape: {name}"),
            ({"blocks.0.norm1.weight": torch.zeros(3)}, "is no umT5 encoder of Wan"),
        )
    ):
        with pytest.raises(WeightsError, match=rf"enc-bf16.pth.*{told}"):
            load_text_encoder(folder(tmp_path / str(number), held), "cpu", torch.float32)
    with pytest.raises(FileNotFoundError, match="no tokenizer"):
        load_text_encoder(tmp_path / "none", "cpu", torch.float32)
