"""The web process's part of the captions loads no torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[3] / "streaming" / "captions"
USES_TORCH = {
    "answering",
    "choosing",
    "engine",
    "keeping",
    "offline",
    "passes",
    "registry",
    "ringing",
    "trial",
    "turns",
}
"""Modules that may load torch. Whatever is not named here must not."""


def test_all_but_the_engine_loads_no_torch() -> None:
    names = [
        f"millrace.streaming.captions.{file.stem}"
        for file in sorted(FOLDER.glob("*.py"))
        if file.stem not in USES_TORCH
    ]
    program = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, f'{name} loads torch'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *names], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_the_list_names_what_exists() -> None:
    assert {file.stem for file in FOLDER.glob("*.py")} >= USES_TORCH
