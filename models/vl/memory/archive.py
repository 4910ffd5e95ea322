"""`Entry`: a segment that left the cache, with the keys and values that it had."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..segments import Segment


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """Attributes:
    segment: what it was; its slots mean nothing any longer.
    keys, values: raw (unrotated), [layers, length, kv_heads, head_dim].
    """

    segment: Segment
    keys: Tensor
    values: Tensor
