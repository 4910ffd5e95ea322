"""Operations: tensors in, tensors out. Each op has a PyTorch reference that defines it."""

from .attention import attention, ring_attention
from .norm import gated_residual, modulated_layer_norm, rms_norm
from .ring import ring_write
from .rope import angles, axis_pairs, rope, spatial_tables

__all__ = [
    "angles",
    "attention",
    "axis_pairs",
    "gated_residual",
    "modulated_layer_norm",
    "ring_attention",
    "ring_write",
    "rms_norm",
    "rope",
    "spatial_tables",
]
