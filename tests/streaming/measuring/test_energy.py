"""Meters against counters and programs that stand in for a machine's."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from millrace.streaming.measuring.energy import (
    NoMeter,
    Nvml,
    PowerSamples,
    Rapl,
    find_meter,
)


def package(root: Path, name: str, microjoules: int, most: int = 1_000_000) -> Path:
    folder = root / name
    folder.mkdir()
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{most}\n")
    return folder / "energy_uj"


def test_rapl_adds_packages_and_not_their_parts(tmp_path: Path) -> None:
    one, two = package(tmp_path, "intel-rapl:0", 100), package(tmp_path, "intel-rapl:1", 500)
    part = package(tmp_path, "intel-rapl:0:0", 0)
    meter = find_meter("cpu", powercap=tmp_path)
    meter.begin()
    one.write_text("300100")
    two.write_text("200500")
    part.write_text("999")
    assert meter.end(1.0) == pytest.approx(0.5) and "2 processor packages" in meter.source


def test_rapl_goes_on_past_the_end_of_its_counter(tmp_path: Path) -> None:
    counter = package(tmp_path, "intel-rapl:0", 900_000, most=999_999)
    meter = Rapl(tmp_path)
    meter.begin()
    counter.write_text("100000")
    assert meter.end(1.0) == pytest.approx(0.2)


def test_no_counters_are_said_and_not_made_up(tmp_path: Path) -> None:
    with pytest.raises(NoMeter, match="no energy counters"):
        find_meter("cpu", powercap=tmp_path)
    (package(tmp_path, "intel-rapl:0", 5).parent / "max_energy_range_uj").unlink()
    with pytest.raises(NoMeter, match="max_energy_range_uj"):
        find_meter("cpu", powercap=tmp_path)


class FakeNvml:
    """Counts 2 J more at each look."""

    class NVMLError(Exception):
        pass

    def __init__(self, uuid: str) -> None:
        self._uuid, self._mj = uuid, 0

    def nvmlInit(self) -> None:
        return None

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        if uuid != self._uuid:
            raise self.NVMLError("Not Found")
        return uuid

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:
        assert handle == self._uuid
        self._mj += 2000
        return self._mj


def test_nvml_is_asked_for_the_very_gpu() -> None:
    meter = Nvml(FakeNvml("GPU-1"), "GPU-1")
    meter.begin()
    assert meter.end(1.0) == 2.0
    with pytest.raises(NoMeter, match="Not Found"):
        Nvml(FakeNvml("GPU-1"), "GPU-2")


PROGRAM = """
import sys
assert "--id=GPU-1" in sys.argv and "--query-gpu=power.draw" in sys.argv, sys.argv
print("\\n".join(WATTS) if any(a.startswith("--loop-ms") for a in sys.argv) else ONCE)
"""


def smi(tmp_path: Path, once: str, watts: list[str]) -> list[str]:
    path = tmp_path / "smi.py"
    path.write_text(f"ONCE, WATTS = {once!r}, {watts!r}\n{PROGRAM}")
    return [sys.executable, "-S", str(path)]


def ended(meter: PowerSamples) -> None:
    """The program that stands in prints and ends by itself."""
    running: Any = meter._running
    running.wait(timeout=60)


def test_power_times_time(tmp_path: Path) -> None:
    meter = PowerSamples(smi(tmp_path, "80.0", ["100.0", "[N/A]", "300.0"]), "GPU-1")
    meter.begin()
    ended(meter)
    assert meter.end(2.0) == 400.0


def test_no_sample_is_no_figure(tmp_path: Path) -> None:
    meter = PowerSamples(smi(tmp_path, "80.0", []), "GPU-1")
    meter.begin()
    ended(meter)
    assert meter.end(0.01) is None


def test_a_gpu_that_tells_no_power(tmp_path: Path) -> None:
    with pytest.raises(NoMeter, match="tells no power"):
        PowerSamples(smi(tmp_path, "[N/A]", []), "GPU-1")
    with pytest.raises(NoMeter, match="tells no power"):
        PowerSamples([str(tmp_path / "gone")], "GPU-1")
