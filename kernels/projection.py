"""Queries, keys and values of self-attention out of one input."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

from .dispatch import choose, implementation, reference
from .linear import pack_linear
from .norm import rms_norm
from .prepared import fuses, prepared
from .rope import rope

Three = tuple[Tensor, Tensor, Tensor]


def query_key_value(
    x: Tensor, weight: Three, bias: Three, norm: tuple[Tensor, Tensor], turn: Tensor, eps: float
) -> Three:
    """Linear, then for queries and keys the root-mean-square norm and the rotation (Wan 2.1).

    The norm spans the whole width, before the heads part.

    Args:
        x: [rows, frames, tokens, in].
        weight, bias: of queries, keys and values, [heads * head_dim, in] and [heads * head_dim].
        norm: weights of the norms of queries and keys, [heads * head_dim].
        turn: rotation of both, [rows or 1, frames, tokens, 1, head_dim / 2, 2].

    Returns:
        Three of [rows, frames, tokens, heads, head_dim].
    """
    return choose("query_key_value", x.device.type)(x, weight, bias, norm, turn, eps)


@reference("query_key_value")
def query_key_value_reference(
    x: Tensor, weight: Three, bias: Three, norm: tuple[Tensor, Tensor], turn: Tensor, eps: float
) -> Three:
    heads = (-1, 2 * turn.shape[-2])
    query, key, value = (functional.linear(x, w, b) for w, b in zip(weight, bias, strict=True))
    query, key = (
        rope(rms_norm(part, scale, eps).unflatten(-1, heads), turn)
        for part, scale in zip((query, key), norm, strict=True)
    )
    return query, key, value.unflatten(-1, heads)


@implementation("query_key_value", "cpu")
def _query_key_value_joined(
    x: Tensor, weight: Three, bias: Three, norm: tuple[Tensor, Tensor], turn: Tensor, eps: float
) -> Three:
    """One product for all three; norm and rotation of queries and keys in one go, in place."""
    if not fuses(x, weight[0]):
        return query_key_value_reference(x, weight, bias, norm, turn, eps)
    packed, joined_bias, scales = prepared((*weight, *bias, *norm), _join, turn.dtype)
    joined = torch.ops.mkldnn._linear_pointwise(x, packed, joined_bias, "none", [], "")
    lead, pairs = x.shape[:-1], turn.shape[-2]
    joined = joined.view(*lead, 3, -1)
    both, value = joined[..., :2, :], joined[..., 2, :]
    wide = both.to(turn.dtype)
    length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    # `scales` has the square root of the width in it, which the mean would need here.
    wide.mul_(length.square_().add_(eps * wide.shape[-1]).rsqrt_()).mul_(scales)
    complexes = torch.view_as_complex(wide.view(*lead, 2, -1, pairs, 2))
    complexes.mul_(torch.view_as_complex(turn)[..., None, :, :])
    heads = (*lead, -1, 2 * pairs)
    query, key = wide.to(x.dtype).view(*lead, 2, -1, 2 * pairs).unbind(-3)
    return query, key, value.view(heads)


def _join(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    query_bias: Tensor,
    key_bias: Tensor,
    value_bias: Tensor,
    query_norm: Tensor,
    key_norm: Tensor,
    table: torch.dtype,
) -> Three:
    """Joint weight, packed; joint bias; norm weights [2, width] times the root of the width."""
    scales = torch.stack((query_norm, key_norm)).to(table) * query.shape[0] ** 0.5
    bias = torch.cat((query_bias, key_bias, value_bias))
    return pack_linear(torch.cat((query, key, value))), bias, scales
