"""The named memories: a window, a recall and a layout of places that belong together."""

from __future__ import annotations

from collections.abc import Callable

import torch

from .clusters import ClusteredMemory
from .groups import GroupPositions
from .policy import Memory
from .recalls import ArchiveRecall
from .retrieval import ByKeys, KeyIndex
from .sizes import POLICIES, MemorySizes
from .store import ArchiveStore
from .timed import ByTime
from .windows import LastPictures, SinkAndRecent, VisionAndText

ARCHIVE_TYPE = torch.float16
"""Of archived keys and values of models that are wider: they lie within a few hundred, so that
float16's range does for them, and it has three bits more than bfloat16."""


def policy_named(name: str, sizes: MemorySizes, device: torch.device | str = "cpu") -> Memory:
    """A new memory of a kind, empty.

    "default": StreamingVLM's window; a question that names a time gets its seconds back and reads
    nothing else, another one gets what its words attend to, if `sizes.searched`. "streamingllm",
    "streamingvlm": their windows alone. "flash-vstream": that window, and questions get clusters of
    all that was seen. "rex": that window, and questions get what they attend to. "timed": that
    window, and only questions that name a time get something back and read nothing else. "last4":
    the control, the last pictures and nothing else. "group": that window, with places counted apart
    for what is read and written.

    Args:
        sizes: for the model: `sizes.TINY_SIZES` or `sizes.RELEASED_SIZES`.
        device: where archived keys and values lie.

    Raises:
        ValueError: the name is none of `sizes.POLICIES`.
    """
    if name not in _MAKERS:
        raise ValueError(f"no memory policy is called {name!r}; choose from {', '.join(POLICIES)}")
    return _MAKERS[name](sizes, device)


_Maker = Callable[[MemorySizes, torch.device | str], Memory]


def _default(sizes: MemorySizes, device: torch.device | str) -> Memory:
    if not sizes.searched:
        return _timed(sizes, device)
    store = _store(sizes, device)
    searches = ByTime(store, sizes.timed), ByKeys(store, sizes.retrieval)
    return Memory(VisionAndText(sizes.window), ArchiveRecall(store, *searches), focused=True)


def _rex(sizes: MemorySizes, device: torch.device | str) -> Memory:
    store = _store(sizes, device)
    recall = ArchiveRecall(store, ByKeys(store, sizes.retrieval))
    return Memory(VisionAndText(sizes.window), recall)


def _timed(sizes: MemorySizes, device: torch.device | str) -> Memory:
    store = ArchiveStore(sizes.archive, None, ARCHIVE_TYPE, device)
    recall = ArchiveRecall(store, ByTime(store, sizes.timed))
    return Memory(VisionAndText(sizes.window), recall, focused=True)


def _store(sizes: MemorySizes, device: torch.device | str) -> ArchiveStore:
    return ArchiveStore(sizes.archive, KeyIndex(sizes.retrieval), ARCHIVE_TYPE, device)


def _flash_vstream(sizes: MemorySizes, device: torch.device | str) -> Memory:
    return Memory(VisionAndText(sizes.window), ClusteredMemory(sizes.clusters))


def _streaming_llm(sizes: MemorySizes, device: torch.device | str) -> Memory:
    return Memory(SinkAndRecent(sizes.sinks), None)


def _streaming_vlm(sizes: MemorySizes, device: torch.device | str) -> Memory:
    return Memory(VisionAndText(sizes.window), None)


def _last(sizes: MemorySizes, device: torch.device | str) -> Memory:
    return Memory(LastPictures(sizes.last_pictures), None)


def _group(sizes: MemorySizes, device: torch.device | str) -> Memory:
    return Memory(VisionAndText(sizes.window), None, GroupPositions(sizes.target_start))


_MAKERS: dict[str, _Maker] = {
    "default": _default,
    "streamingllm": _streaming_llm,
    "streamingvlm": _streaming_vlm,
    "flash-vstream": _flash_vstream,
    "rex": _rex,
    "timed": _timed,
    "last4": _last,
    "group": _group,
}
