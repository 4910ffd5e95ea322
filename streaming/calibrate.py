"""The only measurement at start: which data type and how many threads suit this CPU.

Sample work in the shapes of the embedded model runs with each candidate for some tenths of a
second; the best of a few rounds counts, so that a busy neighbour disturbs little. The answer is
kept in a file for the next start. bfloat16 is 1.5 to 3 times faster than float32 on CPUs with
matrix units for it and many times slower without, so a guess would be costly.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import math
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as functional

from ..kernels import attention
from . import cores as core_choice
from .clock import Clock
from .config import DTYPES, Facts, Options, Timing

_log = logging.getLogger(__name__)
BUDGET_S = 0.6
MAX_ROUNDS = 12
HOPELESS = 4.0
"""A data type this many times slower than the other is not tried again."""
MAX_THREADS = 8
SWITCHES = (
    "ATEN_CPU_CAPABILITY",
    "DNNL_MAX_CPU_ISA",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_MAX_CPU_ISA",
    "OMP_WAIT_POLICY",
)
"""Environment variables that change how fast PyTorch runs; they are part of the file's key."""


def measure(
    options: Options, clock: Clock, cache: Path | None = None, fresh: bool = False
) -> Facts:
    """Facts about this machine. Measures the CPU only if the options leave something open for it.

    Args:
        clock: what the sample work is timed with.
        cache: folder to keep the measurement in; None for the user's own.
        fresh: measure even if there is a kept one.
    """
    gpus = tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    cores = usable_cores()
    on_cpu = options.device == "cpu" or (options.device == "auto" and not gpus)
    if not on_cpu:
        return Facts(cores, gpus)
    folder = cache or cache_folder(os.environ)
    bound = core_choice.can_bind(), core_choice.read(compared_file(folder))
    if options.dtype != "auto" and options.threads:
        return Facts(cores, gpus, (), *bound)
    file = folder / f"cpu-{_key(cores, os.environ)}.json"
    timings = None if fresh else _read(file)
    if timings is None:
        timings = _time_all(cores, clock)
        _write(file, timings)
    return Facts(cores, gpus, timings, *bound)


def usable_cores() -> int:
    """Cores that this process may use: its affinity, and a container's quota (cgroup 2)."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else (os.cpu_count() or 1)
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text("ascii").split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, math.ceil(int(quota) / int(period))))


def compared_file(folder: Path) -> Path:
    """Where it is kept whether cores of its own suit the model on this machine."""
    return folder / f"cores-{_key(usable_cores(), os.environ)}.json"


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Where this user's measurements belong: MILLRACE_CACHE, or as XDG base directories say."""
    if named := environment.get("MILLRACE_CACHE"):
        return Path(named).expanduser()
    base = environment.get("XDG_CACHE_HOME") or environment.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "millrace"


def thread_counts(cores: int) -> list[int]:
    """Counts worth trying: powers of two, all cores, and all but one."""
    powers = {1 << n for n in range(MAX_THREADS.bit_length())}
    return sorted(n for n in powers | {cores - 1, cores} if 1 <= n <= min(cores, MAX_THREADS))


def _time_all(cores: int, clock: Clock) -> tuple[Timing, ...]:
    before = torch.get_num_threads()
    work = {dtype: _sample(getattr(torch, dtype)) for dtype in DTYPES}
    best: dict[tuple[str, int], float] = {}
    end = clock.now() + BUDGET_S
    with torch.inference_mode():
        for round_number in range(MAX_ROUNDS):
            for dtype, threads in itertools.product(DTYPES, thread_counts(cores)):
                if _hopeless(dtype, best):
                    continue
                torch.set_num_threads(threads)
                start = clock.now()
                work[dtype]()
                took = clock.now() - start
                best[dtype, threads] = min(best.get((dtype, threads), took), took)
            # The first round pays for one-time choices inside PyTorch; one more is the least.
            if clock.now() >= end and round_number:
                break
    torch.set_num_threads(before)
    return tuple(Timing(*candidate, round(1e3 * took, 3)) for candidate, took in best.items())


def _hopeless(dtype: str, best: Mapping[tuple[str, int], float]) -> bool:
    own = [took for (kind, _), took in best.items() if kind == dtype]
    return bool(own) and min(own) > HOPELESS * min(best.values())


def _sample(dtype: torch.dtype) -> Callable[[], None]:
    """A block's worth of work: the MLP on 256 tokens, attention to a window of five frames, and a
    convolution of the stem at 32 x 32."""
    tokens = torch.randn(256, 256, dtype=dtype)
    up, down = torch.randn(1024, 256, dtype=dtype), torch.randn(256, 1024, dtype=dtype)
    query, keys = torch.randn(1, 256, 4, 64, dtype=dtype), torch.randn(1, 1280, 4, 64, dtype=dtype)
    layout = torch.channels_last
    image = torch.randn(1, 128, 32, 32, dtype=dtype).to(memory_format=layout)
    weight = torch.randn(128, 128, 3, 3, dtype=dtype).to(memory_format=layout)

    def once() -> None:
        functional.linear(functional.linear(tokens, up), down)
        attention(query, keys, keys)
        functional.conv2d(image, weight, padding=1)

    return once


def machine(device: str) -> list[str]:
    """What the processor and PyTorch are, as text; other words mean other times."""
    facts = _processor(usable_cores(), os.environ)
    return facts if device == "cpu" else [*facts, torch.cuda.get_device_name(device)]


def _processor(cores: int, environment: Mapping[str, str]) -> list[str]:
    switches = [f"{name}={environment.get(name, '')}" for name in SWITCHES]
    return [_cpu_model(), torch.__version__, str(cores), *switches]


def _key(cores: int, environment: Mapping[str, str]) -> str:
    text = "\n".join(_processor(cores, environment))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _cpu_model() -> str:
    """Model and instruction sets: the same model under another hypervisor may lack some."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    wanted = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))


def _read(file: Path) -> tuple[Timing, ...] | None:
    try:
        kept: list[tuple[str, int, float]] = json.loads(file.read_text("utf-8"))
        return tuple(Timing(str(dtype), int(threads), float(ms)) for dtype, threads, ms in kept)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        _log.warning("%s cannot be read (%s); measuring again", file, error)
        return None


def _write(file: Path, timings: Sequence[Timing]) -> None:
    text = json.dumps([[t.dtype, t.threads, t.ms] for t in timings])
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}")
        part.write_text(text, "utf-8")
        part.replace(file)
    except OSError as error:
        _log.warning("the measurement was not kept in %s: %s", file, error)
