"""The file of measured choices: which way was the fastest, for which calls, on which machine."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from .measure import Result, Verdict

_log = logging.getLogger(__name__)
KIND = "millrace kernel choices"
FORMAT = 1
FILE = "kernels.json"
MOST_MACHINES = 8
"""Devices and versions that one file keeps; the one written longest ago goes first."""
MOST_BUCKETS = 512
"""Buckets kept for one operation on one machine; the oldest goes first."""


@dataclass(frozen=True, slots=True)
class Machine:
    """All that makes a measured choice another one.

    Attributes:
        device: its name, as "NVIDIA H200".
        versions: of torch, triton, CUDA and the driver; "none" for what is not there.
        sources: hash of this package's code.
    """

    device: str
    versions: tuple[tuple[str, str], ...]
    sources: str

    @classmethod
    def of(cls, device: torch.device | str) -> Machine:
        place = torch.device(device)
        on_gpu = place.type == "cuda"
        name = torch.cuda.get_device_name(place) if on_gpu else place.type
        return cls(name, _versions(on_gpu), sources_hash())

    @property
    def key(self) -> str:
        text = json.dumps([self.device, self.versions, self.sources])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _versions(on_gpu: bool) -> tuple[tuple[str, str], ...]:
    driver = getattr(torch._C, "_cuda_getDriverVersion", None) if on_gpu else None
    return (
        ("torch", torch.__version__),
        ("triton", _installed("triton")),
        ("cuda", torch.version.cuda or "none"),
        ("driver", str(driver()) if driver else "none"),
    )


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


@cache
def sources_hash(folder: Path = Path(__file__).parent) -> str:
    """Of all modules of this package: kernels share helpers, and measuring again takes seconds."""
    total = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        total.update(f"{file.relative_to(folder)}\0".encode() + file.read_bytes() + b"\0")
    return total.hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Entry:
    """A measured choice.

    Attributes:
        ways: names of all that there was to choose from; with another set it is measured anew.
    """

    ways: tuple[str, ...]
    verdict: Verdict


class Table:
    """Choices of one machine, with the file that they are kept in.

    Args:
        file: where they are kept; None keeps them for this process only.

    Attributes:
        said: what became of the file, as a sentence; "" when it was read, or there is none yet.
    """

    def __init__(self, machine: Machine, file: Path | None = None) -> None:
        self.machine, self.file, self.said = machine, file, ""
        self._entries: dict[str, dict[str, Entry]] = {}
        self._changed = False
        if file is not None:
            kept, self.said = _read(file)
            self._take(kept.get(machine.key))

    def _take(self, kept: Any) -> None:
        if kept is None:
            return
        try:
            self._entries = {
                op: {bucket: _entry(told) for bucket, told in buckets.items()}
                for op, buckets in kept["choices"].items()
            }
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self.said = f"{self.file} was ignored: not a table of choices ({error!r})"
            _log.warning("%s", self.said)

    def find(self, op: str, bucket: str, ways: Sequence[str]) -> Verdict | None:
        """The choice for a call, if it was made among just these ways."""
        entry = self._entries.get(op, {}).get(bucket)
        return entry.verdict if entry is not None and entry.ways == tuple(ways) else None

    def keep(self, op: str, bucket: str, ways: Sequence[str], verdict: Verdict) -> None:
        buckets = self._entries.setdefault(op, {})
        buckets.pop(bucket, None)
        while len(buckets) >= MOST_BUCKETS:
            del buckets[next(iter(buckets))]
        buckets[bucket] = Entry(tuple(ways), verdict)
        self._changed = True

    def choices(self) -> dict[str, dict[str, Verdict]]:
        """Operation -> bucket -> choice."""
        return {
            op: {bucket: entry.verdict for bucket, entry in buckets.items()}
            for op, buckets in self._entries.items()
        }

    def save(self) -> None:
        """Write the file anew if something was measured, what other machines left in it included.

        Written aside and then put in place, so that nobody reads half of it. Where that fails it
        is said, and the choices hold for this process.
        """
        if self.file is None or not self._changed:
            return
        machines, _ = _read(self.file)
        machines.pop(self.machine.key, None)
        while len(machines) >= MOST_MACHINES:
            del machines[next(iter(machines))]
        machines[self.machine.key] = asdict(self.machine) | {"choices": self.plain()}
        text = json.dumps({"kind": KIND, "format": FORMAT, "machines": machines}, indent=1)
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            part = self.file.with_suffix(f".{os.getpid()}")
            part.write_text(text + "\n", "utf-8")
            part.replace(self.file)
        except OSError as error:
            self.said = f"the choices were not kept in {self.file}: {error}"
            _log.warning("%s", self.said)
            return
        self._changed = False

    def plain(self) -> dict[str, Any]:
        """The choices as JSON has them."""
        return {
            op: {
                bucket: {"ways": list(entry.ways), **plain(entry.verdict)}
                for bucket, entry in buckets.items()
            }
            for op, buckets in self._entries.items()
        }


def plain(verdict: Verdict) -> dict[str, Any]:
    """A choice as JSON has it: null for what was not measured."""
    results = [
        {name: _number(value) for name, value in asdict(result).items()}
        for result in verdict.results
    ]
    return {"chosen": verdict.chosen, "reason": verdict.reason, "results": results}


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _entry(told: Mapping[str, Any]) -> Entry:
    results = tuple(Result(**_fields(one)) for one in told["results"])
    ways, chosen = tuple(map(str, told["ways"])), str(told["chosen"])
    if chosen not in ways:
        raise ValueError(f"{chosen} is none of {', '.join(ways)}")
    return Entry(ways, Verdict(chosen, str(told["reason"]), results))


def _fields(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: math.nan if value is None else value for name, value in told.items()}


def _read(file: Path) -> tuple[dict[str, Any], str]:
    """Machine key -> its choices; and why there are none although the file exists."""
    try:
        kept = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}, ""
    except (OSError, ValueError) as error:
        return {}, _ignored(file, str(error))
    if not isinstance(kept, dict) or kept.get("kind") != KIND:
        return {}, _ignored(file, "not a table of choices")
    if kept.get("format") != FORMAT or not isinstance(kept.get("machines"), dict):
        return {}, _ignored(file, f"format {kept.get('format')} and not {FORMAT}")
    return kept["machines"], ""


def _ignored(file: Path, why: str) -> str:
    said = f"{file} was ignored: {why}"
    _log.warning("%s", said)
    return said
