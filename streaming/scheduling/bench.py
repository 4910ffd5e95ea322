"""What a plan costs: `python -m millrace.streaming.scheduling.bench [sessions] [overload]`.

Sessions with random phases on a made-up device, some of whose chunks wait whenever it is free;
prints the milliseconds of `plan`, and of the calls during and after its launch, as JSON.
"""

from __future__ import annotations

import heapq
import json
import sys
from random import Random
from typing import Any

from ..clock import SystemClock
from ..pipeline import Effort
from .costs import CostTable
from .policies import policy_named
from .scheduler import Scheduler
from .tasks import Measured, Profile, Shape, Task

EFFORTS = (
    Effort("four passes", 1.0, passes=4),
    Effort("two passes", 0.9, passes=2),
    Effort("one pass", 0.75, passes=1),
    Effort("low resolution", 0.55, passes=1, scale=2 / 3),
)
SHAPE, FPS, DEADLINE_S = Shape(832, 480, 4), 16.0, 0.2
SHARES = {"encode": 3.0, "pass": 15.0, "decode": 6.0}
"""Of a chunk's time; one of two passes takes 39 units."""


def measure(sessions: int, overload: float, seconds: float = 5.0, seed: int = 0) -> dict[str, Any]:
    """Milliseconds for each launch.

    Args:
        sessions: that send chunks.
        overload: of the device by chunks of two passes; 1 fills it.
        seconds: of simulated time.
    """
    unit = overload * SHAPE.chunk / FPS / sessions / 39.0
    costs = CostTable()
    for stage in ("encode", "pass", "decode"):
        costs.seed(stage, SHAPE, None, 0.2 * unit * SHARES[stage], 0.8 * unit * SHARES[stage])
    scheduler = Scheduler(policy_named("millrace"), costs)
    random, events = Random(seed), list[tuple[float, int, str]]()
    for number in range(sessions):
        name = f"s{number}"
        scheduler.join(0.0, Profile(name, name, SHAPE, FPS, DEADLINE_S, 4, EFFORTS))
        heapq.heappush(events, (random.random() * SHAPE.chunk / FPS, 0, name))
    now, rows, clock = 0.0, 0, SystemClock()
    planning, rest = list[float](), list[float]()
    while now < seconds:
        while events and events[0][0] <= now:
            at, number, name = heapq.heappop(events)
            scheduler.release(now, Task(name, number, at, at + DEADLINE_S))
            heapq.heappush(events, (at + SHAPE.chunk / FPS, number + 1, name))
        began = clock.now()
        plan = scheduler.plan(now)
        planned = clock.now()
        if plan.launch:
            for passes in range(1, max(a.passes for a in plan.launch)):
                scheduler.more(now, plan, passes)
            scheduler.finished(now + plan.predicted, plan, Measured())
            planning.append(1e3 * (planned - began))
            rest.append(1e3 * (clock.now() - planned))
            rows += len(plan.launch)
        now = now + plan.predicted if plan.launch else events[0][0]
    return {
        "sessions": sessions,
        "overload": overload,
        "launches": len(planning),
        "rows": round(rows / len(planning), 2),
        "plan_ms": _spread(planning),
        "rest_ms": _spread(rest),
    }


def _spread(values: list[float]) -> dict[str, float]:
    values.sort()
    names = (("p10", 0.1), ("p50", 0.5), ("p99", 0.99))
    return {name: round(values[int(share * len(values))], 3) for name, share in names}


if __name__ == "__main__":
    asked = [float(value) for value in sys.argv[1:3]]
    several = [asked[1]] if len(asked) > 1 else [0.5, 1.0, 1.5]
    for load in several:
        print(json.dumps(measure(int(asked[0]) if asked else 64, load)))
