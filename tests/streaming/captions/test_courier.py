"""What is on its way to the worker: wishes in order, and of looks the newest."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from millrace.streaming.captions.courier import Courier
from millrace.streaming.captions.looks import Look
from millrace.streaming.captions.messages import Ask, NewLook, Request, Unwatch


class FakeWorker:
    """Takes messages, and may hold up whoever sends."""

    def __init__(self, alive: bool = True) -> None:
        self.alive = alive
        self.got: list[Any] = []
        self.gate = threading.Event()
        self.gate.set()
        self.more = threading.Condition()

    def send(self, message: Any) -> bool:
        self.gate.wait()
        with self.more:
            self.got.append(message)
            self.more.notify_all()
        return self.alive

    def wait(self, count: int) -> list[Any]:
        with self.more:
            assert self.more.wait_for(lambda: len(self.got) >= count, 60)
        return self.got


def look(second: float) -> Look:
    picture = np.zeros((3, 2), np.uint8)
    return Look(second, second, second, 2, 2, (picture, picture))


def courier(lost: list[Request] | None = None) -> Courier:
    out = Courier((lost if lost is not None else []).append)
    out.start()
    return out


def connected(out: Courier, worker: FakeWorker, first: tuple[Request, ...] = ()) -> None:
    out.connect(worker, first)  # type: ignore[arg-type]


def test_a_new_worker_is_told_of_its_sessions_first() -> None:
    out, worker = courier(), FakeWorker()
    out.look("a", look(0.0))
    connected(out, worker, (Unwatch("a", 1), Unwatch("a", 2)))
    out.post(Unwatch("a", 3))
    got = worker.wait(4)
    assert [m.number for m in got if isinstance(m, Unwatch)] == [1, 2, 3]
    assert isinstance(got[0], Unwatch)
    out.stop()


def test_of_looks_one_is_on_its_way_and_the_newest_waits() -> None:
    out, worker = courier(), FakeWorker()
    connected(out, worker)
    assert out.look("a", look(0.0))
    worker.wait(1)
    assert out.look("a", look(1.0))
    assert not out.look("a", look(2.0))
    assert out.look("b", look(5.0))  # of another session
    worker.wait(2)
    out.taken("a")
    got = [(m.session, m.look.second) for m in worker.wait(3) if isinstance(m, NewLook)]
    assert got == [("a", 0.0), ("b", 5.0), ("a", 2.0)]
    out.stop()


def test_nobody_waits_while_the_pipe_is_full() -> None:
    out, worker = courier(), FakeWorker()
    connected(out, worker)
    worker.gate.clear()
    for n in range(100):
        out.look("a", look(float(n)))
        out.post(Unwatch("a", n))
    worker.gate.set()
    got = worker.wait(101)
    assert [m.number for m in got if isinstance(m, Unwatch)] == list(range(100))
    out.stop()


def test_without_a_worker_wishes_come_back_and_looks_wait() -> None:
    lost: list[Request] = []
    done = threading.Event()
    out = Courier(lambda wish: (lost.append(wish), done.set())[1])  # type: ignore[func-returns-value]
    out.start()
    out.look("a", look(0.0))
    question = Ask("a", 1, "what", None)
    out.post(question)
    assert done.wait(60) and lost == [question]
    worker = FakeWorker()
    connected(out, worker)
    assert worker.wait(1)[0].look.second == 0.0
    out.disconnect()
    out.look("a", look(1.0))
    out.forget("a")
    connected(out, FakeWorker())
    out.stop()
    assert len(worker.got) == 1


def test_what_a_dead_worker_does_not_take_comes_back() -> None:
    lost: list[Request] = []
    out, worker = courier(lost), FakeWorker(alive=False)
    connected(out, worker)
    out.post(Unwatch("a", 1))
    worker.wait(1)
    out.stop()
    assert [wish.session for wish in lost] == ["a"]
