"""Cores of the model's own: how they are divided, chosen, and what is bound to them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from millrace.streaming import cores
from millrace.streaming.config import ConfigError, Facts, Options, resolve
from millrace.streaming.cores import Compared, Division, Round
from millrace.streaming.muster import _shared_out

FASTER = Compared((Round(20, 22, 80, 80), Round(21, 23, 90, 95)))
AS_FAST_AND_SOONER = Compared((Round(30, 29.9, 80, 70), Round(30, 30, 90, 80)))
ONCE_SLOWER = Compared((Round(20, 25, 80, 60), Round(21, 20, 80, 60)))


def test_the_model_takes_the_last_cores_and_leaves_some() -> None:
    assert cores.divide((0, 1, 4, 5), 1) == Division((5,), (0, 1, 4))
    assert cores.divide((0, 1, 4, 5), 3) == Division((1, 4, 5), (0,))
    assert cores.divide((0, 1), 2) is None
    assert cores.divide((0,), 1) is None


@pytest.mark.parametrize(
    ("found", "apart"),
    [(FASTER, True), (AS_FAST_AND_SOONER, True), (ONCE_SLOWER, False), (Compared(()), False)],
)
def test_apart_has_to_win_every_round(found: Compared, apart: bool) -> None:
    assert found.apart is apart


def test_what_was_measured_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "deep" / "cores.json"
    assert cores.read(file) is None
    cores.write(file, FASTER)
    assert cores.read(file) == FASTER and [p.name for p in file.parent.iterdir()] == [file.name]
    file.write_text("[[1]]")
    assert cores.read(file) is None and "cannot be read" in caplog.text


@pytest.mark.parametrize(
    ("asked", "facts", "alone", "apart", "said"),
    [
        ("auto", Facts(4, can_bind=True), False, False, "not measured yet"),
        ("auto", Facts(4, can_bind=True, compared=FASTER), False, True, "22.0/23.0 frames/s apart"),
        (
            "auto",
            Facts(4, can_bind=True, compared=ONCE_SLOWER),
            False,
            False,
            "not better in every",
        ),
        ("auto", Facts(4, can_bind=True, compared=FASTER), True, False, ""),
        ("auto", Facts(4, compared=FASTER), False, False, "does not bind"),
        ("auto", Facts(1, can_bind=True, compared=FASTER), False, False, "leave none of 1 cores"),
        ("shared", Facts(4, can_bind=True, compared=FASTER), False, False, "as asked"),
        ("apart", Facts(4, can_bind=True), False, True, "3 of 4 for the model alone, as asked"),
        ("auto", Facts(8, ("H200",), can_bind=True), False, False, "the GPU does the work"),
    ],
)
def test_the_choice_follows_the_measurement_and_is_told(
    asked: str, facts: Facts, alone: bool, apart: bool, said: str
) -> None:
    config = resolve(Options(cores=asked), facts, alone)
    assert config.apart is apart
    (*_, last) = config.choices
    assert said in last and last.startswith("Cores") is bool(said)


@pytest.mark.parametrize(
    ("asked", "facts", "words"),
    [
        ("apart", Facts(1, can_bind=True), "leave none of 1 cores"),
        ("apart", Facts(8), "does not bind"),
        ("apart", Facts(8, ("H200",), can_bind=True), "the GPU does the work"),
        ("mine", Facts(8), "'mine' is not one of apart, shared, auto"),
    ],
)
def test_what_cannot_be_is_refused(asked: str, facts: Facts, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        resolve(Options(cores=asked), facts)


def test_several_models_on_a_processor_share_its_cores() -> None:
    found = _shared_out(Options(cores="auto"), ("cpu", "cpu"))
    assert [options.cores for _, options in found] == ["shared", "shared"]
    assert _shared_out(Options(), ("cpu",))[0][1].cores == "auto"
    with pytest.raises(ConfigError, match="for one model"):
        _shared_out(Options(cores="apart"), ("cpu", "cpu"))


BOUND = """
import os, subprocess, sys, threading
from millrace.streaming import cores

def seen():
    ask = "import os; print(len(os.sched_getaffinity(0)))"
    return int(subprocess.run([sys.executable, "-c", ask], capture_output=True, check=True).stdout)

all_of_them = cores.allowed()
go, asked, found = threading.Event(), threading.Event(), []
def old():
    asked.set(); go.wait(); found.append(set(os.sched_getaffinity(0)))
thread = threading.Thread(target=old); thread.start(); asked.wait()
one = cores.divide(all_of_them, 1).model
cores.keep_to(one)
go.set(); thread.join()
young = threading.Thread(target=lambda: found.append(set(os.sched_getaffinity(0))))
young.start(); young.join()
assert found == [set(one)] * 2, found
assert seen() == 1
with cores.unbound():
    assert seen() == len(all_of_them)
assert set(os.sched_getaffinity(0)) == set(one)
print("bound")
"""


def test_threads_are_bound_and_a_new_process_is_not() -> None:
    if not cores.can_bind() or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("this machine has one core, or does not bind processes to cores")
    done = subprocess.run([sys.executable, "-c", BOUND], capture_output=True, text=True)
    assert done.stdout.strip() == "bound", done.stderr
