"""What Prometheus reads about captions, questions and alerts."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from .caption_desk import CaptionDesk

CUE_KINDS = ("caption", "alert", "speech", "answer")
OUTCOMES = ("answered", "failed", "refused")
LOOKS = ("taken", "unchanged", "superseded", "late")


def collect(desk: CaptionDesk) -> Iterator[Metric]:
    """Sums over all viewers; the histograms are the desk's own."""
    cues, questions, alerts, past = desk.tally.counts()
    stats = desk.stats()
    live = list(stats.get("by_session", {}).values())
    yield _by_label("millrace_caption_cues", "Cues of caption tracks.", "kind", CUE_KINDS, cues)
    yield _by_label("millrace_questions", "Questions asked.", "outcome", OUTCOMES, questions)
    yield CounterMetricFamily("millrace_alerts_fired", "Alerts that came true.", value=alerts)
    yield CounterMetricFamily(
        "millrace_caption_duplicates",
        "Captions that said nothing new and were not sent.",
        value=past + sum(one.get("duplicates", 0) for one in live),
    )
    looks = {name: sum(one.get("looks", {}).get(name, 0) for one in live) for name in LOOKS}
    gauge = GaugeMetricFamily(
        "millrace_caption_looks", "Looks of the open sessions, by outcome.", labels=["outcome"]
    )
    for name, count in looks.items():
        gauge.add_metric([name], count)
    yield gauge
    yield GaugeMetricFamily(
        "millrace_caption_sessions", "Viewers whose captions are open.", value=len(live)
    )
    ages = [age for one in live if (age := one.get("seen_age_s")) is not None]
    yield GaugeMetricFamily(
        "millrace_captions_seen_age_seconds",
        "Age of the newest picture up to which all was told, of the viewer furthest behind.",
        value=max(ages, default=0.0),
    )
    worker = stats.get("worker", {})
    yield GaugeMetricFamily(
        "millrace_caption_worker_up", "1 while it serves.", value=worker.get("state") == "live"
    )
    yield CounterMetricFamily(
        "millrace_caption_worker_restarts", "Times that it died.", value=worker.get("restarts", 0)
    )


def _by_label(
    name: str, words: str, label: str, values: tuple[str, ...], counts: dict[str, int]
) -> Metric:
    metric = CounterMetricFamily(name, words, labels=[label])
    for value in values:
        metric.add_metric([value], counts.get(value, 0))
    return metric
