"""Prometheus metrics of the web process, by the design's names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..streaming.host import Host
from .rtc import Rtc

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics(Collector):
    """Reads the numbers when they are asked for, so that counting costs the media path nothing."""

    def __init__(self, host: Host, rtc: Rtc) -> None:
        self._host = host
        self._rtc = rtc
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._registry.register(rtc.latency)

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def describe(self) -> Iterator[Metric]:
        """Nothing ahead of time: registering must not ask the host for numbers."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        yield from self._connections()
        yield from self._frames()
        yield from self._engine(self._host.stats())

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

    def _engine(self, stats: Mapping[str, Any]) -> Iterator[Metric]:
        """Every number of the host, nested names joined: e2e_ms.p95 becomes e2e_ms{key="p95"}."""
        yield GaugeMetricFamily(
            "millrace_sessions", "Open sessions.", value=len(self._host.sessions())
        )
        for name, value in stats.items():
            if name == "by_session":  # a label for each viewer would grow without bound
                continue
            metric = f"millrace_engine_{name}"
            if isinstance(value, Mapping):
                family = GaugeMetricFamily(metric, f"Engine: {name}.", labels=["key"])
                for key, number in value.items():
                    if is_number(number):
                        family.add_metric([str(key)], number)
                yield family
            elif is_number(value):
                yield GaugeMetricFamily(metric, f"Engine: {name}.", value=value)


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
