"""What this machine has, read from the system and from installed packages. Loads no torch."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from .. import __version__
from ..streaming.room import host_memory

FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8")
"""Processor features that decide how fast the model runs here."""
PACKAGES = ("torch", "triton", "numpy", "av", "aiortc", "gradio", "fastapi", "uvicorn")
CODECS = (
    "libvpx",
    "libvpx-vp9",
    "libx264",
    "libopenh264",
    "libx265",
    "libsvtav1",
    "aac",
    "libopus",
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "OMP_NUM_THREADS", "OMP_WAIT_POLICY")
"""Environment variables, read by libraries, that change speed."""


def facts() -> dict[str, Any]:
    """Everything about this machine as plain data, by topic."""
    return {
        "millrace": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpu": cpu(),
        "memory_mb": memory(),
        "load_average": load_average(),
        "packages": versions(PACKAGES),
        "switches": {name: os.environ[name] for name in SWITCHES if name in os.environ},
    }


def cpu() -> dict[str, Any]:
    """Model, the features that matter, and how many cores this process may use."""
    info = _cpuinfo()
    present = set(info.get("flags", info.get("Features", "")).split())
    return {
        "model": info.get("model name", platform.processor() or platform.machine()),
        "machine": platform.machine(),
        "cores": os.cpu_count() or 1,
        "usable_cores": usable_cores(),
        "flags": [flag for flag in FLAGS if flag in present],
    }


def _cpuinfo() -> dict[str, str]:
    """The first processor's paragraph of /proc/cpuinfo; empty where there is none."""
    file = Path("/proc/cpuinfo")
    if not file.exists():
        return {}
    first = file.read_text("utf-8", "replace").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def usable_cores() -> float:
    """Cores that the scheduler and a container's quota leave to this process."""
    cores = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0)
    cores = cores or float(os.cpu_count() or 1)
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.exists():
        limit, _, period = quota.read_text("ascii").partition(" ")
        if limit.isdecimal():
            cores = min(cores, int(limit) / int(period))
    return cores


def memory() -> dict[str, int]:
    """Total and available memory in MB; empty where the system does not say."""
    return {name: size >> 20 for name, size in host_memory().items()}


def load_average() -> list[float]:
    return [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else []


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Installed version of each package, or "not installed"."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def browser() -> str:
    """Version line of the Chromium that browser tests and benchmarks use, or empty."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        return ""
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{path}: {error}"
    return f"{done.stdout.strip()} ({path})"


def codecs() -> dict[str, bool]:
    """Which of the encoders that Millrace may use PyAV was built with."""
    import av

    return {name: name in av.codecs_available for name in CODECS}
