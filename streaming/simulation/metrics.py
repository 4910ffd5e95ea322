"""What became of every chunk, and the benchmark's numbers from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..pipeline import Effort
from ..scheduling.tasks import Hold, Profile, Task
from ..telemetry import percentile

Fate = Literal["done", "late", "left", "open"] | Hold
"""What became of a chunk: in time, too late, waiting when its session left, waiting or in work at
the end of the run with its deadline still ahead; or held, by cause."""
STILL_QUALITY = 0.95
"""What repeating the picture is worth when nothing moved."""
STILL = "still"
MISSED: tuple[Fate, ...] = ("late", "late_drop")
RESTED: tuple[Fate, ...] = ("still", "half_rate", "suspended")


@dataclass(slots=True)
class Life:
    """What one session got.

    Attributes:
        fates: how many of its chunks met each.
        quality: sum over its chunks; a chunk that was not shown in time adds nothing.
        served: the part of it that the device made; the rest is repeats of still pictures.
        seconds: of the device; rows of one launch share it evenly.
        delays: release to finish of each finished chunk, seconds.
        gaps: how far the time between two finished chunks was from its due, seconds.
    """

    profile: Profile
    joined: float
    ended: float = 0.0
    fates: Counter[Fate] = field(default_factory=Counter)
    rungs: Counter[str] = field(default_factory=Counter)
    quality: float = 0.0
    served: float = 0.0
    seconds: float = 0.0
    delays: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    first: float | None = None
    last: tuple[int, float] | None = None


class Ledger:
    """Books each chunk once when it is released and once when its fate is known."""

    def __init__(self) -> None:
        self.lives: dict[str, Life] = {}
        self.sessions: Counter[str] = Counter(admitted=0, queued=0, rejected=0)
        self.delays: list[tuple[float, float]] = []
        """(when finished, release to finish) of all finished chunks, in order."""
        self.released_chunks = 0
        self.overdue = 0
        """Chunks past their deadline at the end of the run that were neither done nor given up."""
        self._open: dict[tuple[str, int], Task] = {}

    def joined(self, now: float, profile: Profile) -> None:
        self.lives[profile.session] = Life(profile, now)

    def released(self, task: Task) -> None:
        self._open[task.session, task.number] = task
        self.released_chunks += 1

    def held(self, now: float, task: Task, why: Hold) -> None:
        """A chunk will not be worked on. One that was replaced only after its deadline had passed
        was not replaced by fresher news but missed."""
        if why == "superseded" and now >= task.deadline:
            why = "late_drop"
        life = self._close(task, why)
        if why == "still":
            life.quality += STILL_QUALITY
            life.rungs[STILL] += 1

    def finished(self, now: float, task: Task, effort: Effort, passes: int) -> None:
        """A chunk came out of the device."""
        life = self._close(task, "done" if now <= task.deadline else "late")
        life.rungs[effort.name] += 1
        if now <= task.deadline:
            worth = quality(life.profile, effort, passes)
            life.quality += worth
            life.served += worth
        delay = now - task.released
        life.delays.append(delay)
        self.delays.append((now, delay))
        if life.last is not None:
            number, before = life.last
            life.gaps.append(abs(now - before - (task.number - number) * life.profile.period))
        else:
            life.first = now
        life.last = (task.number, now)

    def worked(self, sessions: Sequence[str], seconds: float) -> None:
        """A launch took the device for so long."""
        for session in sessions:
            self.lives[session].seconds += seconds / len(sessions)

    def left(self, now: float, session: str) -> None:
        """What still waits of a session that is gone is nobody's loss."""
        self.lives[session].ended = now
        for task in [task for task in self._open.values() if task.session == session]:
            self._close(task, "left")

    def end(self, now: float) -> None:
        """The run is over: what should be done by now and is not was missed."""
        for task in list(self._open.values()):
            overdue = task.deadline < now
            self.overdue += overdue
            self._close(task, "late" if overdue else "open")
        for life in self.lives.values():
            life.ended = life.ended or now

    def waits(self, task: Task) -> bool:
        """Whether the chunk's fate is unknown."""
        return (task.session, task.number) in self._open

    def _close(self, task: Task, fate: Fate) -> Life:
        if self._open.pop((task.session, task.number), None) is None:
            raise RuntimeError(
                f"chunk {task.number} of {task.session} has two fates; one is {fate}"
            )
        life = self.lives[task.session]
        life.fates[fate] += 1
        return life


def quality(profile: Profile, effort: Effort, passes: int) -> float:
    """What a chunk is worth that got `passes` passes of `effort`: between the passes of efforts
    that are the same otherwise it grows linearly."""
    known = {
        other.passes or profile.passes: other.quality
        for other in profile.efforts
        if (other.window, other.scale, other.commit) == (effort.window, effort.scale, effort.commit)
    }
    below = max((n for n in known if n <= passes), default=None)
    above = min((n for n in known if n >= passes), default=None)
    if below is None:
        # Fewer than any rung offers: as if each missing pass cost its share of the fewest.
        least = min(known)
        return known[least] * passes / least
    if above is None or above == below:
        return known[below]
    return known[below] + (known[above] - known[below]) * (passes - below) / (above - below)


def summary(ledger: Ledger, seconds: float, busy: float) -> dict[str, Any]:
    """The run by the benchmark's names.

    `deadline_miss_rate` = missed chunks / those that were to be made (neither still nor rested);
    `e2e_ms` is from a chunk's last frame to its result; `jitter_ms` the 95th percentile of how far
    the time between two results is from what it should be; `continuous_play_ratio` the share of
    the chunks for which the viewer saw what should be seen; `mean_quality` counts 0 for whatever
    was not shown in time; `fairness_jain` is over what the users were served (`user_service`).

    Args:
        seconds: length of the run.
        busy: seconds in which the device worked.
    """
    lives = list(ledger.lives.values())
    fates: Counter[Fate] = sum((life.fates for life in lives), Counter())
    released = sum(fates.values()) - fates["open"] - fates["left"]
    made = released - sum(fates[cause] for cause in RESTED)
    delays = sorted(delay for life in lives for delay in life.delays)
    frames = [(life, life.profile.shape.chunk) for life in lives]
    return {
        "deadline_miss_rate": _share(sum(fates[fate] for fate in MISSED), made),
        "superseded_rate": _share(fates["superseded"], released),
        "goodput_fps": round(sum(life.fates["done"] * n for life, n in frames) / seconds, 2),
        "raw_fps": round(sum(len(life.delays) * n for life, n in frames) / seconds, 2),
        "e2e_ms": _milliseconds(delays),
        "ttff_ms": _milliseconds(sorted(x.first - x.joined for x in lives if x.first is not None)),
        "jitter_ms": _ms(percentile(sorted(gap for life in lives for gap in life.gaps), 0.95)),
        "continuous_play_ratio": _share(fates["done"] + fates["still"], released),
        "mean_quality": _share(sum(life.quality for life in lives), released),
        "rungs": dict(sum((life.rungs for life in lives), Counter())),
        "fairness_jain": round(jain(list(user_service(lives).values())), 4),
        "gpu_busy": round(busy / seconds, 4),
        "sessions": dict(ledger.sessions),
        "drops": {str(fate): fates[fate] for fate in sorted(fates) if fate not in ("done", "open")},
        "chunks": {
            "released": ledger.released_chunks,
            "done": fates["done"],
            "open": fates["open"],
            "overdue": ledger.overdue,
        },
    }


def user_service(lives: Iterable[Life]) -> dict[str, float]:
    """Quality a second that the device made for each user, over its weight.

    Repeats of still pictures are no service: they cost nothing, so nobody has less for them and
    there is nothing to divide. Sessions at the same time share their user's time; eight tabs of one
    user are one user.
    """
    users: dict[str, list[Life]] = {}
    for life in lives:
        users.setdefault(life.profile.user, []).append(life)
    service = {}
    for user, own in users.items():
        due = _user_time(own)
        if due:
            service[user] = sum(life.served for life in own) / own[0].profile.weight / due
    return service


def _user_time(lives: Sequence[Life]) -> float:
    """Seconds in which a user sent frames: of sessions that overlap, the longest counts."""
    total, until, longest = 0.0, 0.0, 0.0
    for life in sorted(lives, key=lambda life: life.joined):
        offered = sum(life.fates.values()) - life.fates["left"] - life.fates["open"]
        if life.joined >= until:
            total, longest = total + longest, 0.0
        longest = max(longest, offered * life.profile.period)
        until = max(until, life.ended)
    return total + longest


def jain(shares: Sequence[float]) -> float:
    """Jain's fairness index (Jain, Chiu, Hawe 1984): 1 for equal shares, 1/n when one has all."""
    square = sum(shares) ** 2
    return square / (len(shares) * sum(share * share for share in shares)) if square else 1.0


def _share(part: float, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


def _milliseconds(ordered: Sequence[float]) -> dict[str, float | None]:
    names = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
    return {name: _ms(percentile(ordered, share)) for name, share in names}


def _ms(seconds: float) -> float | None:
    return round(seconds * 1e3, 2) if seconds == seconds else None
