"""What self-attention does to a chunk before it attends: queries out, keys and values kept."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

from .dispatch import candidate, choose, implementation, reference
from .fp8 import Fp8Weight
from .norm import rms_norm
from .prepared import prepared, side_by_side, stays_plain
from .projection import Three, query_key_value
from .ring import ring_write
from .rope import rope

Two = tuple[Tensor, Tensor]


def project_into_ring(
    x: Tensor,
    weight: Three,
    bias: Three,
    norm: Two,
    turn: Tensor,
    eps: float,
    ring: Two,
    slots: Tensor,
    mask: Tensor | None,
    rows: Tensor | None = None,
    scales: Two | None = None,
) -> Tensor:
    """`query_key_value`, then `ring_write` of keys and values: returns the queries.

    Args:
        x: [rows, frames, tokens, in].
        weight, bias, norm, turn, eps: see `query_key_value`.
        ring: keys and values of one layer, [all rows, slots, tokens, heads, head_dim] each, written
            where `slots`, `mask` and `rows` say, see `ring_write`.
        scales: of keys and values in a narrow type, float32 [all rows, slots, tokens, heads] each.

    Returns:
        [rows, frames, tokens, heads, head_dim], fully rotated.
    """
    function = choose("project_into_ring", x.device.type)
    return function(x, weight, bias, norm, turn, eps, ring, slots, mask, rows, scales)


@reference("project_into_ring")
def project_into_ring_reference(
    x: Tensor,
    weight: Three,
    bias: Three,
    norm: Two,
    turn: Tensor,
    eps: float,
    ring: Two,
    slots: Tensor,
    mask: Tensor | None,
    rows: Tensor | None,
    scales: Two | None,
) -> Tensor:
    query, key, value = (functional.linear(x, w, b) for w, b in zip(weight, bias, strict=True))
    return norm_rope_write((query, key, value), norm, turn, eps, ring, slots, mask, rows, scales)


@implementation("project_into_ring", "cpu")
def _project_then_write(
    x: Tensor,
    weight: Three,
    bias: Three,
    norm: Two,
    turn: Tensor,
    eps: float,
    ring: Two,
    slots: Tensor,
    mask: Tensor | None,
    rows: Tensor | None,
    scales: Two | None,
) -> Tensor:
    """The CPU's projection does norm and rotation on the way already."""
    query, *new = query_key_value(x, weight, bias, norm, turn, eps)
    for part, memory, scale in zip(new, ring, scales or (None, None), strict=True):
        ring_write(memory, part, slots, mask, rows, scale)
    return query


def _fits_joint(x: Tensor, weight: Three, bias: Three, *rest: object) -> str:
    if any(isinstance(part, Fp8Weight) for part in weight):
        return "weight is in eight bits"
    if side_by_side(weight) is None and _kept(weight):
        return "weight lies in three places and may have no other form, see `lay_side_by_side`"
    return ""


def _kept(weight: Three) -> bool:
    return stays_plain(weight[0]) or weight[0].is_inference()


def _joined(weight: Three, bias: Three) -> Two | None:
    """All three as one layer; None where that would take a copy which is not wanted."""
    joint, joint_bias = side_by_side(weight), side_by_side(bias)
    if joint is not None and joint_bias is not None:
        return joint, joint_bias
    return None if _kept(weight) else prepared((*weight, *bias), _join)


@candidate("project_into_ring", "cuda", "joint", _fits_joint, library=True)
def _project_jointly(
    x: Tensor,
    weight: Three,
    bias: Three,
    norm: Two,
    turn: Tensor,
    eps: float,
    ring: Two,
    slots: Tensor,
    mask: Tensor | None,
    rows: Tensor | None,
    scales: Two | None,
) -> Tensor:
    """One product for all three, which fills a device better than three small ones."""
    joint = _joined(weight, bias)
    if joint is None:  # chosen for layers of this size, but these are laid out otherwise
        products = tuple(map(functional.linear, (x, x, x), weight, bias))
    else:
        products = functional.linear(x, *joint).unflatten(-1, (3, -1)).unbind(-2)
    query, key, value = products
    return norm_rope_write((query, key, value), norm, turn, eps, ring, slots, mask, rows, scales)


def _join(*parts: Tensor) -> Two:
    return torch.cat(parts[:3]), torch.cat(parts[3:])


def norm_rope_write(
    products: Three,
    norm: Two,
    turn: Tensor,
    eps: float,
    ring: Two,
    slots: Tensor,
    mask: Tensor | None,
    rows: Tensor | None = None,
    scales: Two | None = None,
) -> Tensor:
    """The elementwise half of `project_into_ring`.

    Args:
        products: of queries, keys and values, [rows, frames, tokens, heads * head_dim] each.

    Returns:
        The queries, [rows, frames, tokens, heads, head_dim].
    """
    function = choose("norm_rope_write", products[0].device.type)
    return function(products, norm, turn, eps, ring, slots, mask, rows, scales)


@reference("norm_rope_write")
def norm_rope_write_reference(
    products: Three,
    norm: Two,
    turn: Tensor,
    eps: float,
    ring: Two,
    slots: Tensor,
    mask: Tensor | None,
    rows: Tensor | None,
    scales: Two | None,
) -> Tensor:
    heads = (-1, 2 * turn.shape[-2])
    query, key = (
        rope(rms_norm(part, scale, eps).unflatten(-1, heads), turn)
        for part, scale in zip(products[:2], norm, strict=True)
    )
    new = (key, products[2].unflatten(-1, heads))
    for part, memory, scale in zip(new, ring, scales or (None, None), strict=True):
        ring_write(memory, part, slots, mask, rows, scale)
    return query
