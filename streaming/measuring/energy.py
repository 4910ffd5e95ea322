"""Energy that a device takes: counters of NVML or RAPL, else the power that nvidia-smi tells.

Where nothing tells, that is said, and no figure is made up. Loads no torch.
"""

from __future__ import annotations

import importlib
import subprocess
import threading
from pathlib import Path
from typing import Any, Protocol

POWERCAP = Path("/sys/class/powercap")
SAMPLE_MS = 100


class Meter(Protocol):
    """Tells the energy between `begin` and `end`.

    Attributes:
        source: what is read, and of what.
    """

    @property
    def source(self) -> str: ...

    def begin(self) -> None: ...

    def end(self, seconds: float) -> float | None:
        """Joules since `begin`, `seconds` ago; None when that was too short to tell."""
        ...


class NoMeter(RuntimeError):
    """Nothing here tells energy; the message says what was looked for."""


def find_meter(device: str, uuid: str = "", powercap: Path = POWERCAP) -> Meter:
    """The best meter of a device.

    Args:
        uuid: of the GPU, as the driver writes it ("GPU-..."), since programs may number them in
            other ways.

    Raises:
        NoMeter: there is none.
    """
    if device.startswith("cuda"):
        return _gpu_meter(uuid)
    return Rapl(powercap)


def _gpu_meter(uuid: str) -> Meter:
    try:
        return Nvml(importlib.import_module("pynvml"), uuid)
    except ImportError:
        why = "pynvml is not installed"
    except NoMeter as error:
        why = str(error)
    try:
        return PowerSamples(["nvidia-smi"], uuid)
    except NoMeter as error:
        raise NoMeter(f"{why}; {error}") from error


class Nvml:
    """The GPU's own energy counter (Volta and later), through pynvml (package nvidia-ml-py).

    Raises:
        NoMeter: the driver refuses.
    """

    source = "NVML's energy counter of the GPU"

    def __init__(self, pynvml: Any, uuid: str) -> None:
        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            self._before = self._joules()
        except pynvml.NVMLError as error:
            raise NoMeter(f"NVML has no energy counter here ({error})") from error

    def _joules(self) -> float:
        return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1e3

    def begin(self) -> None:
        self._before = self._joules()

    def end(self, seconds: float) -> float:
        return self._joules() - self._before


class PowerSamples:
    """Power as nvidia-smi samples it, times the time.

    Args:
        program: nvidia-smi, or what stands in for it.

    Raises:
        NoMeter: it is not there, or has no figure for this GPU.
    """

    source = f"nvidia-smi's power of the GPU, every {SAMPLE_MS} ms"

    def __init__(self, program: list[str], uuid: str) -> None:
        self._command = [
            *program, f"--id={uuid}", "--query-gpu=power.draw", "--format=csv,noheader,nounits"
        ]  # fmt: skip
        self._running: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._watts: list[float] = []
        try:
            once = subprocess.run(
                self._command, capture_output=True, text=True, timeout=20, check=True
            )
            float(once.stdout)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            raise NoMeter(f"nvidia-smi tells no power ({error})") from error

    def begin(self) -> None:
        self._watts = []
        command = [*self._command, f"--loop-ms={SAMPLE_MS}"]
        self._running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, args=(self._running,), daemon=True)
        self._reader.start()

    def _read(self, running: subprocess.Popen[str]) -> None:
        assert running.stdout is not None
        for line in running.stdout:
            # Now and then it has none: "[N/A]".
            if line.strip().replace(".", "", 1).isdecimal():
                self._watts.append(float(line))

    def end(self, seconds: float) -> float | None:
        assert self._running is not None and self._reader is not None
        self._running.terminate()
        self._reader.join()
        self._running.wait()
        if not self._watts:
            return None
        return sum(self._watts) / len(self._watts) * seconds


class Rapl:
    """The processor packages' counters, which count all that runs on them.

    Args:
        root: of the power capping files.

    Raises:
        NoMeter: there are no counters, or they may not be read.
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        # Of a package, not of its parts, which it includes ("intel-rapl:0:1").
        found = [path for path in sorted(root.glob("intel-rapl:*")) if path.name.count(":") == 1]
        self._packages = [path for path in found if (path / "energy_uj").is_file()]
        if not self._packages:
            raise NoMeter(f"this machine shows no energy counters of its processor ({root})")
        try:
            self._before = [self._read(path) for path in self._packages]
            self._wraps = [self._read(path, "max_energy_range_uj") for path in self._packages]
        except OSError as error:
            raise NoMeter(f"{error.filename}: {error.strerror}; root may read it") from error
        self.source = f"RAPL of {len(self._packages)} processor packages, whatever runs on them"

    def _read(self, path: Path, file: str = "energy_uj") -> int:
        return int((path / file).read_text("ascii"))

    def begin(self) -> None:
        self._before = [self._read(path) for path in self._packages]

    def end(self, seconds: float) -> float:
        total = 0
        for path, before, wrap in zip(self._packages, self._before, self._wraps, strict=True):
            # The counter begins anew at its end.
            total += (self._read(path) - before) % (wrap + 1)
        return total / 1e6
