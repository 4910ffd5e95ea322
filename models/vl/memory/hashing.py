"""Clusters of like keys, found by the bits of a hash (V-Rex / ReSV, arXiv 2512.12284, section 4).

Keys whose signs on random hyperplanes differ in few places point the same way, so that one mean
can stand for all of them when a query asks where it would attend. Keys are raw: after rotation
they would differ by where they stood.

Unlike the paper's, a cluster never spans two segments. One that did would outlive what it stands
for when an archive lets segments go, and its mean would have to be unlearnt; the price is a table
of more rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from .archive import Entry


@dataclass(frozen=True, slots=True, eq=False)
class KeyClusters:
    """Clusters of one segment's keys.

    Attributes:
        means: of the keys' type, [layers, kv_heads, clusters, head_dim].
        counts: float32 [layers, kv_heads, clusters], keys of each; 0 where a head has fewer.
    """

    means: Tensor
    counts: Tensor

    @property
    def nbytes(self) -> int:
        return self.means.nbytes + self.counts.nbytes


@lru_cache(maxsize=8)
def _hyperplanes(head_dim: int, planes: int, seed: int) -> Tensor:
    """[head_dim, planes], the same on every machine and at every call."""
    with torch.inference_mode(False):
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(head_dim, planes, generator=generator)


def hamming(keys: Tensor, planes: int, seed: int) -> Tensor:
    """In how many of `planes` bits hashes differ: keys [.., n, head_dim] -> int64 [.., n, n]."""
    normals = _hyperplanes(keys.shape[-1], planes, seed).to(keys.device)
    signs = torch.where(keys.float() @ normals >= 0, 1.0, -1.0)
    # Small whole numbers: exact in float32, in whatever order they are added.
    return (planes - signs @ signs.transpose(-1, -2)).div(2).round().long()


def leaders(apart: Tensor, distance: int) -> Tensor:
    """The key that founded each key's cluster.

    Each key in turn joins the cluster whose founder it is nearest to, if that is nearer than
    `distance` (among equals the oldest), or else founds one.

    Args:
        apart: int64 [.., n, n], distances.

    Returns:
        int64 [.., n]; founders are their own.
    """
    count = apart.shape[-1]
    near = apart < distance
    founders = torch.zeros_like(near[..., 0, :])
    settled = founders.clone()
    # A key founds a cluster unless an earlier founder is near: one round settles all that the
    # next founder is near to, so that there are as many rounds as clusters, not as keys.
    while not settled.all():
        first = (~settled).int().argmax(-1, keepdim=True)
        founders.scatter_(-1, first, True)
        row = first[..., None].expand(*first.shape, count)
        settled |= near.gather(-2, row).squeeze(-2)
    order = torch.arange(count, device=apart.device)
    # Distance and age in one number, so that the smallest is also the oldest.
    ranked = apart * count + order
    open_to = founders[..., None, :] & (order[None, :] <= order[:, None])
    return ranked.masked_fill(~open_to, 1 << 62).argmin(-1)


def cluster_keys(entry: Entry, planes: int, distance: int, seed: int) -> KeyClusters:
    """Clusters of a segment's keys, for each layer and head."""
    keys = entry.keys.transpose(1, 2).float()  # [layers, kv_heads, n, head_dim]
    leader = leaders(hamming(keys, planes, seed), distance)
    order = torch.arange(keys.shape[2], device=keys.device)
    # Founders numbered from 0 in order; all others take their founder's number.
    number = ((leader == order).cumsum(-1) - 1).gather(-1, leader)
    clusters = int(number.max()) + 1
    shape = (*keys.shape[:2], clusters)
    counts = keys.new_zeros(shape).scatter_add_(-1, number, torch.ones_like(keys[..., 0]))
    where = number[..., None].expand_as(keys)
    sums = keys.new_zeros(*shape, keys.shape[-1]).scatter_add_(2, where, keys)
    means = sums / counts.clamp(min=1)[..., None]
    return KeyClusters(means.to(entry.keys.dtype), counts)
