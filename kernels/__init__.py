"""Operations: tensors in, tensors out. Each op has a PyTorch reference that defines it."""

from .attention import attention, ring_attention
from .color import i420_to_rgb, rgb_to_i420
from .flow import flow_step
from .noise import gaussian_noise
from .norm import gated_residual, modulated_layer_norm, rms_norm
from .ring import ring_write
from .rope import angles, axis_pairs, rope, spatial_tables

__all__ = [
    "angles",
    "attention",
    "axis_pairs",
    "flow_step",
    "gated_residual",
    "gaussian_noise",
    "i420_to_rgb",
    "modulated_layer_norm",
    "rgb_to_i420",
    "ring_attention",
    "ring_write",
    "rms_norm",
    "rope",
    "spatial_tables",
]
