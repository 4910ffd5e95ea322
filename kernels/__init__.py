"""Operations: tensors in, tensors out. Each op has a PyTorch reference that defines it."""

from .attention import attention, ring_attention
from .clip import causal_clip, keep, memory_conv, per_chunk, per_frame
from .color import i420_to_rgb, rgb_to_i420
from .conv import ConvActivation, conv2d
from .flow import flow_step, flow_step_noised
from .fp8 import Fp8Rows, Fp8Weight, gelu_rows, normed_for, rows_for, takes_rows
from .fp8_ops import fp8_product, quantise_rows
from .linear import LinearActivation, linear
from .merge import attention_part, merge_attention
from .noise import gaussian_noise
from .norm import (
    gated_residual,
    gated_residual_norm,
    modulated_layer_norm,
    modulated_layer_norm_e4m3,
    rms_norm,
)
from .prepared import keep_plain, lay_side_by_side
from .projection import query_key_value
from .prompt import prompt_attention
from .quantise import dequantise, quantise
from .ring import ring_write
from .ring_input import norm_rope_write, project_into_ring
from .rope import angles, axis_pairs, rope, spatial_turns, turn_keys, turns
from .shuffle import pixel_shuffle, pixel_unshuffle
from .upsampled import upsampled_conv

__all__ = [
    "ConvActivation",
    "Fp8Rows",
    "Fp8Weight",
    "LinearActivation",
    "angles",
    "attention",
    "attention_part",
    "axis_pairs",
    "causal_clip",
    "conv2d",
    "dequantise",
    "flow_step",
    "flow_step_noised",
    "fp8_product",
    "gated_residual",
    "gated_residual_norm",
    "gaussian_noise",
    "gelu_rows",
    "i420_to_rgb",
    "keep",
    "keep_plain",
    "lay_side_by_side",
    "linear",
    "memory_conv",
    "merge_attention",
    "modulated_layer_norm",
    "modulated_layer_norm_e4m3",
    "norm_rope_write",
    "normed_for",
    "per_chunk",
    "per_frame",
    "pixel_shuffle",
    "pixel_unshuffle",
    "project_into_ring",
    "prompt_attention",
    "quantise",
    "quantise_rows",
    "query_key_value",
    "rgb_to_i420",
    "ring_attention",
    "ring_write",
    "rms_norm",
    "rope",
    "rows_for",
    "spatial_turns",
    "takes_rows",
    "turn_keys",
    "turns",
    "upsampled_conv",
]
