"""One denoising step and its guidance, in closed form.

All of it is written for the clean latent x0 that an output points to, and not for the noise as the
papers have it. The two are the same by z = a x0 + b eps, and this way neither the guidance of a
first step nor that of a step without new noise is a special case.
"""

from __future__ import annotations

from torch import Tensor

from .specs import Prediction


def noised(clean: Tensor, noise: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The latent at a level with shares `a` of the clean latent and `b` of the noise."""
    return a * clean + b * noise


def to_clean(output: Tensor, z: Tensor, a: Tensor, b: Tensor, prediction: Prediction) -> Tensor:
    """The clean latent that a network's output points to.

    epsilon: (z - b out) / a. Velocity (Salimans and Ho 2022, section 4, v = a eps - b x0):
    a z - b out, as a^2 + b^2 = 1. Flow (out = eps - x0, a = 1 - b): z - b out.
    """
    if prediction == "epsilon":
        return (z - b * output) / a
    return (a * z if prediction == "v_prediction" else z) - b * output


def guided(
    clean: Tensor, anchor: Tensor, z: Tensor, a: Tensor, guidance: Tensor, delta: Tensor
) -> Tensor:
    """Classifier-free guidance away from an anchor.

    Residual guidance (Kodaira et al. 2023, section 3.3) replaces the network's answer to the
    negative prompt by the noise v that leads from an anchor X to z, v = (z - a X) / b, so that it
    needs no forward. With eps = delta v + g (eps_c - delta v) as in equation 7 and x0 for eps
    throughout, the b cancel: x0 = u + g (x0_c - u) with u = delta X + (1 - delta) z / a.

    Args:
        clean: x0_c, the answer to the prompt.
        anchor: X: the frame's own latent ("self"), the first step's answer to the negative prompt
            ("onetime"), or this step's ("full", where delta is 1).
        guidance: g; at 1 the result is `clean`, bit for bit.
        delta: softens it, 0..1.
    """
    away = delta * anchor + (1 - delta) * (z / a)
    return away.lerp(clean, guidance)


def bounded(clean: Tensor, z: Tensor, skip: Tensor, out: Tensor) -> Tensor:
    """A consistency model's result: its boundary condition keeps a trace of the input."""
    return out * clean + skip * z
