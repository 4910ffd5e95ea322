"""`ClusteredMemory`: a whole stream in a fixed number of pictures (Flash-VStream, arXiv 2506.23825,
section 3: a context memory of centroids and a detail memory of whole pictures)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor

from ..segments import Pictures
from .archive import Entry
from .policy import Cue
from .sizes import ClusterSizes


def _whole(pictures: Pictures) -> Tensor:
    features = pictures.features
    assert isinstance(features, Tensor)
    return features


def split(pictures: Pictures) -> list[Pictures]:
    """Each grid for itself, at its own time, in memory of its own."""
    grids, height, width = pictures.grid
    tokens = height * width
    return [
        Pictures(
            _whole(pictures)[grid * tokens : (grid + 1) * tokens].clone(),
            (1, height, width),
            pictures.turn,
            pictures.time + grid * pictures.seconds,
            pictures.seconds,
        )
        for grid in range(grids)
    ]


def pool(picture: Pictures, grid: tuple[int, int] | None) -> tuple[Tensor, tuple[int, int]]:
    """A picture of one grid at half its resolution, or at the resolution that is given.

    Returns:
        float32 [h * w, dim], and (h, w).
    """
    _, height, width = picture.grid
    target = grid or ((height + 1) // 2, (width + 1) // 2)
    whole = _whole(picture).float().unflatten(0, (1, height, width)).movedim(-1, 1)
    if grid is None or target == ((height + 1) // 2, (width + 1) // 2):
        small = functional.avg_pool2d(whole, 2, ceil_mode=True, count_include_pad=False)
    else:
        small = functional.adaptive_avg_pool2d(whole, target)
    return small[0].flatten(1).T.contiguous(), target


@dataclass(slots=True, eq=False)
class Candidate:
    """A whole picture that may stand for its cluster."""

    picture: Pictures
    pooled: Tensor

    @property
    def nbytes(self) -> int:
        return _whole(self.picture).nbytes + self.pooled.nbytes


@dataclass(slots=True, eq=False)
class Cluster:
    """Pictures that are alike.

    Attributes:
        centroid: mean of its pictures at half resolution, float32 [tokens, dim].
        weight: how many there were.
        time: mean of their times, in seconds of the stream.
        turn: of the newest of them.
        candidates: a few of them as they were, the nearest to the centroid first.
    """

    centroid: Tensor
    weight: int
    time: float
    turn: int
    candidates: list[Candidate] = field(default_factory=list)

    def joined(self, other: Cluster) -> Cluster:
        """Both as one; means stay means of all pictures that either ever held."""
        weight = self.weight + other.weight
        part = other.weight / weight
        return Cluster(
            torch.lerp(self.centroid, other.centroid, part),
            weight,
            self.time + (other.time - self.time) * part,
            max(self.turn, other.turn),
            [*self.candidates, *other.candidates],
        )

    def nearest_first(self, most: int) -> None:
        """Sort its candidates and keep `most` of them."""
        apart = [_squared(one.pooled, self.centroid) for one in self.candidates]
        order = sorted(range(len(apart)), key=lambda place: (apart[place], place))
        self.candidates = [self.candidates[place] for place in order[:most]]


def _squared(one: Tensor, other: Tensor) -> float:
    return float((one - other).square().sum())


def _fitting(pictures: Sequence[Pictures], tokens: int) -> list[Pictures]:
    """The first of them that have no more than so many tokens together."""
    ends = itertools.accumulate(len(_whole(one)) for one in pictures)
    return [one for one, end in zip(pictures, ends, strict=True) if end <= tokens]


class ClusteredMemory:
    """Clusters all pictures seen, whatever leaves the cache. A `policy.Recall`.

    Weighted k-means, one picture at a time: with the new picture there are `clusters` + 1 weighted
    points, and of all ways to make `clusters` of them, none empty, each joins two. The pair of
    least w1 w2 / (w1 + w2) |c1 - c2|^2 raises the squared error least, so that joining it is the
    optimum of the published step, found without a random start, without iterations, and the same
    at every run. Centroids and times are the true means of all pictures of a cluster.

    Beside its centroid a cluster keeps its `candidates` nearest whole pictures; where all together
    take more than `max_bytes`, the furthest of the lightest cluster that has more than one goes,
    then the only one of the lightest. A question gets all centroids and the nearest whole pictures
    of the `details` heaviest clusters, each at its time; where `tokens` do not hold them, those of
    the heaviest clusters.

    A picture costs the distances to all centroids, however long the stream is.
    """

    wants_queries = False

    def __init__(self, sizes: ClusterSizes) -> None:
        self._sizes = sizes
        self._clusters: list[Cluster] = []
        self._grid: tuple[int, int] | None = None
        self._seconds = 1.0
        self._dtype = torch.float32
        # What joining each two of the clusters would cost; infinite on and below the diagonal.
        self._costs: NDArray[np.float64] = np.full((sizes.clusters + 1,) * 2, np.inf)

    @property
    def clusters(self) -> Sequence[Cluster]:
        return self._clusters

    @property
    def nbytes(self) -> int:
        """Of all centroids and whole pictures."""
        return sum(one.centroid.nbytes for one in self._clusters) + self._stored()

    def seen(self, pictures: Pictures) -> None:
        for picture in split(pictures):
            self._add(picture)

    def archived(self, entries: Sequence[Entry]) -> None:
        """Pictures were taken when they were seen; words are not this memory's."""

    def recall(self, cue: Cue) -> Sequence[Pictures]:
        heavy = sorted(self._clusters, key=lambda cluster: (-cluster.weight, cluster.time))
        context = _fitting([self._context(cluster) for cluster in heavy], self._sizes.tokens // 3)
        stored = [cluster.candidates[0].picture for cluster in heavy if cluster.candidates]
        left = self._sizes.tokens - sum(len(_whole(one)) for one in context)
        details = _fitting(stored[: self._sizes.details], left)
        return sorted([*context, *details], key=lambda pictures: pictures.time)

    def _context(self, cluster: Cluster) -> Pictures:
        assert self._grid is not None
        features = cluster.centroid.to(self._dtype)
        return Pictures(features, (1, *self._grid), cluster.turn, cluster.time, self._seconds)

    def _add(self, picture: Pictures) -> None:
        # Pictures of another shape are pooled to the shape of the first one.
        pooled, self._grid = pool(picture, self._grid)
        self._seconds, self._dtype = picture.seconds, _whole(picture).dtype
        new = Cluster(pooled, 1, picture.time, picture.turn, [Candidate(picture, pooled)])
        self._clusters.append(new)
        self._weigh(len(self._clusters) - 1)
        if len(self._clusters) > self._sizes.clusters:
            self._join()
        self._shed()

    def _weigh(self, place: int) -> None:
        """What joining the cluster at `place` with each of the others would cost."""
        one = self._clusters[place]
        others = torch.stack([cluster.centroid for cluster in self._clusters])
        squared = (others - one.centroid).flatten(1).square().sum(1).double().cpu().numpy()
        weights = np.array([cluster.weight for cluster in self._clusters], dtype=np.float64)
        costs = squared * weights * one.weight / (weights + one.weight)
        self._costs[:place, place] = costs[:place]
        self._costs[place, place + 1 : len(costs)] = costs[place + 1 :]

    def _join(self) -> None:
        """Make one of the two clusters that lose least by it, the oldest such two."""
        low, high = divmod(int(np.argmin(self._costs)), len(self._costs))
        one = self._clusters[low].joined(self._clusters.pop(high))
        one.nearest_first(self._sizes.candidates)
        self._clusters[low] = one
        costs = np.delete(np.delete(self._costs, high, 0), high, 1)
        self._costs = np.pad(costs, (0, 1), constant_values=np.inf)
        self._weigh(low)

    def _stored(self) -> int:
        return sum(one.nbytes for cluster in self._clusters for one in cluster.candidates)

    def _shed(self) -> None:
        """Let whole pictures go until the rest fits."""
        held = self._stored()
        while held > self._sizes.max_bytes:
            rich = [cluster for cluster in self._clusters if len(cluster.candidates) > 1]
            owners = rich or [cluster for cluster in self._clusters if cluster.candidates]
            poorest = min(owners, key=lambda cluster: cluster.weight)
            held -= poorest.candidates.pop().nbytes
