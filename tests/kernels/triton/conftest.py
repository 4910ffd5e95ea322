"""Tests in this folder run kernels: interpreted on a CPU, or on a GPU.

Triton decides which when it is imported, so a plain run of the tests leaves this folder to the
process that `tests/kernels/test_triton.py` starts with TRITON_INTERPRET=1, unless there is a GPU.
"""

from __future__ import annotations

import os

import torch

collect_ignore_glob = (
    [] if os.environ.get("TRITON_INTERPRET") == "1" or torch.cuda.is_available() else ["test_*.py"]
)
