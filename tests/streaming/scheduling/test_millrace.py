"""The policy by small scenes: what it launches, holds, lowers and stops."""

from __future__ import annotations

from dataclasses import replace

import pytest
from millrace.streaming.pipeline import Effort
from millrace.streaming.scheduling.costs import CostTable
from millrace.streaming.scheduling.ladder import GOOD_CHUNKS, Rung, Shown, groups_of
from millrace.streaming.scheduling.policies import policy_named
from millrace.streaming.scheduling.scheduler import Scheduler
from millrace.streaming.scheduling.tasks import Measured, Plan, Profile, ServiceClass, Shape, Task

SHAPE = Shape(128, 128, 4)
EFFORTS = (
    Effort("four", 1.0, passes=4),
    Effort("two", 0.9, passes=2),
    Effort("one", 0.75, passes=1),
)
PERIOD = 0.25


def scheduler(pass_s: float = 0.015, shared: float = 0.0, name: str = "millrace") -> Scheduler:
    """Encode 3 ms, decode 6 ms; `shared` of every stage is paid once for all rows."""
    table = CostTable()
    for stage, seconds in (("encode", 0.003), ("pass", pass_s), ("decode", 0.006)):
        fixed, per_row = shared * seconds, (1 - shared) * seconds
        table.seed(stage, SHAPE, None, fixed, per_row)  # type: ignore[arg-type]
    return Scheduler(policy_named(name), table)


def profile(session: str, service: ServiceClass = "standard") -> Profile:
    return Profile(session, session, SHAPE, 16.0, 0.2, 4, EFFORTS, service=service)


def crowd(found: Scheduler, count: int, service: ServiceClass = "standard") -> list[str]:
    names = [f"{service[0]}{number}" for number in range(count)]
    for name in names:
        found.join(0.0, profile(name, service))
    return names


def release(found: Scheduler, name: str, number: int, at: float, still: bool = False) -> Task:
    task = Task(name, number, at, at + 0.2, still)
    found.release(at, task)
    return task


def run(found: Scheduler, names: list[str], seconds: float, slow: float = 1.0) -> list[Plan]:
    """A device that takes what is predicted, times `slow`; phases are spread evenly."""
    due = {name: PERIOD * n / len(names) for n, name in enumerate(names)}
    numbers = dict.fromkeys(names, 0)
    now, plans = 0.0, []
    while now < seconds:
        for name in names:
            while due[name] <= now:
                release(found, name, numbers[name], due[name])
                numbers[name] += 1
                due[name] += PERIOD
        plan = found.plan(now)
        if plan.launch:
            now += slow * plan.predicted
            found.finished(now, plan, Measured())
        else:
            soonest = min(due.values())
            now = min(soonest, plan.look_again) if plan.look_again else soonest
        plans.append(plan)
    return plans


def efforts(plans: list[Plan]) -> list[int]:
    return [a.effort for plan in plans for a in plan.launch]


def dropped(plans: list[Plan]) -> int:
    return sum(why == "late_drop" for plan in plans for _, why in plan.holds)


def test_a_lone_viewer_gets_full_effort_even_from_a_device_too_slow_for_its_source() -> None:
    found = scheduler(pass_s=0.2)
    plans = run(found, crowd(found, 1), 10.0)
    assert set(efforts(plans)) == {0} and not dropped(plans)
    assert found.standing("s0").reason == ""


def test_spare_capacity_never_degrades() -> None:
    found = scheduler()
    plans = run(found, crowd(found, 3), 30.0)
    assert set(efforts(plans)) == {0} and not dropped(plans)


def test_overload_lowers_effort_before_anything_is_dropped() -> None:
    found = scheduler()
    plans = run(found, crowd(found, 8), 30.0)
    assert not dropped(plans)
    assert max(efforts(plans)) > 0
    standing = found.standing("s0")
    assert standing.rung > 0 and "8 viewers share" in standing.reason


def test_batches_form_where_they_pay() -> None:
    found = scheduler(shared=0.8)
    plans = run(found, crowd(found, 12), 10.0)
    sizes = {len(plan.launch) for plan in plans if plan.launch}
    assert max(sizes) >= 2 and sizes <= {1, 2, 4, 8} and not dropped(plans)
    assert sum(efforts(plans)) / len(efforts(plans)) < 1.5


def test_best_effort_gives_way_before_standard_before_guaranteed() -> None:
    found = scheduler()
    classes: tuple[ServiceClass, ...] = ("guaranteed", "standard", "best-effort")
    names = [name for service in classes for name in crowd(found, 3, service)]
    plans = run(found, names, 30.0)
    means = {
        letter: [a.effort for p in plans for a in p.launch if a.task.session[0] == letter]
        for letter in "gsb"
    }
    average = {letter: sum(own) / len(own) for letter, own in means.items() if own}
    assert average["g"] < 0.1 and average["g"] < average["s"]
    made = {letter: len(own) for letter, own in means.items()}
    assert made["b"] < made["s"] < made["g"]


def test_still_chunks_are_held_and_cost_nothing() -> None:
    found = scheduler()
    crowd(found, 2)
    still = release(found, "s0", 0, 0.0, still=True)
    moving = release(found, "s1", 0, 0.0)
    plan = found.plan(0.0)
    assert plan.holds == ((still, "still"),)
    assert [a.task for a in plan.launch] == [moving]


def test_what_cannot_be_in_time_any_more_is_dropped_at_once() -> None:
    found = scheduler()
    crowd(found, 2)
    late, fresh = release(found, "s0", 0, 0.0), release(found, "s1", 0, 0.19)
    plan = found.plan(0.19)
    assert (late, "late_drop") in plan.holds
    assert [a.task for a in plan.launch] == [fresh]


def test_a_launch_that_falls_behind_stops_early_and_one_in_time_goes_on() -> None:
    found = scheduler()
    for name in crowd(found, 4):
        release(found, name, 0, 0.0)
    plan = found.plan(0.0)
    assert plan.launch[0].passes > 1
    everyone = frozenset(a.task.session for a in plan.launch)
    assert found.more(0.02, plan, 1) == everyone
    assert found.more(0.19, plan, 1) == frozenset()
    assert found.more(0.02, plan, plan.launch[0].passes) == frozenset()


def test_early_exit_is_told_as_the_rung_that_it_is() -> None:
    found = scheduler()
    crowd(found, 2)
    release(found, "s0", 0, 0.0)
    release(found, "s1", 0, 0.0)
    plan = found.plan(0.0)
    name = plan.launch[0].task.session
    found.finished(0.1, plan, Measured(passes={name: 1}))
    assert found.standing(name).name == "one"


def test_half_rate_makes_every_second_chunk() -> None:
    found = scheduler()
    half = (Effort("half", 0.5, rate=0.5),)
    for name in ("a", "b"):
        found.join(0.0, replace(profile(name), efforts=half))
    fates = []
    for number in range(6):
        release(found, "a", number, number * PERIOD)
        plan = found.plan(number * PERIOD)
        fates.append("launch" if plan.launch else plan.holds[0][1])
        if plan.launch:
            found.finished(number * PERIOD + 0.05, plan, Measured())
    assert fates == ["half_rate", "launch"] * 3


def test_best_effort_is_suspended_when_not_even_its_least_effort_fits() -> None:
    found = scheduler(pass_s=0.05)
    names = [*crowd(found, 4), *crowd(found, 4, "best-effort")]
    plans = run(found, names, 10.0)
    causes = {why for plan in plans for _, why in plan.holds}
    assert "suspended" in causes
    suspended = [name for name in names if found.standing(name).name == "suspended"]
    assert suspended and all(name.startswith("b") for name in suspended)
    assert "best effort" in found.standing(suspended[0]).reason


def test_whoever_leaves_in_the_middle_of_a_launch_is_no_error() -> None:
    found = scheduler()
    crowd(found, 3)
    for name in ("s0", "s1", "s2"):
        release(found, name, 0, 0.0)
    plan = found.plan(0.0)
    found.leave(0.01, plan.launch[0].task.session)
    found.more(0.02, plan, 1)
    found.finished(0.07, plan, Measured())
    assert found.plan(0.07).launch


def test_a_changed_profile_keeps_what_waits() -> None:
    found = scheduler()
    crowd(found, 2)
    task = release(found, "s0", 0, 0.0)
    found.join(0.01, replace(profile("s0"), user="somebody else", passes=1))
    assert [a.task for a in found.plan(0.01).launch] == [task]


@pytest.mark.parametrize("name", ["edf-ladder", "millrace"])
def test_the_same_calls_give_the_same_plans(name: str) -> None:
    one, other = scheduler(name=name), scheduler(name=name)
    assert run(one, crowd(one, 9), 5.0) == run(other, crowd(other, 9), 5.0)


def test_the_textbook_ladder_keeps_under_its_cap() -> None:
    found = scheduler(name="edf-ladder")
    plans = run(found, crowd(found, 9), 10.0)
    busy = sum(plan.predicted for plan in plans) / 10.0
    assert busy < 1.0 and dropped(plans) < 0.02 * len(plans)


def test_rungs_go_down_at_once_and_up_with_patience() -> None:
    rung = Rung(last=2)
    rung.down(1.0)
    for _ in range(GOOD_CHUNKS - 1):
        rung.done(slack=0.2, period=PERIOD)
    assert rung.good < GOOD_CHUNKS and rung.position == 1
    rung.done(slack=0.01, period=PERIOD)
    assert rung.good == 0, "one that is hardly in time starts the count anew"
    assert not rung.rested(2.9) and rung.rested(3.0)
    rung.up(4.0)
    assert rung.position == 0


def test_the_viewer_is_told_the_worst_of_late() -> None:
    shown = Shown()
    shown.note(2)
    assert shown.effort == 2
    for effort in [0, 1] * (GOOD_CHUNKS // 2 - 1):
        shown.note(effort)
    assert shown.effort == 2
    shown.note(0)
    shown.note(0)
    assert shown.effort == 1


def test_groups_are_what_looks_alike() -> None:
    ladder = (*EFFORTS, Effort("small", 0.5, scale=0.5), Effort("rare", 0.3, scale=0.5, rate=0.5))
    assert groups_of(replace(profile("a"), efforts=ladder)) == ((0, 1, 2), (3,), (4,))
