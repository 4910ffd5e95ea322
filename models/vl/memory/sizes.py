"""How large each memory is, as plain data. This file imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

POLICIES = (
    "default",
    "streamingllm",
    "streamingvlm",
    "flash-vstream",
    "rex",
    "timed",
    "last4",
    "group",
)
"""Names that `policies.policy_named` knows."""

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class WindowSizes:
    """What `VisionAndText` keeps beside what is pinned.

    Attributes:
        vision_turns: newest turns whose pictures stay.
        text_turns: newest turns whose words stay as they are, at least `vision_turns`.
        memo_first, memo_last: tokens at the two ends of the older captions that stay.
    """

    vision_turns: int
    text_turns: int
    memo_first: int
    memo_last: int

    def __post_init__(self) -> None:
        if not 1 <= self.vision_turns <= self.text_turns:
            raise ValueError(
                f"vision_turns {self.vision_turns} must be 1 .. text_turns {self.text_turns}: "
                "pictures do not outlive the words around them"
            )
        if min(self.memo_first, self.memo_last) < 0:
            raise ValueError("memo_first and memo_last must be 0 or more tokens")

    def bound(self, pinned: int, words: int, vision: int) -> int:
        """Most tokens that stay, where `pinned` are pinned and a turn has at most `words` of words
        and `vision` of pictures. (Turns with pictures may be older than all `text_turns`, where
        the newer ones took none.)"""
        memo = self.memo_first + self.memo_last
        turns = self.text_turns + self.vision_turns
        return pinned + memo + turns * words + self.vision_turns * vision


@dataclass(frozen=True, slots=True)
class SinkSizes:
    """What `SinkAndRecent` keeps, in tokens: the first ones and the last ones."""

    first: int
    last: int

    def __post_init__(self) -> None:
        if self.first < 0 or self.last < 1:
            raise ValueError(f"first {self.first} must be 0 or more, last {self.last} 1 or more")


@dataclass(frozen=True, slots=True)
class ArchiveSizes:
    """What an `ArchiveStore` holds.

    Attributes:
        max_bytes: of keys, values and what is indexed of them.
        words_share: of `max_bytes`, that words may take before the oldest of them leave.
    """

    max_bytes: int
    words_share: float = 0.5

    def __post_init__(self) -> None:
        if self.max_bytes < 1 or not 0 < self.words_share <= 1:
            raise ValueError(f"max_bytes and words_share must be positive: {self}")


@dataclass(frozen=True, slots=True)
class TimedSizes:
    """What `timed.ByTime` brings back.

    Attributes:
        pictures: turns whose pictures come back, at most.
        tokens: of everything that comes back, at most.
        still: seconds before the span within which its last turn before is looked for. Where more
            lies between, turns were forgotten: a picture however still is read more often.
    """

    pictures: int
    tokens: int
    still: float = 12.0


@dataclass(frozen=True, slots=True)
class ClusterSizes:
    """What `ClusteredMemory` holds and brings back.

    Attributes:
        clusters: centroids (CSM), each of a quarter of a picture's tokens.
        details: whole pictures (DAM) that come back, those of the heaviest clusters.
        candidates: whole pictures that are stored for each cluster.
        max_bytes: of all stored whole pictures.
        tokens: of everything that comes back, at most; centroids take a third at most (the best
            split of Flash-VStream's ablation), where pictures are too large for all.
    """

    clusters: int
    details: int
    candidates: int
    max_bytes: int
    tokens: int

    def __post_init__(self) -> None:
        if self.clusters < 1 or not 0 <= self.details <= self.clusters or self.candidates < 1:
            raise ValueError(f"clusters >= details >= 0 and candidates >= 1 are needed: {self}")


@dataclass(frozen=True, slots=True)
class RetrievalSizes:
    """How `KeyRetrieval` selects.

    Attributes:
        planes: hyperplanes, bits of a key's hash; at most 63.
        distance: Hamming distance below which a key joins a cluster.
        mass: part of a query's attention over the archive that its segments must reach.
        tokens: of everything that comes back, at most.
        seed: of the hyperplanes.
    """

    planes: int
    distance: int
    mass: float
    tokens: int
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.planes <= 63 or self.distance < 1 or not 0 < self.mass <= 1:
            raise ValueError(f"planes 1 .. 63, distance >= 1, mass in (0, 1] are needed: {self}")


@dataclass(frozen=True, slots=True)
class MemorySizes:
    """Sizes of all policies for one model.

    Attributes:
        searched: whether the default memory searches its archive by keys for a question that names
            no time.
    """

    window: WindowSizes
    sinks: SinkSizes
    archive: ArchiveSizes
    timed: TimedSizes
    clusters: ClusterSizes
    retrieval: RetrievalSizes
    last_pictures: int = 4
    target_start: int = 0
    searched: bool = True

    @property
    def recalled(self) -> int:
        """Most tokens that a question gets back under any policy."""
        return max(self.timed.tokens, self.clusters.tokens, self.retrieval.tokens)


STREAMING_VLM = WindowSizes(vision_turns=16, text_turns=16, memo_first=512, memo_last=512)
"""As released: arXiv 2510.09608, streaming_vlm/inference/inference.py."""

RELEASED_SIZES = MemorySizes(
    window=STREAMING_VLM,
    sinks=SinkSizes(first=4, last=8192),
    archive=ArchiveSizes(max_bytes=2048 * _MIB),
    timed=TimedSizes(pictures=8, tokens=6656),
    clusters=ClusterSizes(
        clusters=60, details=30, candidates=1, max_bytes=256 * _MIB, tokens=11_520
    ),
    retrieval=RetrievalSizes(planes=32, distance=7, mass=0.3, tokens=6144),
)
"""For Qwen2.5-VL checkpoints. Clusters as Flash-VStream v2 (60 centroids, 30 whole pictures, 11,520
tokens), hashes and mass as V-Rex; time and keys bring back eight pictures of 720p at most, time
with the words around them."""

TINY_SIZES = MemorySizes(
    window=WindowSizes(vision_turns=16, text_turns=100, memo_first=0, memo_last=0),
    sinks=SinkSizes(first=4, last=512),
    archive=ArchiveSizes(max_bytes=32 * _MIB),
    timed=TimedSizes(pictures=8, tokens=256),
    clusters=ClusterSizes(clusters=12, details=6, candidates=2, max_bytes=2 * _MIB, tokens=144),
    retrieval=RetrievalSizes(planes=32, distance=7, mass=0.3, tokens=128),
    searched=False,
)
"""For the embedded model, whose captions are a few words and whose picture is 16 tokens. It has no
memo: it finds what was said by the stamp of its turn, and a caption in a memo has none, so that
older captions are better off in the archive. What it finds by keys disturbs its answers about the
present more than it helps (assets/tiny_vl_report.md, "rex"), so only times are looked up."""
