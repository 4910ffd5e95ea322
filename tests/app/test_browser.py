"""A real Chromium in front of the whole server: what a viewer sees, counted picture by picture."""

from __future__ import annotations

import os
import signal
import statistics
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from millrace.app.settings import ServerSettings
from millrace.streaming.config import Options
from millrace.streaming.supervisor import WorkerHost

from .browser_rig import MILD, RIG, Site, Viewer, chromium, serving
from .mild import CHUNK
from .rig import EchoHost

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    options = Options(MILD, device="cpu", dtype="float32", threads=1, max_sessions=2)
    with serving(WorkerHost(options)) as site:
        yield site


@pytest.fixture
def viewer(browser: Any, site: Site) -> Iterator[Viewer]:
    with closing(Viewer(browser, site)) as viewer:
        yield viewer.open()


def hue(colour: list[int]) -> str:
    """Which of the test's looks a pixel has."""
    return ("rose", "lime", "sky")[max(range(3), key=lambda i: colour[i])]


def test_numbered_pictures_come_back_restyled_in_order(viewer: Viewer) -> None:
    viewer.start(pictures=60).shows("millrace.meter.percentiles()?.count > 20")
    seen = viewer.ask("rig.seen")
    numbers = [picture["number"] for picture in seen]
    assert all(a <= b for a, b in zip(numbers, numbers[1:], strict=False))
    assert viewer.ask("rig.unreadable") <= len(seen) // 10
    assert {hue(picture["colour"]) for picture in seen[5:]} == {"rose"}

    measured = statistics.median(picture["latency"] for picture in seen[10:])
    shown = viewer.ask("millrace.meter.percentiles()")
    assert 0 < shown["p50"] <= shown["p95"]
    # The page's number is found without looking at the picture; the picture itself agrees.
    assert abs(measured - shown["p50"]) < 0.35 * measured + 50

    # The statistics come a few times a second, so they may be some pictures behind.
    viewer.shows(f"millrace.panel.stats.received >= {len(set(numbers))}")
    stats = viewer.ask("millrace.panel.stats")
    assert set(stats["drops"]) >= {"ingest", "superseded", "egress"}
    assert viewer.page.inner_text("[data-part=p50]").isdigit()
    assert viewer.foreign == [] and viewer.problems == []


def test_a_typed_prompt_shows_within_two_chunks(viewer: Viewer) -> None:
    viewer.start(pictures=20)
    box = viewer.page.get_by_label("Prompt")
    box.fill("lime zebra")
    viewer.shows("millrace.asked >= 1")
    before = viewer.ask("rig.seen.length")
    viewer.until("rig.seen.at(-1).colour[1] > rig.seen.at(-1).colour[0]")
    viewer.shows("millrace.applied >= millrace.asked")
    late = [hue(p["colour"]) for p in viewer.ask("rig.seen")[before:]].index("lime")
    # What was ready comes first, then a chunk that the model had begun and one that it holds back.
    assert late <= 2 * CHUNK + CHUNK
    viewer.shows("document.querySelector('.mr-understood').textContent.includes('lime')")
    assert "zebra" in viewer.page.inner_text(".mr-understood")


def test_a_preset_fills_the_prompt_and_reaches_the_picture(viewer: Viewer) -> None:
    viewer.start(pictures=5)
    viewer.page.get_by_role("button", name="Sky").click()
    viewer.until("rig.seen.at(-1).colour[2] > rig.seen.at(-1).colour[0]")
    viewer.shows("document.querySelector('#mr-c-prompt textarea').value === 'sky'")
    assert viewer.page.get_by_role("button", name="Sky").get_attribute("aria-pressed") == "true"


def test_stop_and_start_again(viewer: Viewer, site: Site) -> None:
    viewer.start(pictures=5)
    first = site.host.last
    assert first is not None
    viewer.page.get_by_role("button", name="Stop").click()
    assert first.freed.wait(45)
    viewer.shows("millrace.stage.element.dataset.state === 'idle'")
    viewer.ask("rig.seen.length = 0")
    viewer.ask("millrace.use(rig.source())")
    viewer.until("rig.seen.length > 20")
    assert site.host.last is not first


def test_closing_the_tab_frees_the_session(browser: Any, site: Site) -> None:
    viewer = Viewer(browser, site).open().start(pictures=3)
    session = site.host.last
    assert session is not None and not session.freed.is_set()
    viewer.page.close()
    assert session.freed.wait(45)
    viewer.close()


def test_a_lost_connection_comes_back_by_itself(viewer: Viewer, site: Site) -> None:
    viewer.start(pictures=5)
    first = site.host.last
    assert first is not None
    viewer.ask(
        "window.states = []; millrace.connection.addEventListener('state',"
        " ({ detail }) => states.push([detail.state, detail.message]))"
    )
    url = f"{site.url}api/v1/sessions/{first.id}"
    assert viewer.context.request.delete(url).status == 204
    viewer.shows("states.some(([state]) => state === 'reconnecting')")
    viewer.until("rig.seen.at(-1).number > 30")
    assert any("lost" in message for _, message in viewer.ask("states"))
    viewer.shows("document.querySelector('.mr-notice').hidden")
    assert site.host.last is not first


def test_a_killed_worker_is_told_of_and_survived(viewer: Viewer, site: Site) -> None:
    viewer.start(pictures=20)
    session = viewer.ask("millrace.connection.session")
    viewer.ask(
        "window.told = []; millrace.connection.addEventListener('message', ({ detail }) => {"
        " if (detail.type === 'event') told.push([detail.event, performance.now()]); })"
    )
    # A spare worker may be there before the page is looked at, so all that it shows is kept.
    viewer.ask(
        "window.shown = new Set(); new MutationObserver(() => shown.add("
        "`${millrace.stage.element.dataset.state}:"
        " ${document.querySelector('.mr-notice').textContent}`)).observe(document.body,"
        " { subtree: true, attributes: true, childList: true, characterData: true })"
    )
    pid = site.host.host.exchange.worker.pid
    count = viewer.ask("rig.count")
    os.kill(pid, signal.SIGKILL)
    viewer.shows("[...shown].some((one) => /^interrupted: .*started again/s.test(one))")
    viewer.until(f"rig.seen.at(-1).number > {count} + 15")
    viewer.shows("millrace.stage.element.dataset.state === 'live'")
    assert viewer.ask("millrace.connection.session") == session
    (down, at), (up, again) = viewer.ask("told")[:2]
    assert (down, up) == ("interrupted", "live")
    print(f"worker back after {(again - at) / 1000:.2f} s")


def test_a_refused_camera_is_explained(viewer: Viewer) -> None:
    viewer.ask(
        "void (navigator.mediaDevices.getUserMedia = () =>"
        " Promise.reject(new DOMException('no', 'NotAllowedError')))"
    )
    viewer.page.get_by_role("button", name="Start camera").click()
    viewer.shows("!document.querySelector('.mr-notice').hidden")
    assert "allow it" in viewer.page.inner_text(".mr-notice")
    assert viewer.page.inner_text(".mr-status") == "Ready"


def test_a_full_server_is_explained_and_tried_again(browser: Any, site: Site) -> None:
    with closing(Viewer(browser, site)) as one, closing(Viewer(browser, site)) as two:
        one.open().start()
        two.open().start()
        with closing(Viewer(browser, site)) as third:
            third.open().ask("rig.watch(); millrace.use(rig.source())")
            third.shows("millrace.stage.element.dataset.state === 'reconnecting'")
            assert "places are taken" in third.page.inner_text(".mr-notice")
            one.ask("millrace.stop()")
            third.until("rig.seen.length > 3")


def test_a_browser_that_cannot_tell_its_pictures_shows_the_server_part(viewer: Viewer) -> None:
    viewer.ask("void delete HTMLVideoElement.prototype.requestVideoFrameCallback")
    viewer.ask("millrace.use(rig.source())")
    viewer.shows("/[0-9]/.test(document.querySelector('[data-part=p50]').textContent)")
    assert viewer.page.inner_text("[data-part=latency-name]") == "Server part only"
    assert "the server sees" in viewer.page.inner_text("[data-part=latency-note]")


def test_the_shipped_model_restyles_and_strength_fades_it(browser: Any) -> None:
    options = Options("tiny", device="cpu", max_sessions=1)
    with (
        serving(WorkerHost(options, spare=False)) as site,
        closing(Viewer(browser, site)) as viewer,
    ):
        viewer.open().ask("millrace.setAll({ prompt: 'thermal camera', strength: 1 })")
        viewer.ask("millrace.use(rig.source())")
        viewer.shows("document.querySelector('[data-part=out]').videoWidth === 256")
        viewer.shows("millrace.panel.stats?.frames_out > 5")
        full = viewer.ask("rig.difference()")
        viewer.ask("millrace.set('strength', 0)")
        viewer.shows("millrace.applied >= 1")
        gone = viewer.ask("millrace.panel.stats.frames_out")
        viewer.shows(f"millrace.panel.stats.frames_out > {gone} + 5")
        faded = viewer.ask("rig.difference()")
        print(f"differs by {full:.1f} levels at full strength, by {faded:.1f} at none")
        assert full > 25, "codec and scaling alone make about 3"
        assert faded < 0.7 * full


def test_colours_come_back_as_they_were_sent(browser: Any) -> None:
    sent = {
        "#ff0000": (255, 0, 0), "#00ff00": (0, 255, 0), "#0000ff": (0, 0, 255),
        "#ffffff": (255, 255, 255), "#000000": (0, 0, 0), "#1ed9c4": (30, 217, 196),
        "#a0a532": (160, 165, 50), "#808080": (128, 128, 128),
    }  # fmt: skip
    with serving(EchoHost()) as site, closing(Viewer(browser, site)) as viewer:
        viewer.open().ask(f"millrace.use(rig.colours({list(sent)}))")
        viewer.shows("millrace.meter.percentiles()?.count > 10")
        got = viewer.ask(f"rig.returned({len(sent)})")
    for name, back in zip(sent, got, strict=True):
        assert back == pytest.approx(sent[name], abs=10), name


def test_a_token_opens_the_page_and_the_picture(browser: Any) -> None:
    settings = ServerSettings(port=0, token="open sesame")
    with serving(EchoHost(), settings) as site, closing(Viewer(browser, site)) as viewer:
        viewer.page.goto(site.url)
        assert "asks for its token" in viewer.page.inner_text("[role=alert]")
        viewer.page.get_by_label("Token").fill("open sesame")
        viewer.page.get_by_role("button", name="Open").click()
        viewer.page.wait_for_selector("html[data-millrace=ready]")
        assert "sesame" not in viewer.page.url
        viewer.ask(RIG)
        viewer.start(pictures=3)


def test_the_camera_works_and_can_be_compared_by_keyboard(viewer: Viewer) -> None:
    viewer.page.get_by_role("button", name="Start camera").click()
    viewer.shows("document.querySelector('[data-part=out]').videoWidth > 0")
    viewer.page.get_by_role("button", name="Compare").click()
    split = viewer.page.get_by_role("slider", name="Before and after")
    split.focus()
    viewer.page.keyboard.press("ArrowLeft")
    assert viewer.ask("millrace.stage.element.style.getPropertyValue('--split')") == "49%"
    with viewer.page.expect_download() as saved:
        viewer.page.get_by_role("button", name="Save a picture").click()
    assert saved.value.suggested_filename.endswith(".png")
    viewer.page.get_by_role("button", name="Record").click()
    viewer.shows("millrace.recorder.size > 0")
    with viewer.page.expect_download() as recorded:
        viewer.page.get_by_role("button", name="Record").click()
    assert recorded.value.suggested_filename.endswith(".webm")
    assert os.path.getsize(recorded.value.path()) > 1000


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_every_control_has_a_name(
    browser: Any, site: Site, scheme: str
) -> None:
    phone = {"viewport": {"width": 360, "height": 740}, "color_scheme": scheme}
    with closing(Viewer(browser, site, **phone)) as viewer:
        viewer.open()
        assert viewer.ask("document.documentElement.scrollWidth") <= 360
        nameless = viewer.ask(
            "[...document.querySelectorAll('button, input, select, textarea, [role=slider]')]"
            ".filter((e) => e.offsetParent && !(e.ariaLabel || e.labels?.length || e.title ||"
            " e.textContent.trim() || e.getAttribute('aria-label'))).map((e) => e.outerHTML)"
        )
        assert nameless == []
