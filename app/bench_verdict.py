"""From what a crowd of viewers got to the benchmark's numbers. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..streaming.pipeline import Effort
from ..streaming.simulation.metrics import STILL_QUALITY
from ..streaming.telemetry import LATE_DROP, percentile
from .bench_crowd import Crowd, Guest
from .bench_report import SHARES, jain, peak_memory_mb

STILL = ("still", "similar")
NOMINAL_NAME = "full"


@dataclass(slots=True)
class Account:
    """One viewer's frames by what became of them; only those whose deadline lies within the visit.

    Attributes:
        due: frames whose picture should have been there.
        on_time, late: pictures made for one frame and no repeat.
        quality: sum over the frames shown in time; 1 for a frame at full effort.
    """

    due: int = 0
    on_time: int = 0
    late: int = 0
    repeated: int = 0
    quality: float = 0.0


def account(
    guest: Guest, deadline: float, fill: float, qualities: Mapping[str, float]
) -> tuple[Account, list[float]]:
    """A viewer's account and its delays in seconds.

    Args:
        deadline: seconds from a chunk's last frame until it is due.
        fill: seconds that the first frame of a chunk waits for the last one.
        qualities: what a picture of each rung is worth.
    """
    found, delays = Account(), []
    end = guest.closed_at or 0.0
    for index, captured_at in enumerate(guest.offered):
        if captured_at + deadline + fill > end:
            break
        found.due += 1
        shown = guest.shown.get(index)
        if shown is None:
            continue
        if shown.repeated:
            found.repeated += 1
            continue
        delays.append(shown.finished_at - captured_at)
        if delays[-1] <= deadline + fill:
            found.on_time += 1
            found.quality += qualities.get(shown.rung or NOMINAL_NAME, 1.0)
        else:
            found.late += 1
    return found, delays


def verdict(
    crowd: Crowd, deadline: float, chunk: int, efforts: Sequence[Effort], fixed: bool
) -> dict[str, Any]:
    """A run's numbers by the names that all reports use.

    `deadline_miss_rate` is what came late or was dropped as hopeless, of the frames that were to be
    made; a frame that a newer one replaced is `superseded` and no miss. `mean_quality` counts 0 for
    every due frame that was not shown in time, and what similarity skips repeat as the simulator
    does.
    """
    qualities = {effort.name: effort.quality for effort in efforts}
    span = max(1e-9, crowd.ended - crowd.began)
    drops: Counter[str] = Counter()
    accounts, delays = [], []
    for guest in crowd.guests:
        own, late = account(guest, deadline, (chunk - 1) / guest.visit.fps, qualities)
        accounts.append(own)
        delays += late
        drops.update({k: v for k, v in guest.numbers.get("drops", {}).items() if v})
    due = sum(one.due for one in accounts)
    offered = sum(len(guest.offered) for guest in crowd.guests)
    rested = sum(drops[cause] for cause in (*STILL, "half_rate", "suspended"))
    missed = sum(one.late for one in accounts) + drops[LATE_DROP]
    still = sum(drops[cause] for cause in STILL)
    rungs = Counter(
        shown.rung or NOMINAL_NAME
        for guest in crowd.guests
        for shown in guest.shown.values()
        if not shown.repeated
    )
    delays.sort()
    made = sum(rungs.values())
    return {
        "fixed_quality": fixed,
        "raw_fps": round(made / span, 2),
        "goodput_fps": round(sum(one.on_time for one in accounts) / span, 2),
        "deadline_ms": round(deadline * 1e3, 2),
        "deadline_miss_rate": _share(missed, due - rested),
        "superseded_rate": _share(drops["superseded"], offered),
        "e2e_ms": {name: _ms(percentile(delays, share)) for name, share in SHARES},
        "ttff_ms": {name: _ms(percentile(first_pictures(crowd), share)) for name, share in SHARES},
        "jitter_ms": _ms(percentile(sorted(gaps(crowd)), 0.95)),
        "mean_quality": _share(sum(one.quality for one in accounts) + STILL_QUALITY * still, due),
        "rungs": dict(rungs),
        "fairness_jain": round(jain(user_service(crowd.guests, accounts)), 4),
        "sessions": {"admitted": len(crowd.guests), "queued": 0, "rejected": crowd.rejected},
        "drops": dict(drops),
        "frames": made,
        "frames_due": due,
        "measured_seconds": round(span, 3),
        "peak_memory_mb": peak_memory_mb(),
    }


def first_pictures(crowd: Crowd) -> list[float]:
    """Seconds from each viewer's arrival to its first picture, ascending."""
    firsts = (
        min(shown.finished_at for shown in guest.shown.values()) - guest.opened_at
        for guest in crowd.guests
        if guest.shown
    )
    return sorted(firsts)


def gaps(crowd: Crowd) -> list[float]:
    """How far the time between two pictures of a viewer was from 1/fps, seconds."""
    found = []
    for guest in crowd.guests:
        times = sorted(shown.finished_at for shown in guest.shown.values())
        found += [abs(b - a - 1 / guest.visit.fps) for a, b in zip(times, times[1:], strict=False)]
    return found


def user_service(guests: Sequence[Guest], accounts: Sequence[Account]) -> list[float]:
    """Quality that each user got for each second of frames that it sent, over its weight; users of
    whom nothing was due yet are left out."""
    got: dict[str, float] = {}
    sent: dict[str, float] = {}
    weights = {}
    for guest, one in zip(guests, accounts, strict=True):
        user = guest.visit.user
        got[user] = got.get(user, 0.0) + one.quality
        sent[user] = sent.get(user, 0.0) + one.due / guest.visit.fps
        weights[user] = guest.visit.weight
    return [got[user] / sent[user] / weights[user] for user in sent if sent[user] > 0]


def _share(part: float, whole: float) -> float:
    return round(part / whole, 4) if whole > 0 else 0.0


def _ms(seconds: float) -> float | None:
    return round(seconds * 1e3, 2) if seconds == seconds else None
