"""The example of a user's own model: what the README shows is what runs."""

from __future__ import annotations

import importlib
import queue
import re
from pathlib import Path

import numpy as np
import pytest
from millrace.streaming.clock import SystemClock
from millrace.streaming.config import Options
from millrace.streaming.frames import Frame, i420_shape
from millrace.streaming.host import Event, Output
from millrace.streaming.local import LocalHost
from millrace.streaming.pipeline import StreamConfig

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "docs" / "examples" / "edges.py"


def test_the_readme_shows_the_example() -> None:
    shown = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)
    assert EXAMPLE.read_text("utf-8") in shown


def test_the_example_is_as_short_as_promised() -> None:
    lines = [line for line in EXAMPLE.read_text("utf-8").splitlines()[2:] if line.strip()]
    assert len(lines) <= 20


def test_the_example_finds_edges_in_a_live_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLE.parent)
    importlib.invalidate_caches()
    clock = SystemClock()
    heard: queue.Queue[Output | Event] = queue.Queue()
    host = LocalHost(Options("edges:Edges", device="cpu", dtype="float32", threads=1), clock=clock)
    host.start()
    try:
        info = host.ready(60)
        assert [c.name for c in info.pipeline.controls][:1] == ["gain"]
        session = host.open(StreamConfig(64, 64), heard.put, {"gain": 8.0})
        planes = np.full(i420_shape(64, 64), 128, np.uint8)
        planes[:64, :32], planes[:64, 32:] = 60, 180
        session.put(Frame(planes, 64, 64, 0, clock.now(), 0))
        while not isinstance(item := heard.get(timeout=30), Output):
            assert item.kind != "closed", item.message
        luma = item.frame.planes[:64].astype(float)
        assert luma[4:-4, 31:33].min() > 200  # the edge in the middle
        assert luma[4:-4, 4:28].max() < 20  # nothing beside it
    finally:
        host.stop()
