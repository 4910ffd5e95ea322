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
from millrace.kernels.dispatch import TABLE
from millrace.kernels.providers import load

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
    yield "norm", "modulated_layer_norm_e4m3", (x, part, part, 1e-6)
    yield "rows", "quantise_rows", (x,)
    yield "rows", "quantise_rows", (empty(1, 64, 8960), True)
    for name in ("gated_residual_norm", "gated_residual_norm_wide"):
        yield "norm", name, (x, x, part, part, part, 1e-6)
    yield "norm", "gated_residual_norm", (x, x, part, empty(1536), empty(1536), 1e-6, False)
    yield from into_ring()
    yield from noisy()
    for call in ring_calls():
        for name in ("ring_attention_tiles", "ring_attention_split"):
            yield "ring_attention", name, call
    yield from picture_calls()
    yield from clip_calls()


def clip_calls() -> Iterator[tuple[str, str, tuple[object, ...]]]:
    """The widest and the narrowest level of the Wan VAE, and a block of TAEHV."""
    only = torch.ones(2, dtype=torch.bool)
    for channels, kept, norm in ((384, 2, True), (96, 1, False)):
        x, past = empty(2, 4, 60, 104, channels), empty(2, kept, 60, 104, channels)
        yield "clip", "causal_clip", (x, past, only, empty(channels) if norm else None, 1e-24)
    x, past = torch.zeros(2, 2, 8, 8, 64, dtype=NARROW), empty(2, 1, 8, 8, 64)
    yield "clip", "memory_conv", (x, empty(64, 128, 3, 3), empty(64), past, only)


def picture_calls() -> Iterator[tuple[str, str, tuple[object, ...]]]:
    codes, picture = torch.empty(4, 720, 832, dtype=torch.uint8), empty(4, 3, 480, 832)
    yield "color", "i420_to_rgb", (codes, NARROW)
    yield "color", "i420_to_rgb_sized", (codes, (512, 512), torch.float32)
    yield "color", "rgb_to_i420", (picture,)
    yield "color", "rgb_to_i420_sized", (picture, (360, 640))


def ring_calls() -> Iterator[tuple[object, ...]]:
    """Two rows of Wan 2.1 1.3B with sinks; one of small heads, with an odd number of tokens."""
    key, rows = empty(3, 9, 1560, 12, 128), torch.zeros(2, dtype=torch.int64)
    turn = empty(2, 2, 22, 2, dtype=torch.float32)
    yield empty(2, 1560, 12, 128), key, key, torch.ones(2, 9, dtype=torch.bool), turn, rows
    scale = empty(3, 9, 1560, 12, dtype=torch.float32)
    for narrow in (torch.float8_e4m3fn, torch.int8):
        codes, valid = key.to(narrow), torch.ones(2, 9, dtype=torch.bool)
        eight = (codes, codes, valid, turn, rows, False, (scale, scale))
        yield empty(2, 1560, 12, 128), *eight
    key = empty(1, 5, 77, 1, 48)
    yield empty(1, 154, 1, 48), key, key, torch.ones(1, 5, dtype=torch.bool), None, None


def noisy() -> Iterator[tuple[str, str, tuple[object, ...]]]:
    words = [torch.zeros(2, dtype=torch.int64)] * 3
    yield "noise", "gaussian_noise", (*words, 99_840)
    x, sigma = empty(2, 3, 16, 60, 104), torch.ones(2, 3, dtype=torch.float64)
    yield "noise", "flow_step_noised", (x, x, sigma, sigma, *words)


def into_ring() -> Iterator[tuple[str, str, tuple[object, ...]]]:
    """The write into rings of each type; the first as a plain call, the others with all options."""
    rows, frames, tokens, heads, size = 2, 3, 64, 12, 128
    products = empty(rows, frames, tokens, 3, heads * size).unbind(-2)
    norm = (empty(heads * size), empty(heads * size))
    turn = empty(1, frames, tokens, 1, size // 2, 2, dtype=torch.float32)
    slots, own = empty(rows, frames, dtype=torch.int64), empty(rows, dtype=torch.int64)
    mask = empty(rows, dtype=torch.bool)
    for dtype in (NARROW, torch.int8, torch.float8_e4m3fn):
        ring = (empty(4, 9, tokens, heads, size, dtype=dtype),) * 2
        whole: tuple[object, ...] = (None, None, None)
        if dtype != NARROW:
            whole = (mask, own, (empty(4, 9, tokens, heads, dtype=torch.float32),) * 2)
        yield "ring_input", "norm_rope_write", (products, norm, turn, 1e-6, ring, slots, *whole)
        scale = None if dtype == NARROW else empty(2, 4, 9, tokens, heads, dtype=torch.float32)
        keys = empty(2, 4, 9, tokens, heads, size, dtype=dtype)
        yield "turn", "turn_keys", (keys, empty(4, 9, 22, 2, dtype=torch.float32), None, scale)
    x, weight, bias = empty(1, 3, 64, 8), (empty(1536, 8),) * 3, (empty(1536),) * 3
    yield "ring_input", "query_key_value", (x, weight, bias, norm, turn, 1e-6)


def launchers() -> set[str]:
    """Every launcher of ours that the dispatcher may choose, as "module.name"; but for those that
    a function has made of another one, which are called `run`."""
    load("cuda")
    home = "millrace.kernels.triton."
    ways = [way.run for operation in TABLE.values() for way in operation.candidates.get("cuda", [])]
    return {
        f"{way.__module__.removeprefix(home)}.{way.__name__}"
        for way in ways
        if way.__module__.startswith(home) and way.__name__ != "run"
    }


def main() -> None:
    wanted = sys.argv[1:]
    left_out = launchers() - {f"{module}.{name}" for module, name, _ in calls()}
    assert not left_out, f"not compiled here: {sorted(left_out)}"
    for module, name, arguments in calls():
        if wanted and module not in wanted:
            continue
        run = launcher(module, name)
        try:
            kernels = compiled(lambda run=run, arguments=arguments: run(*arguments))
        except Exception as error:
            error.add_note(f"compiling {module}.{name}")
            raise
        for kernel in kernels:
            print(f"{module}.{name}: {kernel.name}, {kernel.metadata.shared} bytes shared")


if __name__ == "__main__":
    main()
