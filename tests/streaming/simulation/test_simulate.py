"""The loop itself: the same seed gives the same numbers, and every chunk has one fate."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from millrace.streaming.simulation.arrivals import Visit, steady
from millrace.streaming.simulation.loads import Load, offered
from millrace.streaming.simulation.metrics import Ledger
from millrace.streaming.simulation.scenario import STEADY
from millrace.streaming.simulation.simulate import MOST_WAITING
from millrace.streaming.simulation.sweep import POLICIES, entry, play, run
from millrace.streaming.simulation.trace import Row

BURSTY = Load(1.3, 12.0, seed=5, kind="bursty", scale=10)


@pytest.mark.parametrize("policy", POLICIES)
def test_the_same_seed_gives_the_same_numbers(policy: str) -> None:
    assert run(policy, BURSTY) == run(policy, BURSTY)
    assert run(policy, BURSTY) != run(policy, replace(BURSTY, seed=6))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    "load", [Load(0.8, 20), Load(2.0, 20), BURSTY], ids=["low", "high", "burst"]
)
def test_every_chunk_has_exactly_one_fate(policy: str, load: Load) -> None:
    ledger, busy = play(policy, load)
    fates = sum((life.fates for life in ledger.lives.values()), Counter())
    assert busy <= load.seconds * 1.02
    assert sum(fates.values()) == ledger.released_chunks > 200
    finished = sum(len(life.delays) for life in ledger.lives.values())
    # Nothing is forgotten: only what waits at the very end, or all that FIFO piles up, is overdue.
    assert policy == "fifo" or ledger.overdue <= len(ledger.lives)
    shown = sum(sum(life.rungs.values()) for life in ledger.lives.values())
    assert shown == finished + fates["still"]


def test_fifo_collapses_past_capacity() -> None:
    """Nothing is given up, so everyone waits for everything before: the delay grows without end."""
    ledger, _ = play("fifo", Load(1.5, 60.0))
    thirds = [
        sorted(delay for at, delay in ledger.delays if low <= at < low + 20) for low in (0, 20, 40)
    ]
    p50 = [delays[len(delays) // 2] for delays in thirds]
    assert p50[0] + 1 < p50[1] < p50[2] - 1
    assert p50[2] > 5
    assert run("fifo", Load(1.5, 60.0))["deadline_miss_rate"] > 0.9


def test_dropping_what_is_late_keeps_latency_at_the_deadline() -> None:
    numbers = run("edf-drop", Load(2.0, 30.0))
    assert numbers["e2e_ms"]["p99"] < 210
    assert 0.3 < numbers["deadline_miss_rate"] < 0.6


def test_below_capacity_nobody_misses_anything() -> None:
    for policy in POLICIES:
        numbers = run(policy, Load(0.5, 30.0))
        assert numbers["deadline_miss_rate"] <= 0.01, policy
        assert numbers["mean_quality"] >= 0.89, policy


def test_hidden_tabs_send_nothing() -> None:
    quiet = Visit("s0", "u0", 0, 20, pauses=((5.0, 15.0),), still=0.0)
    ledger, _ = play("edf-drop", Load(1, 20), guests=(quiet,))
    assert ledger.released_chunks == pytest.approx(10 / 0.25, abs=2)


def test_a_viewer_who_vanishes_leaves_nothing_behind() -> None:
    gone = Visit("s0", "u0", 0, 5, abrupt=True)
    ledger, _ = play("edf-drop", Load(1, 20), guests=(gone, Visit("s1", "u1", 0, 20)))
    assert ledger.lives["s0"].ended == 10
    assert ledger.lives["s1"].fates["done"] > 60


def test_a_new_prompt_is_never_skipped_as_still() -> None:
    prompts = tuple(0.1 + n for n in range(19))
    asks = Visit("s0", "u0", 0, 20, prompts=prompts, still=1.0)
    ledger, _ = play("edf-drop", Load(1, 20), guests=(asks,))
    assert ledger.lives["s0"].fates["done"] == len(prompts)


def test_an_entry_tells_the_run_at_fixed_quality_too() -> None:
    found = entry("edf-drop", Load(1.5, 10.0))
    assert found["policy"] == "edf-drop" and found["load"] == 1.5
    assert found["fixed_quality"]["mean_quality"] == found["mean_quality"]


def test_steady_loads_are_sessions_of_the_capacity() -> None:
    assert len(Load(1.5, 1).visits(STEADY)) == 10
    assert Load(0.01, 1).visits(STEADY) == steady(1, 1)


@pytest.mark.parametrize("load", [0.5, 1.0, 1.5])
def test_bursty_loads_are_what_they_say(load: float) -> None:
    for seed in range(2):
        many = Load(load, 60.0, seed, "bursty", scale=20)
        assert offered(STEADY, many.visits(STEADY), many) == pytest.approx(load, rel=0.15)


def test_a_trace_is_stretched_to_the_load() -> None:
    rows = tuple(Row(n * 0.1, f"u{n}", 20.0, False) for n in range(400))
    load = Load(1.2, 200.0, rows=rows)
    crowd = load.visits(STEADY)
    assert offered(STEADY, crowd, load) == pytest.approx(1.2, rel=0.15)
    assert all(visit.end - visit.start == pytest.approx(20) for visit in crowd)
    given_rate = Load(2.0, 50.0, rps=2.0, rows=rows).visits(STEADY)
    assert len(given_rate) == pytest.approx(200, abs=2)


def test_an_empty_run_counts_nothing() -> None:
    assert Ledger().released_chunks == 0


def test_who_finds_no_room_waits_or_is_refused() -> None:
    """Of four at a fixed effort all may come at once and still be in time; of five, not."""
    early = steady(4, 10.0)
    late = tuple(Visit(f"l{n}", f"l{n}", 1.0, 40.0) for n in range(MOST_WAITING + 3))
    short = Visit("short", "short", 0.5, 5.0)
    load = Load(1.0, 20.0, admission=True)
    ledger, _ = play("edf-drop", load, guests=(*early, short, *late))
    assert ledger.sessions["queued"] == MOST_WAITING
    # Four for whom the line was full, and the one whose visit would have been over.
    assert ledger.sessions["rejected"] == 4 + 1
    assert ledger.sessions["admitted"] == 8
    assert "short" not in ledger.lives
    assert [ledger.lives[f"l{n}"].joined for n in range(4)] == [10.0] * 4
    assert sum(life.fates["late_drop"] for life in ledger.lives.values()) == 0
