"""Runs the folder `triton` in a process of its own, with Triton's interpreter."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "triton"


@pytest.mark.slow
@pytest.mark.timeout(1200)  # one process; half a minute of an idle core, and cores may be busy
@pytest.mark.skipif(
    importlib.util.find_spec("triton") is None,
    reason="needs the extra `triton`, which exists for Linux on x86-64",
)
def test_kernels_in_the_interpreter() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(FOLDER)],
        cwd=FOLDER.parents[2],
        env={**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout, done.stdout


def test_without_triton_everything_else_works() -> None:
    """Also where it is installed it is not loaded before a GPU is asked for."""
    program = (
        "import sys\n"
        "import millrace.kernels, torch\n"
        "assert 'triton' not in sys.modules\n"
        "sys.modules['triton'] = None\n"
        "from millrace.kernels import providers\n"
        "told = providers.load('cuda')\n"
        "kernels = [why for name, why in told.items() if name.startswith('triton.')]\n"
        "assert kernels and set(kernels) == {'triton is not installed'}, told\n"
        "x = torch.ones(1, 2, 4)\n"
        "one = torch.ones(1, 1, 4)\n"
        "millrace.kernels.gated_residual_norm(x, x, one, one, one, 1e-6)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
