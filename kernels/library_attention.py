"""Attention of libraries over a ring: PyTorch's own kernels, and FlashAttention and SageAttention
where they are installed.

Dense ones need every slot to be seen by every row, which only the caller can promise (`full`):
asking the device would wait for it. A row of a ring with holes is still a list of pages for
FlashAttention 3, in the order in which they are seen.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

import torch
import torch.nn.functional as functional
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from .attention import plain_ring
from .dispatch import candidate
from .ring_call import NARROW, RingCall, Two, misfit, of_ring
from .rope import rope

Attend = Callable[..., Tensor]


class _Allowed:
    """Whether attention in 8 bits may be taken: it changes the picture, so it is off until someone
    has looked at its error (`allow_quantised_attention`)."""

    quantised = False


def allow_quantised_attention(allowed: bool) -> None:
    """Let candidates that compute in 8 bits run; call it before the first pass."""
    _Allowed.quantised = allowed


def fits_narrow(call: RingCall) -> str:
    """What all of these libraries need."""
    if call.query.dtype not in NARROW:
        return f"query is {call.query.dtype}; this library takes float16 and bfloat16"
    return _narrow_head(call.query) or misfit(call)


def fits_full(call: RingCall) -> str:
    """A dense kernel over all slots."""
    if not call.full:
        return "full is not promised, and a dense kernel sees every slot"
    return fits_narrow(call)


def fits_plain(call: RingCall) -> str:
    """Keys read where they lie: they must not be turned, nor be codes."""
    if call.scales is not None:
        return "scales are given, and this kernel reads values, not codes"
    if call.turn is not None:
        return "turn is given, and this kernel reads keys as they lie"
    return fits_narrow(call)


def fits_plain_full(call: RingCall) -> str:
    """Dense, and keys read where they lie."""
    return fits_plain(call) or fits_full(call)


def fits_quantised(call: RingCall) -> str:
    """Dense, in 8 bits."""
    if not _Allowed.quantised:
        return "it computes in 8 bits, which is off (allow_quantised_attention)"
    if call.query.shape[-1] not in (64, 96, 128):
        return f"query has a head_dim of {call.query.shape[-1]}; SageAttention takes 64, 96 and 128"
    return fits_full(call)


def dense(call: RingCall) -> Two:
    """All keys, turned, and values of each row, [rows, slots * tokens, heads, head_dim].

    Views of the ring where no sink is turned, rows are in order and values are stored; else copies.
    """
    key, value = plain_ring(call.key, call.value, call.rows, call.scales, call.query.dtype)
    if call.turn is not None:
        turned = call.turn.shape[1]
        placed = rope(key[:, :turned], call.turn[:, :, None, None])
        key = torch.cat((placed, key[:, turned:]), 1)
    return key.flatten(1, 2), value.flatten(1, 2)


def pages(valid: Tensor, rows: Tensor | None, tokens: int) -> tuple[Tensor, Tensor]:
    """The slots that each row sees as pages of a cache, the seen ones first.

    Args:
        valid: bool [rows, slots].
        rows: see `ring_attention`.
        tokens: of a slot.

    Returns:
        Number of each page in the whole ring, int32 [rows, slots], and keys seen, int32 [rows].
    """
    asked, slots = valid.shape
    place = torch.arange(asked, device=valid.device) if rows is None else rows
    order = torch.argsort(valid, dim=1, descending=True, stable=True)
    table = place[:, None] * slots + order
    return table.int(), (valid.sum(1) * tokens).int()


def _sdpa(backend: SDPBackend, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """PyTorch's attention with one of its kernels and no other; heads are the third dimension."""
    asked, keys, values = (part.transpose(1, 2) for part in (query, key, value))
    with sdpa_kernel(backend):
        return functional.scaled_dot_product_attention(asked, keys, values).transpose(1, 2)


def fits_dense(query: Tensor, key: Tensor, value: Tensor, valid: Tensor | None) -> str:
    """A call of `attention` for a dense kernel."""
    if valid is not None:
        return "valid is given, and a dense kernel sees every key"
    for name, part in (("query", query), ("key", key), ("value", value)):
        if part.dtype not in NARROW:
            return f"{name} is {part.dtype}; this library takes float16 and bfloat16"
        if part.stride(-1) != 1:
            return f"{name} has a stride of {part.stride(-1)} along head_dim, not 1"
    return _narrow_head(query)


def _narrow_head(query: Tensor) -> str:
    if query.shape[-1] % 8 or query.shape[-1] > 256:
        return f"query has a head_dim of {query.shape[-1]}; multiples of 8 up to 256 are taken"
    return ""


def _backend(backend: SDPBackend) -> Attend:
    """One of PyTorch's kernels over a ring."""

    @of_ring
    def run(call: RingCall) -> Tensor:
        return _sdpa(backend, call.query, *dense(call))

    return run


def _plain_backend(backend: SDPBackend) -> Attend:
    """One of PyTorch's kernels as `attention`."""

    def run(query: Tensor, key: Tensor, value: Tensor, valid: Tensor | None) -> Tensor:
        return _sdpa(backend, query, key, value)

    return run


@of_ring
def flash_attention_2(call: RingCall) -> Tensor:
    """`flash_attn_with_kvcache`, told which rows of the ring to read."""
    library = import_module("flash_attn")
    keys, values = call.key.flatten(1, 2), call.value.flatten(1, 2)
    own = None if call.rows is None else call.rows.int()
    return library.flash_attn_with_kvcache(call.query, keys, values, cache_batch_idx=own)


@of_ring
def flash_attention_3(call: RingCall) -> Tensor:
    """`flash_attn_with_kvcache` of Hopper, the ring's slots as pages; it splits keys by itself."""
    library = import_module("flash_attn_interface")
    table, seen = pages(call.valid, call.rows, call.key.shape[2])
    keys, values = call.key.flatten(0, 1), call.value.flatten(0, 1)
    out = library.flash_attn_with_kvcache(
        call.query, keys, values, cache_seqlens=seen, page_table=table
    )
    return out[0] if isinstance(out, tuple) else out


@of_ring
def sage_attention(call: RingCall) -> Tensor:
    """SageAttention: scores in int8, sums in fp8 or float16 (arXiv 2411.10958)."""
    library = import_module("sageattention")
    keys, values = dense(call)
    return library.sageattn(call.query, keys, values, tensor_layout="NHD", is_causal=False)


def _register() -> None:
    register = ("ring_attention", "cuda")
    for name, backend in (
        ("sdpa-flash", SDPBackend.FLASH_ATTENTION),
        ("sdpa-cudnn", SDPBackend.CUDNN_ATTENTION),
    ):
        candidate(*register, name, of_ring(fits_full), library=True)(_backend(backend))
        candidate("attention", "cuda", name, fits_dense, library=True)(_plain_backend(backend))
    for package, name, fits, run in (
        ("flash_attn", "flash-attention-2", fits_plain_full, flash_attention_2),
        ("flash_attn_interface", "flash-attention-3", fits_plain, flash_attention_3),
        ("sageattention", "sage-attention", fits_quantised, sage_attention),
    ):
        if find_spec(package) is not None:
            candidate(*register, name, of_ring(fits), library=True)(run)


_register()
