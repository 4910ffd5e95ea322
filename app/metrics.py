"""Prometheus metrics of the server: its connections, its workers' counts and what is true now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from ..streaming.host import Host
from ..streaming.telemetry import process_stats
from ..streaming.totals import HISTOGRAMS, Tally
from . import caption_metrics
from .rtc import Rtc

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STATES = ("queued", "opening", "live", "interrupted")
HISTOGRAM_NAMES = (
    ("stage_seconds", "stage", "millrace_stage_seconds", "Seconds that a stage took, by chunk."),
    (
        "slack_seconds",
        None,
        "millrace_deadline_slack_seconds",
        "Seconds from a chunk's end to its deadline; below 0 it came late.",
    ),
)
"""(family of the tally, its label's name, metric, help)."""
COUNTER_NAMES = (
    ("frames", "kind", "millrace_engine_frames", "Pictures from the engine, made or repeated."),
    ("drops", "cause", "millrace_engine_dropped_frames", "Frames not worked on, by cause."),
    ("deadlines", "outcome", "millrace_deadlines", "Frames by whether they met their deadline."),
    ("rung_changes", "direction", "millrace_rung_changes", "Steps on the quality ladder."),
    ("stage_runs", "way", "millrace_stage_runs", "Stages by how they ran, and recordings made."),
    ("busy_seconds", None, "millrace_device_busy_seconds", "Seconds that the device worked."),
)


class Metrics(Collector):
    """Reads the numbers when they are asked for, so that counting costs the media path nothing."""

    def __init__(self, host: Host, rtc: Rtc) -> None:
        self._host = host
        self._rtc = rtc
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._registry.register(rtc.latency)
        self._registry.register(rtc.captions.tally.delay)
        self._registry.register(rtc.captions.tally.first_word)

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def describe(self) -> Iterator[Metric]:
        """Nothing ahead of time: registering must not ask the host for numbers."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        stats = self._host.stats()
        devices = by_device(stats)
        yield from self._connections()
        yield from self._frames()
        yield from self._sessions(stats.get("by_session", {}))
        yield from histograms({name: own.get("totals", {}) for name, own in devices.items()})
        yield from counters({name: own.get("totals", {}) for name, own in devices.items()})
        teller = self._rtc.captions.stats().get("worker", {})
        yield from workers({name: own.get("worker", {}) for name, own in devices.items()}, teller)
        yield from caption_metrics.collect(self._rtc.captions)

    def _connections(self) -> Iterator[Metric]:
        stats = self._rtc.stats()
        states = GaugeMetricFamily(
            "millrace_peer_connections", "WebRTC connections by state.", labels=["state"]
        )
        for state, count in stats["peers"].items():
            states.add_metric([state], count)
        yield states
        yield CounterMetricFamily(
            "millrace_sessions_opened", "Sessions opened.", value=stats["opened"]
        )
        closed = CounterMetricFamily(
            "millrace_sessions_closed", "Sessions closed, by cause.", labels=["cause"]
        )
        for cause, count in stats["closed"].items():
            closed.add_metric([cause], count)
        yield closed

    def _frames(self) -> Iterator[Metric]:
        frames = CounterMetricFamily(
            "millrace_frames", "Pictures at the two ends of the media path.", labels=["direction"]
        )
        drops = CounterMetricFamily(
            "millrace_dropped_frames", "Pictures dropped by the web process.", labels=["cause"]
        )
        totals = self._rtc.totals()
        for direction in ("received", "sent", "repeated"):
            frames.add_metric([direction], getattr(totals, direction))
        for cause, count in totals.drops.items():
            drops.add_metric([cause], count)
        yield frames
        yield drops

    def _sessions(self, by_session: Mapping[str, Mapping[str, Any]]) -> Iterator[Metric]:
        """Sums over all sessions: a label for each viewer would grow without bound."""
        states: Counter[str] = Counter(session.state for session in self._host.sessions())
        sessions = GaugeMetricFamily("millrace_sessions", "Sessions by state.", labels=["state"])
        for state in STATES:
            sessions.add_metric([state], states[state])
        yield sessions
        yield GaugeMetricFamily(
            "millrace_queue_length", "Sessions that wait for a place.", value=states["queued"]
        )
        yield GaugeMetricFamily(
            "millrace_waiting_frames",
            "Chunks that wait for the device or are on it.",
            value=sum(numbers.get("queue") or 0 for numbers in by_session.values()),
        )
        rungs = Counter(str(n["rung_name"]) for n in by_session.values() if n.get("rung_name"))
        on_rung = GaugeMetricFamily(
            "millrace_sessions_on_rung", "Sessions by step of the quality ladder.", labels=["rung"]
        )
        for rung, count in rungs.items():
            on_rung.add_metric([rung], count)
        yield on_rung


def by_device(stats: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """A host's numbers for each of its devices, by name; a host of one may give only its own."""
    devices: Sequence[Mapping[str, Any]] = stats.get("devices") or ()
    if devices:
        return {str(own["device"]): own for own in devices}
    return {"0": stats}


def histograms(tallies: Mapping[str, Tally]) -> Iterator[Metric]:
    for family, label, name, words in HISTOGRAM_NAMES:
        labels = ["device", *([label] if label else [])]
        metric = HistogramMetricFamily(name, words, labels=labels)
        for device, tally in tallies.items():
            for value, numbers in tally.get(family, {}).items():
                *counts, total = numbers
                own = [device, value] if label else [device]
                # A sum that can fall is no counter, so a histogram with values below 0 has none.
                falls = HISTOGRAMS[family][0] < 0
                metric.add_metric(own, buckets(family, counts), None if falls else total)
        yield metric


def buckets(family: str, counts: Sequence[float]) -> list[tuple[str, float]]:
    """Cumulative counts by upper bound, as Prometheus wants them."""
    bounds = [*(str(float(bound)) for bound in HISTOGRAMS[family]), "+Inf"]
    return list(zip(bounds, accumulate(counts), strict=True))


def counters(tallies: Mapping[str, Tally]) -> Iterator[Metric]:
    for family, label, name, words in COUNTER_NAMES:
        labels = ["device", *([label] if label else [])]
        metric = CounterMetricFamily(name, words, labels=labels)
        for device, tally in tallies.items():
            for value, (count,) in tally.get(family, {}).items():
                metric.add_metric([device, value] if label else [device], count)
        yield metric


def workers(
    by_name: Mapping[str, Mapping[str, Any]], teller: Mapping[str, Any]
) -> Iterator[Metric]:
    """What is true of each worker now; of the captions' own one only its memory."""
    up = GaugeMetricFamily("millrace_worker_up", "1 while it serves.", labels=["device"])
    restarts = CounterMetricFamily(
        "millrace_worker_restarts", "Times that it died.", labels=["device"]
    )
    memory = GaugeMetricFamily(
        "millrace_memory_bytes", "Resident memory.", labels=["process", "device"]
    )
    busy = GaugeMetricFamily(
        "millrace_device_busy_share", "Share of the last seconds it worked.", labels=["device"]
    )
    factor = GaugeMetricFamily(
        "millrace_interference_factor",
        "How much slower the device is than its table of costs says.",
        labels=["device"],
    )
    memory.add_metric(["web", ""], (process_stats()["memory_mb"] or 0) * 2**20)
    if is_number(teller.get("memory_mb")):
        memory.add_metric(["captions", ""], teller["memory_mb"] * 2**20)
    for device, worker in by_name.items():
        up.add_metric([device], worker.get("state") == "live")
        restarts.add_metric([device], worker.get("restarts", 0))
        for metric, labels, key, unit in (
            (memory, ["worker", device], "memory_mb", 2**20),
            (busy, [device], "busy_share", 1),
            (factor, [device], "interference", 1),
        ):
            if is_number(worker.get(key)):
                metric.add_metric(labels, worker[key] * unit)
    yield from (up, restarts, memory, busy, factor)


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
