"""A call of every operation, in the sizes of a model: what `millrace bench kernels` measures.

An operation is given its samples by `@samples(name)`, in a module that is imported here; a test
holds that none is left out.
"""

from __future__ import annotations

from . import samples_pictures, samples_transformer
from .dispatch import TABLE
from .sample_work import MAKERS, Draw, Sample, Work

__all__ = ["MAKERS", "Sample", "Work", "samples_of", "samples_pictures", "samples_transformer"]


def samples_of(op: str, work: Work, seed: int = 0) -> list[Sample]:
    """The calls of one operation.

    Raises:
        KeyError: there is no such operation.
    """
    TABLE[op]
    return [Sample(op, *made) for made in MAKERS[op](work, Draw(work, seed))]
