"""Who comes, when and how: synthetic visits, a pure function of the seed.

The bursty kind has the shape of BurstGPT (Wang et al., 2024): gaps between arrivals follow a gamma
distribution whose parameters are drawn again for every window, so calm and rush alternate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from random import Random
from typing import Literal

from ..scheduling.tasks import ServiceClass

WINDOW_S = 60.0
"""Length of the windows for which the gamma distribution is drawn again."""
SHAPES = (0.25, 0.5)
"""Range of the gamma shape a; the coefficient of variation of the gaps is 1/sqrt(a), 2.0 to 1.4."""
RUSH = (0.5, 1.5)
"""Range of a window's arrival rate over the mean rate."""
MEDIAN_S, SIGMA = 90.0, 1.2
"""Of the log-normal session length."""
SHORTEST_S, LONGEST_S = 2.0, 1800.0
ZIPF_POWER, MOST_TURNS, TURN_S = 1.1, 50, 15.0
"""Of the Zipf-distributed number of turns and the mean length of one."""
RATES = ((30.0, 0.5), (24.0, 0.2), (16.0, 0.3))
"""Frames a second of the sources and the share of each."""
PAUSED_SHARE, PAUSE_S = 0.15, 6.0
"""Share of a session's time in which its tab is hidden, and the mean length of one such time."""
PROMPT_EVERY_S = 20.0
ABRUPT_SHARE = 0.1
"""Share of the sessions that vanish without saying goodbye."""
STILL_SHARE = 0.15
NETWORK_JITTER_S = 0.003

Length = Literal["log-normal", "zipf"]


@dataclass(frozen=True, slots=True)
class Visit:
    """One session's coming and going; times are seconds from the start of the simulation.

    Attributes:
        pauses: (from, to) in which no frame comes, because the tab is hidden.
        prompts: when the viewer changes the prompt; the next chunk is never a still one.
        abrupt: it vanishes at `end`; the device learns of it only after a timeout.
        still: share of its chunks that show nothing new.
        jitter: standard deviation of a chunk's arrival, seconds.
    """

    session: str
    user: str
    start: float
    end: float
    fps: float = 16.0
    weight: float = 1.0
    service: ServiceClass = "standard"
    pauses: tuple[tuple[float, float], ...] = ()
    prompts: tuple[float, ...] = ()
    abrupt: bool = False
    still: float = STILL_SHARE
    jitter: float = 0.0


def steady(sessions: int, seconds: float, fps: float = 16.0) -> tuple[Visit, ...]:
    """`sessions` viewers that are there from the start and stay, each a user of their own."""
    return tuple(Visit(f"s{n}", f"u{n}", 0.0, seconds, fps) for n in range(sessions))


def bursty(
    per_second: float,
    seconds: float,
    seed: int,
    *,
    scale: float = 1.0,
    length: Length = "log-normal",
) -> tuple[Visit, ...]:
    """Visits in bursts, in the order in which they come.

    The crowd is already there at 0, as it would be after a long time: arrivals are drawn from well
    before and those who would still be there start at 0.

    Args:
        per_second: mean arrivals a second (after compression).
        scale: time compression: lengths, pauses and gaps between prompts are divided by it. Frame
            rates and deadlines stay, so a day of coming and going fits into minutes.
        length: distribution of the session length.
    """
    _positive("per_second", per_second)
    _positive("scale", scale)
    random = Random(f"arrivals {seed}")
    before = LONGEST_S / scale
    visits = []
    for number, start in enumerate(_starts(random, per_second, before + seconds, scale)):
        visit = furnish(f"s{number}", f"u{number}", start - before, None, seed, scale, length)
        if visit.end > 0:
            visits.append(replace(visit, start=max(0.0, visit.start)))
    return tuple(visits)


@cache
def mean_length(length: Length = "log-normal") -> float:
    """Mean seconds of a session before compression, with the clipping (numerically)."""
    if length == "zipf":
        weights = [turns**-ZIPF_POWER for turns in range(1, MOST_TURNS + 1)]
        turns = sum(w * n for n, w in enumerate(weights, 1)) / sum(weights)
        return turns * TURN_S
    random = Random("mean length")
    return sum(_length(random, length) for _ in range(20000)) / 20000


def mean_rate() -> float:
    """Mean frames a second of the sources, without pauses."""
    return sum(fps * share for fps, share in RATES)


def furnish(
    session: str,
    user: str,
    start: float,
    duration: float | None,
    seed: int,
    scale: float = 1.0,
    length: Length = "log-normal",
    abrupt: bool | None = None,
) -> Visit:
    """A visit with everything that an arrival alone does not say, drawn for this session only, so
    that one visit more changes none of the others.

    Args:
        duration: seconds before compression; None draws it.
        abrupt: None draws it.
    """
    random = Random(f"visit {seed} {session}")
    span = (_length(random, length) if duration is None else duration) / scale
    end = start + span
    rates, shares = zip(*RATES, strict=True)
    return Visit(
        session,
        user,
        start,
        end,
        fps=random.choices(rates, shares)[0],
        pauses=_pauses(random, start, end, scale),
        prompts=_prompts(random, start, end, scale),
        abrupt=random.random() < ABRUPT_SHARE if abrupt is None else abrupt,
        jitter=NETWORK_JITTER_S,
    )


def _starts(random: Random, per_second: float, seconds: float, scale: float) -> list[float]:
    """Arrival times in [0, seconds): gamma gaps, rate and shape drawn again for every window."""
    starts: list[float] = []
    window = WINDOW_S / scale
    now, number = 0.0, 0
    shape, rate = random.uniform(*SHAPES), random.uniform(*RUSH) * per_second
    while now < seconds:
        # The gap is drawn in mean gaps and spent at the rate of each window that it crosses: so the
        # mean rate is exact however long a gap is against a window.
        gap = random.gammavariate(shape, 1 / shape)
        while gap > (left := ((number + 1) * window - now) * rate) and now < seconds:
            gap -= left
            number += 1
            now = number * window
            shape, rate = random.uniform(*SHAPES), random.uniform(*RUSH) * per_second
        now += gap / rate
        if now < seconds:
            starts.append(now)
    return starts


def _length(random: Random, length: Length) -> float:
    if length == "zipf":
        weights = [turns**-ZIPF_POWER for turns in range(1, MOST_TURNS + 1)]
        turns = random.choices(range(1, MOST_TURNS + 1), weights)[0]
        return turns * random.expovariate(1 / TURN_S)
    return min(LONGEST_S, max(SHORTEST_S, random.lognormvariate(math.log(MEDIAN_S), SIGMA)))


def _pauses(
    random: Random, start: float, end: float, scale: float
) -> tuple[tuple[float, float], ...]:
    """Hidden-tab times: shown and hidden alternate, each of exponential length."""
    shown = PAUSE_S / scale * (1 - PAUSED_SHARE) / PAUSED_SHARE
    found: list[tuple[float, float]] = []
    now = start
    while True:
        begin = now + random.expovariate(1 / shown)
        if begin >= end:
            return tuple(found)
        now = min(end, begin + random.expovariate(scale / PAUSE_S))
        found.append((begin, now))


def _prompts(random: Random, start: float, end: float, scale: float) -> tuple[float, ...]:
    found: list[float] = []
    now = start
    while True:
        now += random.expovariate(scale / PROMPT_EVERY_S)
        if now >= end:
            return tuple(found)
        found.append(now)


def _positive(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be a positive number; got {value}")
