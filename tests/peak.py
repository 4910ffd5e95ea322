"""What PyTorch allocates on the CPU while something runs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile


def peak_bytes(call: Callable[[], object]) -> int:
    """Most bytes that were there at once and were not before, what is returned among them."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watch:
        kept = call()
    results = watch.profiler.kineto_results
    changes: list[tuple[int, int]] = []
    events = list(results.experimental_event_tree())
    while events:
        event = events.pop()
        events += event.children
        if event.tag == torch._C._profiler._EventType.Allocation:
            changes.append((event.start_time_ns, event.extra_fields.alloc_size))
    del kept
    here = most = 0
    for _, size in sorted(changes, key=lambda change: change[0]):
        here += size
        most = max(most, here)
    return most
