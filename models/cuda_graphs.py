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


class Reads(TorchDispatchMode):
    """Keeps what a run reads and has not made itself: a graph knows only addresses, and tables
    that caches hold must not be given back while it may be replayed. It sees PyTorch's operations;
    kernels of our own are given their results, parameters and memory, which outlive a graph.

    Attributes:
        storages: by number, what was read.
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
