"""`ByKeys`: brings back what a question would attend to (V-Rex / ReSV, arXiv 2512.12284, 4).

For a question over a long archive, not for captions: their window is small, and the selection
depends on data at every step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .archive import Entry
from .hashing import KeyClusters, cluster_keys
from .policy import Cue
from .sizes import RetrievalSizes
from .store import ArchiveStore, Index, Kept, in_order


@dataclass(frozen=True, slots=True)
class KeyIndex:
    """Makes the clusters by which `ByKeys` finds entries: the `index` of its `ArchiveStore`.

    The words around a turn's pictures and caption have none: they say nothing by themselves.
    """

    sizes: RetrievalSizes

    def __call__(self, entry: Entry) -> Index | None:
        if entry.segment.kind in ("header", "footer"):
            return None
        return cluster_keys(entry, self.sizes.planes, self.sizes.distance, self.sizes.seed)


def attention_mass(queries: Tensor, clusters: Sequence[KeyClusters]) -> Tensor:
    """How the attention of each query would divide over segments, by the means of their clusters.

    A cluster counts as often as it has keys. Unlike the paper's weighted sum of plain scores,
    which may be negative, these are shares of a softmax: they add up to one.

    Args:
        queries: raw, of one or more layers, [layers, tokens, heads, head_dim].
        clusters: of each segment, at least one.

    Returns:
        [layers, tokens * heads, segments].
    """
    means = torch.cat([one.means for one in clusters], 2)
    counts = torch.cat([one.counts for one in clusters], 2).log()
    sizes = torch.tensor([one.counts.shape[2] for one in clusters])
    owner = torch.arange(len(clusters)).repeat_interleave(sizes).to(means.device)
    # A layer at a time: rows times clusters of all layers at once would take a gigabyte.
    layers = zip(queries.to(means.device), means, counts, strict=True)
    return torch.stack([_mass(*layer, owner, len(clusters)) for layer in layers])


def _mass(queries: Tensor, means: Tensor, counts: Tensor, owner: Tensor, segments: int) -> Tensor:
    """Of one layer.

    Args:
        queries: [tokens, heads, head_dim].
        means: [kv_heads, clusters, head_dim].
        counts: logarithms, [kv_heads, clusters].
        owner: int64 [clusters], segment of each.

    Returns:
        [tokens * heads, segments].
    """
    head_dim, kv_heads = queries.shape[-1], means.shape[0]
    # Query head i reads key head i // group, as `grouped_attention` does.
    rows = queries.float().transpose(0, 1).reshape(kv_heads, -1, head_dim)
    scores = rows @ means.float().transpose(-1, -2) / math.sqrt(head_dim)
    shares = (scores + counts[:, None]).softmax(-1)
    mass = shares.new_zeros(*shares.shape[:-1], segments).index_add_(-1, owner, shares)
    return mass.flatten(0, 1)


def heaviest(mass: Tensor, part: float) -> Tensor:
    """The fewest segments of each row that reach `part` of its mass: bool, like `mass` [.., n].

    Among equals the older ones come first.
    """
    ranked, order = mass.sort(dim=-1, descending=True, stable=True)
    before = ranked.cumsum(-1) - ranked
    chosen = before < part * mass.sum(-1, keepdim=True)
    return torch.zeros_like(chosen).scatter_(-1, order, chosen)


class ByKeys:
    """Searches an archive for what the words of a question attend to. A `recalls.Search`.

    Each word selects, in each layer and head, the segments that take `RetrievalSizes.mass` of its
    attention. The selections are united; where they are more than `tokens`, those with the most
    mass over all that selected them come first. A picture comes with the header of its turn where
    that fits. What the archive let go is not found: see `ArchiveStore`.
    """

    wants_queries = True

    def __init__(self, store: ArchiveStore, sizes: RetrievalSizes) -> None:
        """
        Args:
            store: with a `KeyIndex` of the same sizes.
        """
        self._store, self._sizes = store, sizes

    def find(self, cue: Cue) -> list[Entry] | None:
        if not isinstance(cue.queries, Tensor):
            return None
        kept = [item for item in self._store.kept if item.index is not None]
        if not kept:
            return []
        scores = self.scores(cue.queries, kept).tolist()
        ranked = sorted(range(len(kept)), key=lambda place: (-scores[place], place))
        return in_order(self._fitting([kept[place] for place in ranked if scores[place] > 0]))

    def scores(self, queries: Tensor, kept: Sequence[Kept]) -> Tensor:
        """Mass of each segment over all layers, heads and words that selected it, [segments]."""
        clusters = []
        for item in kept:
            assert isinstance(item.index, KeyClusters), "the store of ByKeys has no KeyIndex"
            clusters.append(item.index)
        mass = attention_mass(queries, clusters)
        chosen = heaviest(mass, self._sizes.mass)
        return torch.where(chosen, mass, 0.0).double().sum((0, 1)).cpu()

    def _fitting(self, ranked: Sequence[Kept]) -> list[Kept]:
        headers: dict[int, list[Kept]] = {}
        for item in self._store.words:
            if item.entry.segment.kind == "header":
                headers.setdefault(item.entry.segment.turn, []).append(item)
        chosen: dict[int, Kept] = {}
        left = self._sizes.tokens
        for item in ranked:
            if item.length > left:
                continue
            around = headers.get(item.entry.segment.turn, []) if item.picture else []
            for part in (item, *around):
                if part.number not in chosen and part.length <= left:
                    chosen[part.number] = part
                    left -= part.length
        return list(chosen.values())
