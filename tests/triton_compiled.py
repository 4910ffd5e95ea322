"""Compiles what a launcher would launch, for a Hopper GPU, on a machine that has none.

The interpreter runs a kernel as Python and so takes what the compiler does not: a name that is no
constant, a loop that changes a type, a block too large for the processor. Run as a program without
TRITON_INTERPRET; see `tests/kernels/test_compiles.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

HOPPER = GPUTarget("cuda", 90, 32)
MOST_SHARED = 227 * 1024
"""Bytes of shared memory that a program can have there."""


class _NoDevice:
    """Answers what a launch asks of the machine before it compiles."""

    def get_current_target(self) -> GPUTarget:
        return HOPPER

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def compiled(call: Callable[[], object]) -> list[Any]:
    """What `call` would launch, compiled and not run, in its order.

    Raises:
        triton.compiler.errors.CompilationError: a kernel is no Triton.
        AssertionError: it was interpreted, or does not fit a processor.
    """
    made: list[Any] = []
    run = JITFunction.run

    def instead(kernel: Any, *args: Any, grid: Any, warmup: bool, **named: Any) -> None:
        made.append(run(kernel, *args, grid=grid, warmup=True, **named))

    triton.runtime.driver.set_active(_NoDevice())
    JITFunction.run = instead
    try:
        call()
    finally:
        JITFunction.run = run
    assert made, "nothing was launched"
    for kernel in made:
        assert kernel.metadata.shared <= MOST_SHARED, (kernel.name, kernel.metadata.shared)
    return made
