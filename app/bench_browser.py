"""`millrace bench --browser`: the whole way, camera to screen, in a real headless Chromium.

The server runs as a process of its own, as `millrace serve` starts it. The page plays the shipped
clip, and its own meter says for each picture shown how long it took from capture to display. The
report tells rates and latency over the run, and whether latency or memory grow: a slope with its
standard error.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..streaming.clock import SystemClock
from ..streaming.config import Options
from ..streaming.telemetry import percentile
from .bench_report import SHARES, slope
from .errors import CallError, CommandError
from .machine import browser_path

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-dev-shm-usage",
    "--enable-precise-memory-info",
)
START_S = 120
SAMPLE_JS = """() => {
  const meter = millrace.meter, last = window.benchLast ?? -1;
  const fresh = meter.samples.filter((s) => s.at > last);
  window.benchLast = fresh.at(-1)?.at ?? last;
  return {
    shown: meter.shown,
    missed: meter.missed,
    ms: fresh.map((s) => s.ms),
    heap: performance.memory?.usedJSHeapSize ?? 0,
    state: millrace.stage.element.dataset.state,
    stats: millrace.panel.stats ?? {},
  };
}"""


@dataclass
class Samples:
    """What was seen once a second. Times are seconds since the first sample."""

    times: list[float] = field(default_factory=list)
    shown: list[int] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    medians: list[tuple[float, float]] = field(default_factory=list)
    server_mb: list[float] = field(default_factory=list)
    page_mb: list[float] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)

    def add(self, time: float, seen: dict[str, Any], server_mb: float) -> None:
        """Take in what `SAMPLE_JS` returned."""
        self.times.append(time)
        self.shown.append(seen["shown"])
        self.latencies += seen["ms"]
        if seen["ms"]:
            self.medians.append((time, percentile(sorted(seen["ms"]), 0.5)))
        self.server_mb.append(server_mb)
        self.page_mb.append(seen["heap"] / 2**20)
        self.last = seen

    def numbers(self) -> dict[str, Any]:
        """The report's part on what was seen."""
        span = self.times[-1] - self.times[0]
        ordered = sorted(self.latencies)
        minutes = [time / 60 for time in self.times]
        return {
            "delivered_fps": round((self.shown[-1] - self.shown[0]) / span, 2),
            "delivered_fps_least": round(self._least_rate(), 2),
            "e2e_ms": {name: round(percentile(ordered, share), 1) for name, share in SHARES},
            "measured_pictures": len(ordered),
            "latency_ms_per_minute": slope([t / 60 for t, _ in self.medians],
                                           [ms for _, ms in self.medians]),
            "server_mb": [round(self.server_mb[0], 1), round(self.server_mb[-1], 1)],
            "server_mb_per_minute": slope(minutes, self.server_mb),
            "page_mb_per_minute": slope(minutes, self.page_mb),
            "drops": self.last["stats"].get("drops", {}),
            "stages_ms": self.last["stats"].get("stages", {}),
            "measured_seconds": round(span, 2),
        }  # fmt: skip

    def _least_rate(self) -> float:
        """Pictures a second in the worst ten seconds."""
        rates = [0.0]
        for first, start in enumerate(self.times):
            later = [i for i, t in enumerate(self.times) if t >= start + 10]
            if later:
                pictures = self.shown[later[0]] - self.shown[first]
                rates.append(pictures / (self.times[later[0]] - start))
        return min(rates[1:], default=0.0)


def run(options: Options, seconds: float, changes: dict[str, object]) -> dict[str, Any]:
    """One run with one viewer.

    Args:
        changes: controls to set on the page before it starts.

    Raises:
        CallError: Playwright or Chromium is missing.
        CommandError: the server or the page did not come up, or the stream broke off.
    """
    chromium = browser_path()
    try:
        from playwright.sync_api import Error, sync_playwright
    except ModuleNotFoundError as error:
        raise CallError("--browser needs Playwright: pip install 'millrace[test]'") from error
    if chromium is None:
        raise CallError("--browser needs Chromium, on Debian: apt-get install chromium")
    with _server(options) as (process, url), sync_playwright() as playwright:
        tab = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS)).new_page()
        try:
            return _watch(tab, url, process.pid, seconds, changes)
        except Error as error:
            raise CommandError(f"the page failed: {error.message.splitlines()[0]}") from error


def _watch(
    tab: Any, url: str, pid: int, seconds: float, changes: dict[str, object]
) -> dict[str, Any]:
    clock = SystemClock()
    tab.goto(url)
    tab.wait_for_selector("html[data-millrace=ready]", timeout=START_S * 1000)
    for name, value in changes.items():
        tab.evaluate("([name, value]) => millrace.set(name, value)", [name, value])
    asked = clock.now()
    tab.evaluate("millrace.start('clip')")
    tab.wait_for_function("millrace.meter.shown > 0", timeout=START_S * 1000)
    first = clock.now() - asked
    tab.wait_for_timeout(2000)
    samples = Samples()
    tab.evaluate(SAMPLE_JS)  # forgets what was measured until here
    began = clock.now()
    while (now := clock.now() - began) <= seconds or len(samples.times) < 2:
        seen = tab.evaluate(SAMPLE_JS)
        if seen["state"] not in ("live", "interrupted"):
            raise CommandError(f"the stream broke off after {now:.0f} s: {seen['state']}")
        samples.add(now, seen, tree_memory_mb(pid))
        tab.wait_for_timeout(1000)
    return {"ttff_ms": round(first * 1e3, 1)} | samples.numbers()


@contextmanager
def _server(options: Options) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`millrace serve` on a free port; gives its process and its address."""
    arguments = [
        "--port", "0", "--pipeline", options.pipeline, "--device", options.device,
        "--dtype", options.dtype, "--threads", str(options.threads), "--fps", str(options.fps),
        "--size", f"{options.width}x{options.height}",
    ]  # fmt: skip
    main = f"from {__package__}.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", main, "serve", *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            words = process.stdout.readline().split()
            url = next((word for word in words if word.startswith("http")), None)
            if url is None:
                raise CommandError("the server did not start; its message is above")
            yield process, url
        finally:
            process.send_signal(signal.SIGINT)


def tree_memory_mb(pid: int) -> float:
    """Proportional memory of a process and all below it, in MB: shared pages count once (Linux)."""
    total = 0.0
    for one in [pid, *descendants(pid)]:
        try:
            for line in Path(f"/proc/{one}/smaps_rollup").read_text("ascii").splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) / 1024
        except OSError:
            continue  # it ended meanwhile
    return total


def descendants(pid: int) -> Sequence[int]:
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, file.read_text("ascii").split()):
            found += [child, *descendants(child)]
    return found
