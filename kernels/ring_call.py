"""A call of `ring_attention`, and what it must look like for kernels that do not ask the device."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from .quantise import MOST

Two = tuple[Tensor, Tensor]
NARROW = (torch.float16, torch.bfloat16)


Answer = TypeVar("Answer")


class RingCall(NamedTuple):
    """The arguments of `ring_attention`, which says what each is."""

    query: Tensor
    key: Tensor
    value: Tensor
    valid: Tensor
    turn: Tensor | None
    rows: Tensor | None
    full: bool = False
    scales: Two | None = None


def of_ring(function: Callable[[RingCall], Answer]) -> Callable[..., Answer]:
    """The decorated function with the arguments of `ring_attention`, as candidates have them."""

    @wraps(function)
    def run(*arguments: Any) -> Answer:
        return function(RingCall(*arguments))

    return run


def misfit(call: RingCall) -> str:
    """The argument that is wrong and why, or ""; looks at shapes, types, strides and devices."""
    query, key, value, valid, turn, rows, _, scales = call
    if query.dim() != 4:
        return f"query is {_shape(query)}, not [rows, queries, heads, head_dim]"
    asked, _, heads, size = query.shape
    if key.dim() != 5 or key.shape[3:] != (heads, size):
        return f"key is {_shape(key)}, not [all rows, slots, tokens, {heads}, {size}]"
    if value.shape != key.shape or value.stride() != key.stride():
        told = f"strides {value.stride()}; its key {_shape(key)}, strides {key.stride()}"
        return f"value is {_shape(value)}, {told}"
    slots = key.shape[1]
    if valid.shape != (asked, slots) or valid.dtype != torch.bool:
        return f"valid is {valid.dtype} {_shape(valid)}, not bool [{asked}, {slots}]"
    if rows is None and len(key) != asked:
        return f"rows is not given, but query has {asked} rows and key {len(key)}"
    if rows is not None and (rows.shape != (asked,) or rows.dtype != torch.int64):
        return f"rows is {rows.dtype} {_shape(rows)}, not int64 [{asked}]"
    if turn is not None:
        fits = turn.dim() == 4 and len(turn) == asked and turn.shape[3] == 2
        if not fits or turn.shape[1] > slots or turn.shape[2] > size // 2:
            return f"turn is {_shape(turn)}, not [{asked}, <= {slots}, <= {size // 2}, 2]"
    return _scales(key, value, scales) or _kinds(call)


def _scales(key: Tensor, value: Tensor, scales: Two | None) -> str:
    """Codes have scales, and nothing else has."""
    if scales is None:
        return f"scales are not given, but key is {key.dtype}" if key.dtype in MOST else ""
    if key.dtype not in MOST or value.dtype != key.dtype:
        return f"scales are given, but key is {key.dtype} and value {value.dtype}"
    for name, scale in zip(("key_scale", "value_scale"), scales, strict=True):
        if scale.shape != key.shape[:-1] or scale.dtype != torch.float32:
            wanted = ", ".join(map(str, key.shape[:-1]))
            return f"{name} is {scale.dtype} {_shape(scale)}, not float32 [{wanted}]"
    if scales[0].stride() != scales[1].stride():
        return f"value_scale has strides {scales[1].stride()}, key_scale {scales[0].stride()}"
    return ""


def _kinds(call: RingCall) -> str:
    """Data types, devices and innermost strides."""
    query, key, value, valid, turn, rows, _, scales = call
    for name, given in (("key", key), ("value", value)):
        if scales is None and given.dtype != query.dtype:
            return f"{name} is {given.dtype}, the query {query.dtype}"
    for name, other in (("query", query), ("key", key)):
        if other.stride(-1) != 1:
            return f"{name} has a stride of {other.stride(-1)} along head_dim, not 1"
    key_scale, value_scale = scales or (None, None)
    others = {
        "key_scale": key_scale,
        "value_scale": value_scale,
        "key": key,
        "value": value,
        "valid": valid,
        "turn": turn,
        "rows": rows,
    }
    for name, part in others.items():
        if part is not None and part.device != query.device:
            return f"{name} is on {part.device}, the query on {query.device}"
    return ""


def _shape(x: Tensor) -> str:
    return f"[{', '.join(map(str, x.shape))}]"
