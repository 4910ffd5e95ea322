"""Sizes of the released models, against transformers, without any memory."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from millrace.models.vl.model import VLModel
from millrace.models.vl.specs import QWEN2_5_VL_3B, QWEN2_5_VL_7B, VisionStemSpec, VLSpec
from transformers import Qwen2_5_VLForConditionalGeneration
from vl_oracle import oracle_config, released, small_spec


def shapes(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {released(name): tuple(value.shape) for name, value in module.state_dict().items()}


@pytest.mark.parametrize(
    "spec",
    [small_spec(), small_spec(tied=True), QWEN2_5_VL_3B, QWEN2_5_VL_7B],
    ids=lambda spec: f"{spec.name}-{'tied' if spec.text.tied else 'untied'}",
)
def test_names_and_shapes_are_transformers(spec: VLSpec) -> None:
    with torch.device("meta"):
        ours = VLModel(spec)
        theirs = Qwen2_5_VLForConditionalGeneration(oracle_config(spec))
    expected = shapes(theirs)
    if spec.text.tied:
        del expected["lm_head.weight"]
    assert shapes(ours) == expected


@pytest.mark.parametrize(
    "spec, billions", [(QWEN2_5_VL_3B, 3.755), (QWEN2_5_VL_7B, 8.292)], ids=["3b", "7b"]
)
def test_released_sizes_have_their_number_of_weights(spec: VLSpec, billions: float) -> None:
    """As the model cards count them; a cache entry has 36,864 and 57,344 bytes without raw keys."""
    with torch.device("meta"):
        model = VLModel(spec)
    assert sum(p.numel() for p in model.parameters()) / 1e9 == pytest.approx(billions, abs=5e-4)
    text = spec.text
    entry = 2 * 2 * text.layers * text.kv_heads * text.head_dim
    assert entry == {2048: 36_864, 3584: 57_344}[text.dim]


def test_specs_that_cannot_be_are_refused() -> None:
    spec = small_spec()
    with pytest.raises(ValueError, match="rope_sections"):
        replace(spec.text, head_dim=32)
    with pytest.raises(ValueError, match="share"):
        replace(spec.text, heads=5)
    with pytest.raises(ValueError, match="out_dim"):
        replace(spec, vision=replace(spec.vision, out_dim=65))
    with pytest.raises(ValueError, match="carried"):
        replace(spec.vision, carried=spec.vision.frames)
    with pytest.raises(ValueError, match="do not end at"):
        replace(spec.vision, stem=VisionStemSpec((8, 16), (0, 1)))
    with pytest.raises(ValueError, match="widths of stages"):
        VisionStemSpec((8, 16), (0,))
