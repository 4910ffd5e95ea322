"""What Prometheus reads, and that the dashboard asks for nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from millrace.app.metrics import Metrics, buckets
from millrace.app.rtc import Rtc
from millrace.app.settings import ServerSettings
from millrace.streaming.pipeline import StreamConfig
from millrace.streaming.telemetry import SessionTelemetry
from millrace.streaming.totals import SLACKS, Totals
from prometheus_client.parser import text_string_to_metric_families

from .rig import EchoHost

DASHBOARD = Path(__file__).parents[2] / "dashboards" / "millrace.json"
NAME = re.compile(r"millrace_[a-z_]+")


class BusyHost(EchoHost):
    """A host with two devices that both worked."""

    def __init__(self) -> None:
        super().__init__()
        self.totals = [Totals(), Totals()]
        for totals in self.totals:
            telemetry = SessionTelemetry(totals)
            telemetry.took(1.2, 1.0)
            for stage in ("encode", "model", "decode"):
                telemetry.stage(1.3, stage, 0.03)
            telemetry.due(1.3, 0.05)
            telemetry.due(1.3, -0.3)
            telemetry.finished(1.3, 1.0)
            telemetry.dropped("late_drop")
            telemetry.rung(down=True)
            totals.count("busy_seconds", "all", 0.25)

    def stats(self) -> dict[str, Any]:
        worker = {"state": "live", "restarts": 2, "memory_mb": 100.0, "busy_share": 0.5}
        return {
            "by_session": {"a": {"queue": 2, "rung_name": "one pass"}, "b": {"queue": None}},
            "devices": [
                {
                    "device": name,
                    "totals": totals.plain(),
                    "worker": {**worker, "interference": 1.25},
                }
                for name, totals in zip(("cpu:0", "cpu:1"), self.totals, strict=True)
            ],
        }


def scrape() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """All samples by name and sorted labels, read back with Prometheus' own parser."""
    host = BusyHost()
    rtc = Rtc(host, ServerSettings())
    rtc.latency.observe(0.1)
    rtc.closed["viewer"] = 1
    host.open(StreamConfig(16, 16), lambda item: None)
    text = Metrics(host, rtc).text().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture(scope="module")
def samples() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return scrape()


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("millrace_stage_seconds_bucket", {"stage": "model", "le": "0.02"}, 0),
        ("millrace_stage_seconds_bucket", {"stage": "model", "le": "0.03"}, 1),
        ("millrace_stage_seconds_bucket", {"stage": "model", "le": "+Inf"}, 1),
        ("millrace_stage_seconds_sum", {"stage": "model"}, 0.03),
        ("millrace_stage_seconds_count", {"stage": "wait"}, 1),
        ("millrace_deadline_slack_seconds_bucket", {"le": "0.0"}, 1),
        ("millrace_deadline_slack_seconds_bucket", {"le": "+Inf"}, 2),
        ("millrace_deadlines_total", {"outcome": "met"}, 1),
        ("millrace_deadlines_total", {"outcome": "missed"}, 2),
        ("millrace_engine_dropped_frames_total", {"cause": "late_drop"}, 1),
        ("millrace_engine_frames_total", {"kind": "made"}, 1),
        ("millrace_rung_changes_total", {"direction": "down"}, 1),
        ("millrace_device_busy_seconds_total", {}, 0.25),
        ("millrace_device_busy_share", {}, 0.5),
        ("millrace_interference_factor", {}, 1.25),
        ("millrace_worker_restarts_total", {}, 2),
        ("millrace_worker_up", {}, 1),
        ("millrace_memory_bytes", {"process": "worker"}, 100 * 2**20),
    ],
)
def test_each_device_is_counted(
    samples: dict[tuple[str, tuple[tuple[str, str], ...]], float],
    name: str,
    labels: dict[str, str],
    value: float,
) -> None:
    for device in ("cpu:0", "cpu:1"):
        key = (name, tuple(sorted({**labels, "device": device}.items())))
        assert samples[key] == pytest.approx(value)


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("millrace_sessions", {"state": "live"}, 1),
        ("millrace_sessions", {"state": "queued"}, 0),
        ("millrace_queue_length", {}, 0),
        ("millrace_waiting_frames", {}, 2),
        ("millrace_sessions_on_rung", {"rung": "one pass"}, 1),
        ("millrace_frame_latency_seconds_count", {}, 1),
    ],
)
def test_the_server_is_counted(
    samples: dict[tuple[str, tuple[tuple[str, str], ...]], float],
    name: str,
    labels: dict[str, str],
    value: float,
) -> None:
    assert samples[name, tuple(sorted(labels.items()))] == value


def test_a_slack_below_zero_gives_no_sum() -> None:
    assert not [name for name, _ in scrape() if name == "millrace_deadline_slack_seconds_sum"]


def test_buckets_are_cumulative() -> None:
    found = buckets("slack_seconds", [1] * (len(SLACKS) + 1))
    assert [count for _, count in found] == list(range(1, len(SLACKS) + 2))
    assert found[0][0] == "-1.0" and found[-1][0] == "+Inf"


def test_the_dashboard_asks_only_for_what_there_is(
    samples: dict[tuple[str, tuple[tuple[str, str], ...]], float],
) -> None:
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    assert dashboard["schemaVersion"] == 39 and dashboard["title"] == "Millrace"
    labels: dict[str, set[str]] = {}
    for name, pairs in samples:
        labels.setdefault(name, set()).update(label for label, _ in pairs)
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    asked: set[str] = set()
    for panel in panels:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${source}"}
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            names = set(NAME.findall(target["expr"]))
            assert names and names <= set(labels), (panel["title"], names - set(labels))
            asked |= names
            for group in re.findall(r"by \(([a-z, ]+)\)", target["expr"]):
                known = set().union(*(labels[name] for name in names))
                assert set(group.split(", ")) <= known, target["expr"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for name in ("stage_seconds_bucket", "deadline_slack_seconds_bucket", "deadlines_total"):
        assert f"millrace_{name}" in asked


def test_panels_of_the_dashboard_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and max(x for x, _ in cells) < 24
        taken |= cells
