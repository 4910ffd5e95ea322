"""umT5, the text encoder of the Wan models, out of files: the network is that of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .loaders import Shape, WeightsError, differences, read_weights
from .specs import UMT5_XXL, UMT5Spec
from .text_encoder import CACHE_BYTES, TextEncoder
from .weight_files import weight_files

_EXTRA = "umT5 needs transformers: pip install 'millrace[wan]'"
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


def released_names(layers: int) -> dict[str, str]:
    """Names in Wan's `models_t5_umt5-xxl-enc-bf16.pth` -> names of transformers."""
    names = {"token_embedding.weight": "shared.weight"}
    for layer in range(layers):
        for theirs, ours in _BLOCK.items():
            names[f"blocks.{layer}.{theirs}"] = f"encoder.block.{layer}.{ours}"
    return names | {"norm.weight": "encoder.final_layer_norm.weight"}


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
