"""Compiles what a launcher would launch, for a Hopper GPU, on a machine that has none.

The interpreter runs a kernel as Python and so takes what the compiler does not: a name that is no
constant, a loop that changes a type, a block too large for the processor. Run as a program without
TRITON_INTERPRET; see `tests/kernels/test_compiles.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

HOPPER = GPUTarget("cuda", 90, 32)
MOST_SHARED = 227 * 1024
"""Bytes of shared memory that a program can have there."""
TYPES = {
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.float32: "*fp32",
    torch.uint8: "*u8",
    torch.int8: "*i8",
    torch.int32: "*i32",
    torch.int64: "*i64",
    torch.bool: "*i1",
}


def _compile(kernel: Any, arguments: dict[str, Any], options: dict[str, Any]) -> Any:
    """As a launch with these arguments would."""
    signature: dict[str, str] = {}
    constants: dict[str, Any] = {}
    aligned: dict[tuple[int, ...], list[list[object]]] = {}
    for index, parameter in enumerate(kernel.params):
        given = arguments[parameter.name]
        if parameter.is_constexpr or given is None or (type(given) is int and given == 1):
            signature[parameter.name] = "constexpr"
            constants[parameter.name] = given
        elif isinstance(given, Tensor):
            signature[parameter.name] = TYPES[given.dtype]
            aligned[index,] = [["tt.divisibility", 16]]
        elif isinstance(given, float):
            signature[parameter.name] = "fp32"
        else:
            signature[parameter.name] = "i32" if abs(given) < 2**31 else "i64"
            if given % 16 == 0:
                aligned[index,] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constexprs=constants, attrs=aligned)
    return triton.compile(source, target=HOPPER, options=options)


def compiled(call: Callable[[], object]) -> list[Any]:
    """What `call` would launch, compiled and not run, in its order.

    Raises:
        triton.compiler.errors.CompilationError: a kernel is no Triton.
        AssertionError: it was interpreted, or does not fit a processor.
    """
    made: list[Any] = []

    def instead(kernel: Any, *args: Any, grid: Any, warmup: bool, **named: Any) -> None:
        names = [parameter.name for parameter in kernel.params]
        arguments = dict(zip(names, args, strict=False)) | named
        options = {key: value for key, value in named.items() if key not in names}
        made.append(_compile(kernel, arguments, options))

    run, JITFunction.run = JITFunction.run, instead
    try:
        call()
    finally:
        JITFunction.run = run
    assert made, "nothing was launched"
    for kernel in made:
        assert kernel.metadata.shared <= MOST_SHARED, (kernel.name, kernel.metadata.shared)
    return made
