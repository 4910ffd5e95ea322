"""Prompts of the Wan models: umT5's encoder from transformers, kept off the device while idle.

A prompt becomes [512, 4096], rows after its end zero, as the released wrapper gives it. The encoder
has 5.7 billion parameters and is asked once for each new prompt. So its weights stay in the host's
memory (mapped from the file where they can be) and come to the device one block at a time; or all
of them, from `wake` to `park`.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .checkpoints import weight_files
from .loaders import Shape, WeightsError, differences, read_weights
from .parked import Parked
from .specs import UMT5_XXL, UMT5Spec

CACHE_BYTES = 64 * 2**20
"""Embeddings kept, without the rows of zeros: about a hundred long prompts, or a thousand short."""
_EXTRA = "umT5 needs transformers: pip install 'millrace[wan]'"
_STRAIGHT = str.maketrans({"‘": "'", "’": "'", "‚": "'", "“": '"', "”": '"', "„": '"'})
_BLOCK = {
    "norm1.weight": "layer.0.layer_norm.weight",
    "attn.q.weight": "layer.0.SelfAttention.q.weight",
    "attn.k.weight": "layer.0.SelfAttention.k.weight",
    "attn.v.weight": "layer.0.SelfAttention.v.weight",
    "attn.o.weight": "layer.0.SelfAttention.o.weight",
    "pos_embedding.embedding.weight": "layer.0.SelfAttention.relative_attention_bias.weight",
    "norm2.weight": "layer.1.layer_norm.weight",
    "ffn.gate.0.weight": "layer.1.DenseReluDense.wi_0.weight",
    "ffn.fc1.weight": "layer.1.DenseReluDense.wi_1.weight",
    "ffn.fc2.weight": "layer.1.DenseReluDense.wo.weight",
}


def clean(text: str) -> str:
    """A prompt as the released wrapper gives it to the tokenizer: HTML marks resolved, quotes
    straight, unprintable characters out, white space single. Case stays."""
    text = html.unescape(html.unescape(unicodedata.normalize("NFC", text)))
    text = text.translate(_STRAIGHT)
    text = "".join(c for c in text if c.isspace() or unicodedata.category(c) != "Cc")
    return re.sub(r"\s+", " ", text).strip()


def released_names(layers: int) -> dict[str, str]:
    """Names in Wan's `models_t5_umt5-xxl-enc-bf16.pth` -> names of transformers."""
    names = {"token_embedding.weight": "shared.weight"}
    for layer in range(layers):
        for theirs, ours in _BLOCK.items():
            names[f"blocks.{layer}.{theirs}"] = f"encoder.block.{layer}.{ours}"
    return names | {"norm.weight": "encoder.final_layer_norm.weight"}


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """A prompt after the encoder.

    Attributes:
        rows: [tokens, dim], in the host's memory; the rows of zeros after it are left out.
        note: what the viewer must be told, or "": a prompt that is too long is cut.
    """

    rows: Tensor
    note: str


class TextEncoder:
    """Reads prompts.

    Args:
        model: transformers' UMT5EncoderModel, weights on the host.
        tokenizer: transformers' tokenizer of the same model.
        spec: sizes; `text_len` rows are given.
        device: where it computes.
        cache_bytes: of embeddings kept; those used longest ago are dropped.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Callable[..., Any],
        spec: UMT5Spec,
        device: torch.device | str,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.spec, self.device = spec, torch.device(device)
        self._model, self._tokenizer = model, tokenizer
        self._words = model.get_parameter("shared.weight")
        stack = model.get_submodule("encoder")
        blocks = [*stack.get_submodule("block").children()]
        # The table of words is never moved: a prompt needs a few of its rows.
        self._weights = Parked([*blocks, stack.get_submodule("final_layer_norm")], self.device)
        self._kept: OrderedDict[str, Embedded] = OrderedDict()
        self._cache_bytes, self._held = cache_bytes, 0

    # -- reading --------------------------------------------------------------------------------

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Prompts to [n, text_len, dim] on the device, in the type of the weights.

        A negative prompt is a prompt as any other. Each text is read once, as long as the cache
        holds it; see `note` for what had to be cut.
        """
        found = [self._get(clean(text)) for text in texts]
        shape = (len(texts), self.spec.text_len, self.spec.dim)
        out = torch.zeros(shape, dtype=found[0].rows.dtype if found else None)
        for row, embedded in zip(out, found, strict=True):
            row[: len(embedded.rows)] = embedded.rows
        return out.to(self.device)

    def __call__(self, text: str) -> Tensor:
        """One prompt, [text_len, dim]."""
        return self.encode([text])[0]

    def note(self, text: str) -> str:
        """What a viewer must be told of this prompt, or ""."""
        return self._get(clean(text)).note

    def _get(self, text: str) -> Embedded:
        if text in self._kept:
            self._kept.move_to_end(text)
            return self._kept[text]
        embedded = self._read(text)
        if embedded.rows.nbytes <= self._cache_bytes:
            self._kept[text] = embedded
            self._held += embedded.rows.nbytes
            while self._held > self._cache_bytes:
                self._held -= self._kept.popitem(last=False)[1].rows.nbytes
        return embedded

    @torch.no_grad()
    def _read(self, text: str) -> Embedded:
        ids, note = self._tokens(text)
        # Without padding: masked positions change nothing but the time it takes.
        given = nn.functional.embedding(ids, self._words)[None].to(self.device)
        mask = torch.ones(given.shape[:2], dtype=torch.long, device=self.device)
        with self._weights.visiting():
            rows = self._model(inputs_embeds=given, attention_mask=mask).last_hidden_state[0]
        return Embedded(rows.cpu().clone(), note)

    def _tokens(self, text: str) -> tuple[Tensor, str]:
        most = self.spec.text_len
        ids = list(self._tokenizer(text)["input_ids"])
        if len(ids) <= most:
            return torch.tensor(ids), ""
        cut = list(self._tokenizer(text, truncation=True, max_length=most)["input_ids"])
        note = (
            f"the prompt has {len(ids)} tokens and the model reads {most}; "
            f"the last {len(ids) - len(cut)} are left out"
        )
        return torch.tensor(cut), note

    @property
    def held_bytes(self) -> int:
        """Of the embeddings kept."""
        return self._held

    # -- the device -----------------------------------------------------------------------------

    def wake(self) -> None:
        """Bring all weights to the device: new prompts are quick from now on."""
        self._weights.wake()

    def park(self) -> None:
        """Give the device's memory back; prompts are read all the same, block by block."""
        self._weights.park()


def load_text_encoder(
    folder: Path | str,
    device: torch.device | str,
    dtype: torch.dtype,
    text_len: int = UMT5_XXL.text_len,
    cache_bytes: int = CACHE_BYTES,
) -> TextEncoder:
    """The text encoder of a pulled model: its folders `text_encoder` and `tokenizer`.

    `text_encoder` holds the released `.pth` file (or safetensors of the same names), or a model as
    transformers saves it, with a `config.json`. The sizes are read off the weights.

    Args:
        dtype: of the weights; that of the file (bfloat16) leaves them mapped and not read.

    Raises:
        ImportError: transformers is not installed; the message says how to.
        FileNotFoundError: a part is missing.
        WeightsError: a file is damaged or is no umT5.
    """
    transformers = _transformers()
    weights, words = Path(folder) / "text_encoder", Path(folder) / "tokenizer"
    if not (words / "tokenizer_config.json").is_file():
        raise FileNotFoundError(f"{words}: no tokenizer (tokenizer_config.json); pull the model")
    if (weights / "config.json").is_file():
        try:
            model = transformers.UMT5EncoderModel.from_pretrained(
                str(weights), local_files_only=True, dtype=dtype
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise WeightsError(f"{weights}: cannot be read as umT5 ({error})") from error
    else:
        (path,) = weight_files(weights)
        model = from_released(read_weights(path), str(path), dtype)
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(words), local_files_only=True)
    spec = _spec_of(model.config, text_len)
    return TextEncoder(model.eval().requires_grad_(False), tokenizer, spec, device, cache_bytes)


def from_released(weights: Mapping[str, Tensor], origin: str, dtype: torch.dtype) -> Any:
    """transformers' UMT5EncoderModel with weights in Wan's names, on the host.

    Raises:
        ImportError: transformers is not installed.
        WeightsError: a tensor is missing, unknown or of another shape; named as in the file.
    """
    shapes = {name: tuple(value.shape) for name, value in weights.items()}
    spec = released_sizes(shapes, origin)
    with torch.device("meta"):
        model = _transformers().UMT5EncoderModel(_config(spec))
    names = released_names(spec.layers)
    expected = {old: tuple(model.get_parameter(new).shape) for old, new in names.items()}
    told = differences(expected, shapes)
    if told:
        raise WeightsError(f"{origin} does not fit umT5 with {spec.layers} blocks: {told}")
    ready = {names[old]: value.to(dtype) for old, value in weights.items()}
    ready["encoder.embed_tokens.weight"] = ready["shared.weight"]
    model.load_state_dict(ready, assign=True)
    model.tie_weights()
    return model


def released_sizes(shapes: Mapping[str, Shape], origin: str) -> UMT5Spec:
    """The sizes that a file in Wan's names tells; the rest are those of the released model.

    Raises:
        WeightsError: it is no umT5 in these names.
    """
    first = "blocks.0."
    try:
        vocabulary, dim = shapes["token_embedding.weight"]
        buckets, heads = shapes[first + "pos_embedding.embedding.weight"]
        inner, ffn = shapes[first + "attn.q.weight"][0], shapes[first + "ffn.gate.0.weight"][0]
    except (KeyError, ValueError, IndexError) as error:
        raise WeightsError(f"{origin}: is no umT5 encoder of Wan ({error} is missing)") from error
    layers = len({name.split(".")[1] for name in shapes if name.startswith("blocks.")})
    return replace(
        UMT5_XXL,
        vocabulary=vocabulary,
        dim=dim,
        heads=heads,
        head_dim=inner // heads,
        ffn_dim=ffn,
        layers=layers,
        buckets=buckets,
    )


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ImportError(_EXTRA) from error
    return transformers


def _config(spec: UMT5Spec) -> Any:
    return _transformers().UMT5Config(
        vocab_size=spec.vocabulary,
        d_model=spec.dim,
        d_kv=spec.head_dim,
        d_ff=spec.ffn_dim,
        num_layers=spec.layers,
        num_heads=spec.heads,
        relative_attention_num_buckets=spec.buckets,
        relative_attention_max_distance=spec.distance,
        layer_norm_epsilon=spec.eps,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
    )


def _spec_of(config: Any, text_len: int) -> UMT5Spec:
    return UMT5Spec(
        vocabulary=config.vocab_size,
        dim=config.d_model,
        heads=config.num_heads,
        head_dim=config.d_kv,
        ffn_dim=config.d_ff,
        layers=config.num_layers,
        buckets=config.relative_attention_num_buckets,
        distance=config.relative_attention_max_distance,
        eps=config.layer_norm_epsilon,
        text_len=text_len,
    )
