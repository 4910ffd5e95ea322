"""The whole way, measured: a server, a real Chromium before it, and what a viewer gets.

`python -m millrace.app.soak --seconds 60` prints delivered frames a second, latency on the viewer's
clock, drops by cause and memory; `--seconds 600` adds whether any of them grows. Needs Playwright
and a Chromium (the `test` extra).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..streaming.clock import SystemClock
from . import machine
from .processes import resident_mb, tree
from .trend import percentile, trend

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream=device-count=1,fps=30",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-dev-shm-usage",
)
WARM_UP_S = 3.0
READY = "Millrace is at "


@dataclass(slots=True)
class Samples:
    """What was read off the page and the system, every `every` seconds."""

    latencies: list[tuple[float, float]] = field(default_factory=list)
    """(second since the start, ms), one for each picture shown."""
    memory: list[tuple[float, float]] = field(default_factory=list)
    """(second since the start, MB of the server with its workers)."""
    stats: dict[str, Any] = field(default_factory=dict)
    first: dict[str, Any] = field(default_factory=dict)


@contextmanager
def server(arguments: Sequence[str]) -> Iterator[tuple[str, int]]:
    """`millrace serve` on a free port: its URL and process id.

    Raises:
        RuntimeError: it ended before it was ready; what it said is on stderr.
    """
    call = "from millrace.app.cli import main; main()"
    command = [sys.executable, "-c", call, "serve", "--port", "0", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(READY):
                yield line.removeprefix(READY).split()[0], process.pid
                return
        raise RuntimeError("the server did not start; its reason stands above")
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def tab(url: str) -> Iterator[Any]:
    """The page in a headless Chromium.

    Raises:
        RuntimeError: Playwright or a Chromium is missing.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise RuntimeError("Playwright is missing: pip install 'millrace[test]'") from None
    path = next(filter(None, map(shutil.which, machine.BROWSERS)), None)
    if path is None:
        raise RuntimeError("there is no Chromium; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(url)
        page.wait_for_selector("html[data-millrace=ready]")
        yield page
        browser.close()


def watch(page: Any, pid: int, seconds: float, every: float) -> Samples:
    """Read the page's own numbers for a while."""
    clock, samples = SystemClock(), Samples()
    samples.first = page.evaluate("millrace.panel.stats")
    origin, last = page.evaluate("performance.now()"), 0.0
    began = clock.now()
    while (elapsed := clock.now() - began) < seconds:
        page.wait_for_timeout(1000 * min(every, seconds - elapsed))
        now = clock.now() - began
        got = page.evaluate(
            "(({ meter, panel }) => [meter.samples, meter.missed, panel.stats])(millrace)"
        )
        fresh = [(s["at"], s["ms"]) for s in got[0] if s["at"] > max(last, origin)]
        last = max((at for at, _ in fresh), default=last)
        samples.latencies += [((at - origin) / 1000, ms) for at, ms in fresh]
        samples.memory.append((now, resident_mb(tree(pid))))
        samples.stats = {**got[2], "missed": got[1]}
        print(
            f"\r{now:5.0f} s  {len(fresh) / every:5.1f} frames/s  "
            f"p95 {percentile([ms for _, ms in fresh], 0.95):5.0f} ms  "
            f"{samples.memory[-1][1]:6.0f} MB",
            end="",
            file=sys.stderr,
            flush=True,
        )
    print(file=sys.stderr)
    return samples


def report(samples: Samples, seconds: float) -> dict[str, Any]:
    """The numbers by the names that all reports use."""
    ms = [value for _, value in samples.latencies]
    before, after = samples.first, samples.stats
    drops = {k: v - before["drops"].get(k, 0) for k, v in after.get("drops", {}).items()}
    growth = {
        "latency_ms_per_min": trend(samples.latencies),
        "memory_mb_per_min": trend(samples.memory[len(samples.memory) // 4 :]),
    }
    return {
        "seconds": seconds,
        "goodput_fps": round(len(ms) / seconds, 2),
        "raw_fps": after.get("fps_out"),
        "source_fps": after.get("source_fps"),
        "e2e_ms": {f"p{q}": round(percentile(ms, q / 100), 1) for q in (50, 95, 99)},
        "engine_ms": after.get("e2e_ms"),
        "stages": after.get("stages"),
        "ttff_ms": after.get("ttff_ms"),
        "drops": {**drops, "browser": after["missed"]},
        "peak_memory_mb": round(max(mb for _, mb in samples.memory), 1),
        "growth": {name: t.as_dict() for name, t in growth.items()},
        "environment": machine.facts(),
    }


def table(numbers: dict[str, Any]) -> str:
    """The report for people."""
    e2e, drops, source = numbers["e2e_ms"], numbers["drops"], numbers["source_fps"]
    lines = [
        f"delivered            {numbers['goodput_fps']:.1f} frames/s of the source's {source}",
        f"capture to display   p50 {e2e['p50']:.0f}  p95 {e2e['p95']:.0f}  p99 {e2e['p99']:.0f} ms",
        f"dropped              {', '.join(f'{k} {v}' for k, v in drops.items() if v) or 'none'}",
        f"peak memory          {numbers['peak_memory_mb']:.0f} MB (server and workers)",
    ]
    for name, t in numbers["growth"].items():
        what, _, unit = name.partition("_")
        verdict = "grows" if t["grows"] else "does not grow"
        unit = unit.replace("_per_min", " a minute").replace("mb", "MB")
        error = "unknown" if t["error"] is None else f"{t['error']:.3f}"
        change = f"{t['slope']:+.3f} +- {error} {unit}"
        lines.append(f"{what:<20} {verdict}: {change}")
    return "\n".join(lines)


def measure(
    arguments: Sequence[str],
    source: str,
    controls: Mapping[str, object],
    seconds: float,
    every: float = 2.0,
) -> dict[str, Any]:
    """One run with one viewer, from the start of the server to its end.

    Args:
        arguments: for `millrace serve`.
        source: what the page sends: "camera" (a fake one), "clip" or "pattern".
        controls: values to set on the page.
        every: seconds between two readings.

    Raises:
        RuntimeError: the server did not start, or Playwright or Chromium is missing.
    """
    with server(arguments) as (url, pid), tab(url) as page:
        page.evaluate("values => millrace.setAll(values)", dict(controls))
        page.evaluate("kind => millrace.start(kind)", source)
        page.wait_for_function("millrace.panel.stats && millrace.meter.percentiles()?.count > 9")
        page.wait_for_timeout(1000 * WARM_UP_S)
        numbers = report(watch(page, pid, seconds, every), seconds)
    return numbers | {"controls": dict(controls), "source": source}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m millrace.app.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to measure")
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two readings")
    parser.add_argument("--source", default="camera", choices=["camera", "clip", "pattern"])
    parser.add_argument("--controls", default="{}", help="JSON object of control values")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    options, passed_on = parser.parse_known_args(arguments)
    controls = json.loads(options.controls)
    try:
        numbers = measure(passed_on, options.source, controls, options.seconds, options.every)
    except RuntimeError as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1
    print(table(numbers))
    if options.json:
        options.json.write_text(json.dumps(numbers, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
