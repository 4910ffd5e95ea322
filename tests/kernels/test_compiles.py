"""Every Triton kernel compiles for a Hopper GPU, on a machine that has none."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "triton_compiles.py"


@pytest.mark.slow
@pytest.mark.timeout(1200)  # half a minute of an idle core, and cores may be busy
@pytest.mark.skipif(
    importlib.util.find_spec("triton") is None,
    reason="needs the extra `triton`, which exists for Linux on x86-64",
)
def test_kernels_compile_for_hopper(tmp_path: Path) -> None:
    environment = {key: os.environ[key] for key in os.environ if key != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, PROGRAM],
        env={**environment, "TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for told in (
        "clip.causal_clip: clip_kernel",
        "clip.memory_conv: shifted_sum_kernel",
        "color.i420_to_rgb: to_rgb_kernel",
        "color.rgb_to_i420_sized: to_i420_kernel",
        "norm.modulated_layer_norm: _norm_kernel",
        "ring_attention.ring_attention_tiles: tiles_kernel",
        "ring_attention.ring_attention_split: merge_kernel",
    ):
        assert told in done.stdout, done.stdout
