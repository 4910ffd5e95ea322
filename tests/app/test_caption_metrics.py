"""What Prometheus reads about captions and questions."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from millrace.app.caption_desk import CaptionDesk
from millrace.app.metrics import Metrics
from millrace.app.rtc import Rtc
from millrace.app.settings import ServerSettings
from millrace.streaming.captions.host import CaptionConfig
from prometheus_client.parser import text_string_to_metric_families

from .caption_fakes import FakeCaptionHost
from .rig import EchoHost


class CountingHost(FakeCaptionHost):
    """A host whose worker died once."""

    def stats(self) -> dict[str, Any]:
        own = {"seen_age_s": 1.25, "duplicates": 3, "looks": {"taken": 20, "unchanged": 5}}
        return {
            "by_session": {session.id: own for session in self.sessions},
            "worker": {"state": "live", "restarts": 1, "memory_mb": 10.0},
        }


def scrape(desk: CaptionDesk) -> dict[tuple[str, tuple[str, ...]], float]:
    text = Metrics(EchoHost(), Rtc(EchoHost(), ServerSettings(), captions=desk)).text().decode()
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture(scope="module")
def samples() -> dict[tuple[str, tuple[str, ...]], float]:
    host = CountingHost()
    desk = CaptionDesk(host)
    ready = threading.Event()
    desk.when_changed(ready.set)
    desk.start()
    assert ready.wait(10)
    host.open(CaptionConfig(), lambda telling: None)
    tally = desk.tally
    for delay in (0.3, 1.2):
        tally.cue("caption", delay)
    tally.cue("speech", 0.2)
    tally.alert()
    tally.question("answered")
    tally.first_word.observe(0.6)
    tally.duplicates(4)
    return scrape(desk)


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("millrace_caption_delay_seconds_bucket", ("0.5",), 1),
        ("millrace_caption_delay_seconds_count", (), 2),
        ("millrace_answer_first_word_seconds_sum", (), 0.6),
        ("millrace_caption_cues_total", ("caption",), 2),
        ("millrace_caption_cues_total", ("speech",), 1),
        ("millrace_caption_cues_total", ("alert",), 0),
        ("millrace_questions_total", ("answered",), 1),
        ("millrace_questions_total", ("refused",), 0),
        ("millrace_alerts_fired_total", (), 1),
        ("millrace_caption_duplicates_total", (), 7),
        ("millrace_caption_looks", ("taken",), 20),
        ("millrace_caption_looks", ("late",), 0),
        ("millrace_caption_sessions", (), 1),
        ("millrace_captions_seen_age_seconds", (), 1.25),
        ("millrace_caption_worker_up", (), 1),
        ("millrace_caption_worker_restarts_total", (), 1),
        ("millrace_memory_bytes", ("", "captions"), 10 * 2**20),
    ],
)
def test_captions_are_counted(
    samples: dict[tuple[str, tuple[str, ...]], float],
    name: str,
    labels: tuple[str, ...],
    value: float,
) -> None:
    assert samples[name, labels] == pytest.approx(value)


def test_a_server_without_captions_counts_none() -> None:
    samples = scrape(CaptionDesk(None))
    assert samples["millrace_caption_cues_total", ("caption",)] == 0
    assert samples["millrace_caption_worker_up", ()] == 0
