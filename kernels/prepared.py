"""Weights brought into the form that an operation wants, once, and what a CPU's oneDNN can fuse.

A prepared form is kept on the weight itself: it lives and dies with it and is made again when the
weight was written or replaced, as `load_state_dict`, `to` and optimisers do. Only running uses it;
training goes through the references, which differentiate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor

Form = TypeVar("Form")
_KEPT = "_millrace_prepared"
_PLAIN = "_millrace_plain"
MOST_FORMS = 8
"""Forms of one weight that are kept, for the sizes of picture now in use; the oldest goes first."""


def prepared(sources: tuple[Tensor, ...], make: Callable[..., Form], *settings: Any) -> Form:
    """`make(*sources, *settings)`, made anew only when a source has changed since.

    Writes through `.data` or under inference mode leave no trace on a tensor; so does nothing that
    this project does to weights.

    Args:
        sources: the first one keeps the result; no inference tensors.
        make: a module-level function; (make, settings) tells one form of a weight from another.
    """
    mark = [(source.data_ptr(), source._version) for source in sources]
    kept: dict[Any, tuple[Any, Form]] | None = getattr(sources[0], _KEPT, None)
    if kept is None:
        kept = {}
        setattr(sources[0], _KEPT, kept)
    entry = kept.get((make, settings))
    if entry is None or entry[0] != mark:
        if len(kept) == MOST_FORMS:
            del kept[next(iter(kept))]
        with torch.no_grad():
            entry = kept[make, settings] = (mark, make(*sources, *settings))
    return entry[1]


def keep_plain(weights: Iterable[Tensor]) -> None:
    """Never make another form of these weights: for a model of gigabytes a second copy costs more
    than the tenth of the time that it saves (wide products gain little from packed weights)."""
    for weight in weights:
        setattr(weight, _PLAIN, True)


def side_by_side(parts: Sequence[Tensor]) -> Tensor | None:
    """The tensor [sum of lengths, ...] that contiguous parts are consecutive slices of, or None
    where they are not: nothing is copied."""
    first = parts[0]
    memory, place, size = first.untyped_storage(), first.storage_offset(), first.shape[1:]
    for part in parts:
        alike = part.dtype == first.dtype and part.shape[1:] == size and part.is_contiguous()
        if not alike or part.untyped_storage()._cdata != memory._cdata:
            return None
        if part.storage_offset() != place:
            return None
        place += part.numel()
    return first.detach().as_strided((sum(map(len, parts)), *size), first.stride())


def lay_side_by_side(parts: Sequence[Tensor]) -> None:
    """Make the memory of parameters of one width a single tensor, of which each is a slice."""
    joint = torch.cat([part.detach() for part in parts])
    for part, slice_ in zip(parts, joint.split([len(part) for part in parts]), strict=True):
        part.data = slice_


def stays_plain(weight: Tensor) -> bool:
    """Whether `keep_plain` was asked for this weight."""
    return hasattr(weight, _PLAIN)


def fuses(x: Tensor, weight: Tensor) -> bool:
    """Whether the fused operations of oneDNN may be used: running, in a type that it computes, on
    weights that may have another form."""
    return (
        x.dtype == weight.dtype
        and x.dtype in _fused_types()
        and not torch.is_grad_enabled()
        and not weight.is_inference()
        and not stays_plain(weight)
        and not torch.is_autocast_enabled("cpu")
    )


@cache
def _fused_types() -> frozenset[torch.dtype]:
    native = torch.ops.mkldnn
    names = ("_convolution_pointwise", "_linear_pointwise", "_reorder_linear_weight")
    if not torch.backends.mkldnn.is_available() or not all(hasattr(native, n) for n in names):
        return frozenset()
    narrow = {torch.bfloat16} if native._is_mkldnn_bf16_supported() else set()
    return frozenset({torch.float32} | narrow)
