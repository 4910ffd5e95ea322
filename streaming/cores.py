"""Cores that the model has for itself, and those that the codecs, the page and all else share.

Whether such a division pays is measured (`millrace doctor --cores`) and kept; without a measurement
the system's scheduler decides. Only systems that can bind a process to cores take part (Linux).
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

_log = logging.getLogger(__name__)
FASTER, SOONER = 1.02, 0.95
"""Apart is chosen where in every round it gave this many times the pictures; or as many, save for
`SAME`, and 95 of 100 were on the page within this share of the time."""
SAME = 0.99


@dataclass(frozen=True, slots=True)
class Round:
    """One comparison: pictures a second, and milliseconds in which 95 of 100 were seen."""

    shared_fps: float
    apart_fps: float
    shared_ms: float
    apart_ms: float


@dataclass(frozen=True, slots=True)
class Compared:
    """A measurement that was kept."""

    rounds: tuple[Round, ...]

    @property
    def apart(self) -> bool:
        """Whether cores of its own were better for the model in every round."""
        if not self.rounds:
            return False
        faster = all(r.apart_fps >= FASTER * r.shared_fps for r in self.rounds)
        as_fast = all(r.apart_fps >= SAME * r.shared_fps for r in self.rounds)
        return faster or (as_fast and all(r.apart_ms <= SOONER * r.shared_ms for r in self.rounds))

    def told(self) -> str:
        """The figures, for a sentence."""
        apart, shared = ("/".join(f"{rate:.1f}" for rate in rates) for rates in self._rates())
        soon, late = ("/".join(f"{ms:.0f}" for ms in times) for times in self._times())
        return f"{apart} frames/s apart and {shared} shared, p95 {soon} and {late} ms"

    def _rates(self) -> tuple[list[float], list[float]]:
        return [r.apart_fps for r in self.rounds], [r.shared_fps for r in self.rounds]

    def _times(self) -> tuple[list[float], list[float]]:
        return [r.apart_ms for r in self.rounds], [r.shared_ms for r in self.rounds]


@dataclass(frozen=True, slots=True)
class Division:
    """Numbers of the cores of the model, and of those for all else."""

    model: tuple[int, ...]
    others: tuple[int, ...]


def can_bind() -> bool:
    """Whether this system binds processes to cores."""
    return hasattr(os, "sched_setaffinity") and Path("/proc/self/task").is_dir()


def allowed() -> tuple[int, ...]:
    """Cores that the calling thread may use, those of one chip and one core side by side."""
    return tuple(sorted(os.sched_getaffinity(0), key=_place))


def divide(cores: Sequence[int], threads: int) -> Division | None:
    """The last ones for as many threads of the model; None where nothing would be left."""
    if not 0 < threads < len(cores):
        return None
    return Division(tuple(cores[-threads:]), tuple(cores[:-threads]))


def _place(cpu: int) -> tuple[int, int, int]:
    folder = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
    try:
        chip, core = (
            int((folder / name).read_text("ascii")) for name in ("physical_package_id", "core_id")
        )
    except (OSError, ValueError):
        return 0, cpu, cpu
    return chip, core, cpu


_before: set[int] = set()
"""What this process might use before it was bound; empty while it is not."""


def keep_to(cores: Sequence[int]) -> None:
    """Bind this process, each of its threads and those that they will make, to these cores."""
    if not _before:
        _before.update(os.sched_getaffinity(0))
    for task in os.listdir("/proc/self/task"):
        try:
            os.sched_setaffinity(int(task), cores)
        except ProcessLookupError:
            pass  # that thread has ended meanwhile


@contextmanager
def unbound() -> Iterator[None]:
    """For starting a process that is to see all cores, whatever this one is bound to."""
    if not _before:
        yield
        return
    now = os.sched_getaffinity(0)
    os.sched_setaffinity(0, _before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, now)


def read(file: Path) -> Compared | None:
    """What was kept; None where nothing was, or it cannot be read, which is logged."""
    try:
        return Compared(tuple(Round(*map(float, row)) for row in json.loads(file.read_text())))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        _log.warning("%s cannot be read (%s); the cores count as not measured", file, error)
        return None


def write(file: Path, found: Compared) -> None:
    """Keep it, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps([list(asdict(row).values()) for row in found.rounds]), "utf-8")
    part.replace(file)
