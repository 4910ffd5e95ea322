"""Every kernel, as its launcher starts it at the sizes of a real model, through Triton's compiler.

Run as a program, without TRITON_INTERPRET, by `test_compiles.py`. A new launcher gets a line in
`calls`; tensors lie on the CPU and are never read.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from triton_compiled import compiled  # noqa: E402

NARROW = torch.bfloat16


def launcher(module: str, name: str) -> Callable[..., object]:
    """Without its look at the arguments, which would find no GPU."""
    found = getattr(importlib.import_module(f"millrace.kernels.triton.{module}"), name)
    return getattr(found, "__wrapped__", found)


def empty(*shape: int, dtype: torch.dtype = NARROW) -> torch.Tensor:
    return torch.empty(*shape, dtype=dtype)


def calls() -> Iterator[tuple[str, str, tuple[object, ...]]]:
    """Module, launcher, arguments."""
    x, part = empty(1, 3, 64, 1536), empty(1, 3, 1, 1536)
    yield "norm", "modulated_layer_norm", (x, part, part, 1e-6)


def main() -> None:
    wanted = sys.argv[1:]
    for module, name, arguments in calls():
        if wanted and module not in wanted:
            continue
        run = launcher(module, name)
        try:
            kernels = compiled(lambda run=run, arguments=arguments: run(*arguments))  # type: ignore[misc]
        except Exception as error:
            error.add_note(f"compiling {module}.{name}")
            raise
        for kernel in kernels:
            print(f"{module}.{name}: {kernel.name}, {kernel.metadata.shared} bytes shared")


if __name__ == "__main__":
    main()
