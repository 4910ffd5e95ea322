"""The worker process under violence: killed, crashing, hanging, orphaned."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes import Awaited, Feeder, make_frame
from millrace.streaming.clock import SystemClock
from millrace.streaming.config import Options
from millrace.streaming.host import HostRefused
from millrace.streaming.pipeline import StreamConfig
from millrace.streaming.supervisor import WorkerHost

pytestmark = pytest.mark.slow

STREAM = StreamConfig(16, 16, 60)
SHM = Path("/dev/shm")


def blocks(owner: int) -> list[str]:
    """Shared memory that a process made."""
    return [path.name for path in SHM.glob(f"millrace-{owner}-*")]


@contextmanager
def running(pipeline: str, **settings: Any) -> Iterator[WorkerHost]:
    options = Options(pipeline=pipeline, device="cpu", dtype="float32", threads=1)
    host = WorkerHost(options, **settings)
    host.start()
    host.ready(60)
    try:
        yield host
    finally:
        host.stop()
        assert not multiprocessing.active_children(), "no process is left"
        assert not blocks(os.getpid()), "no shared memory is left"


def pid(host: WorkerHost, viewer: Awaited) -> int:
    """The worker's process id; it comes with the first statistics."""
    viewer.wait_for(lambda: "pid" in host.stats()["worker"])
    found: int = host.stats()["worker"]["pid"]
    return found


def resumed(viewer: Awaited, count: int) -> Callable[[], bool]:
    return lambda: viewer.kinds[-1] == "live" and len(viewer.outputs) > count + 5


def test_sigkill_in_mid_stream_resumes(capsys: pytest.CaptureFixture[str]) -> None:
    with running("fakes:build_delayed") as host:
        viewer = Awaited()
        session = host.open(STREAM, viewer)
        with Feeder(session):
            viewer.wait_for(lambda: len(viewer.outputs) > 10)
            first = pid(host, viewer)
            viewer.wait_for(lambda: host.spare_ready, 60)
            session.change({"gain": 0.0})
            killed_at = SystemClock().now()
            os.kill(first, signal.SIGKILL)
            viewer.wait_for(lambda: "interrupted" in viewer.kinds)
            viewer.wait_for(resumed(viewer, len(viewer.outputs)))
        after = next(
            came - killed_at
            for came, output in zip(viewer.times, viewer.outputs, strict=True)
            if output.frame.captured_at > killed_at
        )
        with capsys.disabled():
            print(f"\n  SIGKILL to the first new picture: {after:.2f} s")
        assert after < 10
        assert viewer.kinds == ["live", "interrupted", "live"]
        assert "SIGKILL" in viewer.events[1].message
        assert viewer.indices == sorted(set(viewer.indices)), "still in order, none twice"
        assert viewer.outputs[-1].epoch == 1, "controls came along"
        assert int(viewer.outputs[-1].frame.planes[0, 0]) == 16
        assert host.stats()["worker"]["restarts"] == 1


def test_a_hung_worker_is_replaced() -> None:
    with running("fakes:build_crashing", spare=False, hang_s=3.0) as host:
        viewer, leaver = Awaited(), Awaited()
        session, other = host.open(STREAM, viewer, {"label": "hang"}), host.open(STREAM, leaver)
        leaver.wait_for(lambda: "live" in leaver.kinds)
        session.put(make_frame(0))
        leaver.wait_for(lambda: "interrupted" in leaver.kinds)
        # Between two workers: closing needs none, frames are counted, newcomers wait.
        other.put(make_frame(0))
        assert other.stats()["drops"]["interrupted"] == 1
        other.close("had enough")
        assert leaver.kinds == ["live", "interrupted", "closed"]
        late = Awaited()
        host.open(STREAM, late)
        session.change({"label": ""})
        with Feeder(session):
            viewer.wait_for(lambda: len(viewer.outputs) > 3, 60)
        late.wait_for(lambda: "live" in late.kinds)
        assert viewer.kinds == ["live", "interrupted", "live"]
        assert "did not answer for 3 s" in viewer.events[1].message
        host.stop()
        assert viewer.events[-1].kind == "closed"
        assert viewer.events[-1].message == "the server stopped"


def test_a_crash_loop_is_given_up_with_the_reason() -> None:
    with running("fakes:build_crashing", spare=False) as host:
        host.restarts.limit = 2
        viewer = Awaited()
        host.open(STREAM, viewer)
        # In no step: nobody is to blame for these.
        first = pid(host, viewer)
        os.kill(first, signal.SIGSEGV)
        viewer.wait_for(lambda: viewer.kinds[-2:] == ["interrupted", "live"], 60)
        # The number of the next one comes with its statistics, before or after this line.
        viewer.wait_for(lambda: host.stats()["worker"]["pid"] != first)
        os.kill(pid(host, viewer), signal.SIGSEGV)
        viewer.wait_for(lambda: "closed" in viewer.kinds, 60)
        assert viewer.kinds == ["live", "interrupted", "live", "closed"]
        assert "2 times within 60 s" in viewer.events[-1].message
        assert "SIGSEGV" in viewer.events[-1].message
        with pytest.raises(HostRefused, match="giving up"):
            host.open(STREAM, Awaited())
        with pytest.raises(RuntimeError, match="giving up"):
            host.ready(1)


def test_a_session_that_crashes_its_worker_is_closed_and_the_others_go_on() -> None:
    with running("fakes:build_crashing", spare=False) as host:
        host.restarts.limit = 3
        good, bad, new = Awaited(), Awaited(), Awaited()
        healthy, broken = host.open(STREAM, good), host.open(STREAM, bad)
        with Feeder(healthy), Feeder(broken):
            good.wait_for(lambda: len(good.outputs) > 5)
            broken.change({"label": "crash"})
            bad.wait_for(lambda: "closed" in bad.kinds, 60)
            assert "twice within 60 s while at work on this session" in bad.events[-1].message
            assert "SIGSEGV" in bad.events[-1].message
            good.wait_for(resumed(good, len(good.outputs)), 60)
            # The two deaths are explained: they do not count towards giving up.
            host.open(STREAM, new, {"label": "crash"}).put(make_frame(0))
            new.wait_for(lambda: "interrupted" in new.kinds, 60)
            good.wait_for(resumed(good, len(good.outputs)), 60)
        assert good.kinds[0] == "live" and set(good.kinds) == {"live", "interrupted"}
        assert good.indices == sorted(set(good.indices))


def test_stopping_during_the_start_is_clean() -> None:
    host = WorkerHost(Options(pipeline="fakes:build_delayed"))
    host.start()
    host.stop()
    with pytest.raises(RuntimeError, match="stopped"):
        host.ready(1)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("pipeline", "words"),
    [
        ("fakes:build_never", "could not start: RuntimeError: the weights are elsewhere"),
        ("fakes:build_exiting", "could not start: it ended with exit code 7"),
    ],
)
def test_a_failed_start_says_why(pipeline: str, words: str) -> None:
    host = WorkerHost(Options(pipeline=pipeline, device="cpu", dtype="float32", threads=1))
    host.start()
    with pytest.raises(RuntimeError, match=words):
        host.ready(60)
    with pytest.raises(HostRefused, match=words):
        host.open(STREAM, Awaited())
    host.stop()


def runs(process: int) -> bool:
    """Whether it still runs; an ended process that nobody collected yet does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


ORPHAN = """
import os, signal, sys
from millrace.streaming.config import Options
from millrace.streaming.pipeline import StreamConfig
from millrace.streaming.supervisor import WorkerHost

if __name__ == "__main__":
    host = WorkerHost(Options(pipeline="passthrough", device="cpu", dtype="float32", threads=1))
    host.start()
    host.ready(60)
    host.open(StreamConfig(16, 16), print)
    print([p.pid for p in __import__("multiprocessing").active_children()], flush=True)
    {end}
"""


@pytest.mark.parametrize(
    ("end", "code"), [("os.kill(os.getpid(), signal.SIGKILL)", -9), ("pass", 0)]
)
def test_a_worker_does_not_outlive_its_parent(end: str, code: int, tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text(ORPHAN.format(end=end))
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as parent:
        # Both pipes end when the last process that inherited them ends: the worker's end, too.
        out, _ = parent.communicate(timeout=60)
    assert parent.returncode == code
    children = next(line for line in out.splitlines() if line.startswith("["))
    for child in map(int, children.strip("[]").split(",")):
        assert not runs(child)
    assert not blocks(parent.pid)
