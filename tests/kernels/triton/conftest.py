"""Tests in this folder run kernels: interpreted on a CPU, or on a GPU.

Triton decides which when it is imported, so a plain run of the tests leaves this folder to the
process that `tests/kernels/test_triton.py` starts with TRITON_INTERPRET=1, unless there is a GPU.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
RUNS = INTERPRETED or (torch.cuda.is_available() and find_spec("triton") is not None)
collect_ignore_glob = [] if RUNS else ["test_*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """On a GPU all of them need it; in the interpreter only those that say so."""
    here = Path(__file__).parent
    for item in items:
        if not INTERPRETED and here in item.path.parents:
            item.add_marker(pytest.mark.gpu)
