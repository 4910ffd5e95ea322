"""CUDA graphs as recordings of stages (see `graphs`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from .graphs import Recording

WARM_UPS = 3
"""Runs beside the main stream before one is recorded, as PyTorch's manual asks ("CUDA Graphs")."""
ASKING = frozenset(
    f"aten::{name}"
    for name in ("_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2")
)
"""Operations whose result, or its size, is a value of the device."""
INDEXING = frozenset(f"aten::{name}" for name in ("index", "index_put", "index_put_"))
"""The same where they are given a mask: how many entries it picks is a value."""


class Reads(TorchDispatchMode):
    """Keeps what a run reads and has not made itself: a graph knows only addresses, and tables
    that caches hold must not be given back while it may be replayed. It sees PyTorch's operations;
    kernels of our own are given their results, parameters and memory, which outlive a graph.

    What asks for a value is refused here, before a capture is broken by it.

    Attributes:
        storages: by number, what was read.

    Raises:
        RuntimeError: within, an operation that the host would wait for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.storages: dict[int, torch.UntypedStorage] = {}
        self._made: dict[int, torch.UntypedStorage] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        for value in pytree.tree_leaves((args, kwargs)):
            if isinstance(value, Tensor):
                storage = value.untyped_storage()
                if storage._cdata not in self._made:
                    self.storages[storage._cdata] = storage
        name = func._schema.name
        if name in ASKING or (name in INDEXING and _by_mask(args)):
            raise RuntimeError(f"{name} asks the device for a value, which no graph can wait for")
        result = func(*args, **(kwargs or {}))
        for value in pytree.tree_leaves(result):
            if isinstance(value, Tensor):
                storage = value.untyped_storage()
                if storage._cdata not in self.storages:
                    # Held while this lasts, so that no later one gets its number.
                    self._made[storage._cdata] = storage
        return result

    def close(self) -> None:
        """Let go of what was made on the way."""
        self._made.clear()


def _by_mask(args: Any) -> bool:
    return any(
        isinstance(value, Tensor) and value.dtype in (torch.bool, torch.uint8)
        for value in pytree.tree_leaves(args[1:2])
    )


class CudaRecorder:
    """Records CUDA graphs. Those of one queue share a pool of memory, as they never run at once."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._pools: dict[int, Any] = {}

    def record(self, run: Callable[[], Tensor]) -> Recording:
        """See `Recorder`."""
        here = torch.cuda.current_stream(self._device)
        reads = Reads()
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            with reads:
                run()
            reads.close()
            for _ in range(WARM_UPS - 1):
                run()
        here.wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        pool = self._pools.setdefault(here.cuda_stream, torch.cuda.graph_pool_handle())
        # Other threads may use the device meanwhile; what they do is no part of this.
        mode = "thread_local"
        with torch.cuda.graph(graph, pool, self._stream, capture_error_mode=mode):
            output = run()
        return Recording(output, graph.replay, reads.storages)
