"""How much memory a UNet model takes, told before anything is loaded. Imports no torch."""

from __future__ import annotations

from .specs import SDSpec

BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
_WHOLE = 24
"""Numbers for each latent pixel and channel of the widest level that live at once: eight of a
feed-forward layer, five of what the way up waits for, and the inputs and outputs between."""
_TAESD_WIDTH = 64
_COPIES = 3
"""Whole activations of the autoencoder's last stage that live at once."""


def estimate(
    spec: SDSpec, size: tuple[int, int], sessions: int, frames: int, dtype: str, steps: int
) -> dict[str, int]:
    """Bytes on the device by part: "weights" (exact), "frames" in flight (exact) and "work", what
    a forward and a decode need in passing, as a bound that was derived and not measured.

    Args:
        size: width and height of the pictures.
        sessions: streams that share a forward.
        frames: that a stream takes at once.
        steps: of a frame; all of them are in flight in a stream batch, and each may have a negative
            prompt.

    Raises:
        ValueError: an unknown dtype.
    """
    if dtype not in BYTES:
        raise ValueError(f"dtype {dtype!r} is not one of {', '.join(BYTES)}")
    each, (width, height) = BYTES[dtype], size
    pictures, area = sessions * frames, (height // 8) * (width // 8)
    rows = 2 * steps * pictures
    forward = rows * area * spec.unet["block_out_channels"][0] * _WHOLE
    coding = pictures * height * width * _TAESD_WIDTH * _COPIES
    return {
        "weights": spec.parameters * each,
        # A latent and its anchor, never in less than 32 bits.
        "frames": 2 * sessions * spec.max_steps * frames * 4 * area * max(each, 4),
        "work": max(forward, coding) * each,
    }
