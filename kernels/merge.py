"""Attention in parts: what a part leaves behind, and how parts are put together.

Over any set of keys a query's attention is described by three numbers: the largest score m, the sum
l of exp(score - m), and the sum o of exp(score - m) value. Two sets merge as

    m = max(m1, m2),  l = l1 exp(m1 - m) + l2 exp(m2 - m),  o likewise,

which is associative and commutative with (-inf, 0, 0) for no keys at all, so that keys can be dealt
out in any way (LeanAttention, arXiv 2405.10480, section 4; FlashAttention, arXiv 2205.14135).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .dispatch import choose, reference


def attention_part(
    query: Tensor, key: Tensor, value: Tensor, valid: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """What attention over some of the keys leaves behind. Where none is valid: (-inf, 0, 0).

    Args:
        query: [rows, queries, heads, head_dim].
        key, value: [rows, keys, heads, head_dim]; there may be none.
        valid: bool [rows, keys]; None for all.

    Returns:
        m and l [rows, queries, heads], o [rows, queries, heads, head_dim].
    """
    scores = torch.einsum("rqhd,rkhd->rqhk", query, key) * query.shape[-1] ** -0.5
    if valid is not None:
        scores = scores.masked_fill(~valid[:, None, None], -torch.inf)
    none = scores.new_full((*scores.shape[:-1], 1), -torch.inf)
    most = torch.cat((scores, none), -1).amax(-1)
    # Where nothing is valid, -inf - -inf would be no number.
    shares = (scores - most.clamp_min(torch.finfo(scores.dtype).min)[..., None]).exp()
    return most, shares.sum(-1), torch.einsum("rqhk,rkhd->rqhd", shares, value)


def merge_attention(most: Tensor, total: Tensor, mixed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Parts of one attention as one part; o / l of the whole is the attention's output.

    Args:
        most, total: m and l of each part, [parts, ...].
        mixed: o of each part, [parts, ..., head_dim].

    Returns:
        m and l [...], o [..., head_dim].
    """
    return choose("merge_attention", most.device.type)(most, total, mixed)


@reference("merge_attention")
def merge_attention_reference(
    most: Tensor, total: Tensor, mixed: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    largest = most.amax(0)
    scale = (most - largest.clamp_min(torch.finfo(most.dtype).min)).exp()
    return largest, (scale * total).sum(0), (scale[..., None] * mixed).sum(0)
