"""transformers' model with the weights of ours: what ours is compared with, never what runs."""

from __future__ import annotations

from typing import Any

import torch

from .model import VLModel
from .specs import VLSpec


def config_of(spec: VLSpec) -> Any:
    """What transformers calls a spec: a `Qwen2_5_VLConfig`."""
    from transformers import Qwen2_5_VLConfig

    vision, text = spec.vision, spec.text
    return Qwen2_5_VLConfig(
        text_config={
            "hidden_size": text.dim,
            "intermediate_size": text.ffn_dim,
            "num_hidden_layers": text.layers,
            "num_attention_heads": text.heads,
            "num_key_value_heads": text.kv_heads,
            "vocab_size": text.vocab,
            "rms_norm_eps": text.eps,
            "tie_word_embeddings": text.tied,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": text.rope_theta,
                "mrope_section": list(text.rope_sections),
            },
        },
        vision_config={
            "hidden_size": vision.dim,
            "intermediate_size": vision.ffn_dim,
            "num_heads": vision.heads,
            "depth": vision.layers,
            "patch_size": vision.patch,
            "temporal_patch_size": vision.frames,
            "spatial_merge_size": vision.merge,
            "window_size": vision.window,
            "fullatt_block_indexes": list(vision.full_layers),
            "out_hidden_size": vision.out_dim,
            "tokens_per_second": int(text.tokens_per_second),
        },
        tie_word_embeddings=text.tied,
    )


def released(name: str) -> str:
    """A name of transformers 5 as the released files, and ours, have it."""
    return name.replace("model.visual.", "visual.").replace("model.language_model.", "model.")


def twin_of(model: VLModel) -> Any:
    """A `Qwen2_5_VLForConditionalGeneration` that shares the weights of `model`, for inference."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    weight = model.text.weight
    with torch.device("meta"):
        theirs = Qwen2_5_VLForConditionalGeneration(config_of(model.spec))
    ours = model.state_dict()
    shared = {name: ours.get(released(name), model.text.weight) for name in theirs.state_dict()}
    theirs.load_state_dict(shared, assign=True)
    for name, module in list(theirs.named_modules()):
        # Frequencies are no weights: made on the meta device, they hold nothing yet.
        if hasattr(module, "inv_freq"):
            theirs.set_submodule(name, type(module)(module.config).to(weight.device))
    return theirs.eval().requires_grad_(False)
