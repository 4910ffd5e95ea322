"""The queues of a device: copies and stages that may run at the same time, and who waits for whom.

Each part of a tick belongs to one queue, and so does all memory that it writes: the encoder's to
"encode", the lanes' and everything about prompts to "denoise", the decoder's to "decode". So the
next tick's pictures come in and are encoded while this one's are still being drawn, and nothing
ever has two writers. What one part makes for the next is read after it was made, because a part
waits for those before it in `AFTER`; and its memory is not given to others while it is being read,
because whoever reads it says so (`on(name, *reads)`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal, Protocol

import torch
from torch import Tensor

Queue = Literal["upload", "encode", "denoise", "decode", "download"]
AFTER: Mapping[Queue, tuple[Queue, ...]] = {
    "upload": (),
    "encode": ("upload",),
    "denoise": ("upload", "encode"),
    "decode": ("denoise",),
    "download": ("decode",),
}
"""What each part waits for when it begins: all that these have been given so far. Pictures go to
the encoder and, for the noise that follows their motion, to the lanes."""


class Queues(Protocol):
    """Where work goes on a device."""

    def on(self, name: Queue, *reads: Tensor) -> AbstractContextManager[None]:
        """What is done while this lasts goes to one queue, after what it has to wait for.

        Args:
            reads: what other queues have made for it.
        """
        ...

    def settle(self, *made: Tensor) -> None:
        """Everything waits for what the caller's own queue has been given.

        Args:
            made: memory that it was given, which all may use as long as it lives.
        """
        ...

    def join(self) -> None:
        """The caller's own queue waits for everything."""
        ...


class InOrder:
    """One queue for all: every part comes after the one before it."""

    def on(self, name: Queue, *reads: Tensor) -> AbstractContextManager[None]:
        """See `Queues`."""
        return nullcontext()

    def settle(self, *made: Tensor) -> None:
        """See `Queues`."""

    def join(self) -> None:
        """See `Queues`."""


class SideBySide:
    """A CUDA stream for each part."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._streams = {name: torch.cuda.Stream(device) for name in AFTER}

    @contextmanager
    def on(self, name: Queue, *reads: Tensor) -> Iterator[None]:
        """See `Queues`."""
        own = self._streams[name]
        for before in AFTER[name]:
            own.wait_stream(self._streams[before])
        for tensor in reads:
            tensor.record_stream(own)
        with torch.cuda.stream(own):
            yield

    def settle(self, *made: Tensor) -> None:
        """See `Queues`."""
        here = torch.cuda.current_stream(self._device)
        for stream in self._streams.values():
            stream.wait_stream(here)
            for tensor in made:
                tensor.record_stream(stream)

    def join(self) -> None:
        """See `Queues`."""
        here = torch.cuda.current_stream(self._device)
        for stream in self._streams.values():
            here.wait_stream(stream)


def queues_of(pipeline: object) -> Queues:
    """Those that a pipeline works with (its `queues`), so that copies go beside it; else one."""
    own = getattr(pipeline, "queues", None)
    return InOrder() if own is None else own


def queue_of(device: torch.device) -> int:
    """Which queue work for a device goes to just now; 0 where there is only one."""
    return torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
