"""What is drawn from, in a real Chromium: the source sets the mode, a picture can be brought along,
and what the running model cannot do is greyed with the reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from io import BytesIO
from typing import Any

import pytest
from millrace.app.caption_desk import CaptionDesk
from millrace.app.settings import ServerSettings
from millrace.app.usual import usual_model
from millrace.streaming.config import Options
from millrace.streaming.supervisor import WorkerHost
from PIL import Image

from .browser_rig import Site, Viewer, chromium, serving
from .caption_fakes import FakeCaptionHost
from .rig import EchoHost
from .test_browser_sizes import Dreaming

pytestmark = pytest.mark.browser
SEGMENT = "[data-mode-to={}-to-video]"
PRESSED = "document.querySelector('.mr-modes [aria-pressed=true]').dataset.modeTo"
LOOKS = {
    "rose": "c[0] > c[1] + 40 && c[0] > c[2] + 30",
    "lime": "c[1] > c[0] + 60 && c[1] > c[2] + 60",
    "sky": "c[2] > c[1] + 60 && c[2] > c[0] + 60",
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    options = Options("three_modes:ThreeModes", device="cpu", dtype="float32", threads=1)
    with serving(WorkerHost(options)) as site:
        yield site


@pytest.fixture
def viewer(browser: Any, site: Site) -> Iterator[Viewer]:
    with closing(Viewer(browser, site)) as viewer:
        yield viewer.open()


def looks(viewer: Viewer, name: str, place: int = 0, of: int = 1) -> None:
    """Wait until a part of the picture that comes back has a colour."""
    viewer.shows(f"((c) => {LOOKS[name]})(rig.returned({of})[{place}])")


def a_picture(left: str = "#f04050", right: str = "#2050e0") -> dict[str, Any]:
    image = Image.new("RGB", (80, 80), left)
    image.paste(right, (40, 0, 80, 80))
    image.save(file := BytesIO(), "PNG")
    return {"name": "two colours.png", "mimeType": "image/png", "buffer": file.getvalue()}


def test_the_source_sets_the_mode_and_back(viewer: Viewer) -> None:
    page = viewer.page
    viewer.ask("millrace.start('clip')")
    looks(viewer, "rose")
    assert viewer.ask(PRESSED) == "video-to-video"

    page.select_option("[data-part=kind]", "blank")
    assert viewer.ask("millrace.values.mode") == viewer.ask(PRESSED) == "text-to-video"
    looks(viewer, "lime")
    viewer.ask("rig.before = rig.bars()")
    viewer.shows("rig.bars() !== rig.before")  # what the words give moves
    page.get_by_label("Prompt").fill("sky")
    looks(viewer, "sky")

    page.select_option("[data-part=kind]", "clip")
    assert viewer.ask("millrace.values.mode") == viewer.ask(PRESSED) == "video-to-video"
    looks(viewer, "rose")
    assert viewer.problems == []


def test_the_mode_takes_a_source_that_goes_with_it(viewer: Viewer) -> None:
    page = viewer.page
    viewer.ask("millrace.start('pattern')")
    viewer.shows("millrace.connection.state === 'live'")
    page.click(SEGMENT.format("text"))
    assert viewer.ask("millrace.find('kind').value") == "blank"
    looks(viewer, "lime")
    assert not page.is_visible("[data-view-to=compare]"), "there is nothing to compare with"
    page.click(SEGMENT.format("video"))
    assert viewer.ask("millrace.find('kind').value") == "pattern"
    viewer.shows("millrace.connection.state === 'live' && millrace.running")
    page.click(SEGMENT.format("image"))
    assert viewer.ask("millrace.find('kind').value") == "pattern", "its present picture will do"
    assert "picture that is there" in page.inner_text("[data-part=mode-note]")


def test_a_picture_is_brought_along_and_drawn_from(viewer: Viewer) -> None:
    """What the model sees is the file, not what the page sends to keep time, made black here."""
    page = viewer.page
    viewer.ask(
        "{ const own = createImageBitmap;"
        " window.createImageBitmap = () => own(new ImageData(80, 80)); }"
    )
    page.click(SEGMENT.format("image"))
    page.set_input_files("[data-part=still]", a_picture())
    viewer.shows("millrace.connection.state === 'live'")
    looks(viewer, "rose", 0, 2)
    looks(viewer, "sky", 1, 2)
    left, right = viewer.ask("rig.returned(2)")
    for seen, meant in ((left, (0xF0, 0x40, 0x50)), (right, (0x20, 0x50, 0xE0))):
        assert all(abs(a - b) < 12 for a, b in zip(seen, meant, strict=True)), (seen, meant)
    assert page.inner_text("[data-part=still-name]") == "two colours.png"
    assert viewer.ask("millrace.find('still-view').naturalWidth") == 80
    page.set_input_files("[data-part=still]", a_picture(left="#2050e0", right="#f04050"))
    looks(viewer, "sky", 0, 2)
    page.click(SEGMENT.format("video"))
    assert viewer.ask("millrace.values.mode") == "video-to-video"
    assert viewer.problems == []


def test_a_file_that_is_no_picture_is_refused_in_words(viewer: Viewer) -> None:
    wrong = {"name": "notes.png", "mimeType": "image/png", "buffer": b"not a picture"}
    viewer.page.set_input_files("[data-part=still]", wrong)
    viewer.shows("document.querySelector('.mr-notice p').textContent.includes('no JPEG, PNG')")
    assert not viewer.ask("millrace.running")


def test_what_a_model_cannot_do_is_greyed_with_the_reason(browser: Any) -> None:
    with serving(EchoHost()) as site, closing(Viewer(browser, site)) as viewer:
        viewer.open()
        page = viewer.page
        for name in ("text", "image"):
            segment = page.locator(SEGMENT.format(name))
            assert segment.get_attribute("aria-disabled") == "true"
            assert "draws from a live picture" in str(segment.get_attribute("title"))
        page.click(SEGMENT.format("text"), force=True)  # a viewer may well press it
        reason = page.inner_text("[data-part=mode-note]")
        assert "“Echo” draws from a live picture, not from words alone" in reason
        assert f"--model {usual_model('text')} for that" in reason
        assert viewer.ask(PRESSED) == "video-to-video"
        greyed = viewer.ask(
            "[...millrace.find('kind').options].filter((o) => o.disabled).map((o) => o.value)"
        )
        assert greyed == ["still", "blank"]
        assert not page.is_visible("[data-go=blank]") and page.is_visible("[data-go=camera]")
        assert viewer.problems == []


def test_of_a_model_for_words_alone_no_camera_is_asked_for(browser: Any) -> None:
    with serving(Dreaming("text")) as site, closing(Viewer(browser, site)) as viewer:
        viewer.open()
        page = viewer.page
        assert not page.is_visible("[data-go=camera]") and not page.is_visible("[data-go=clip]")
        assert "while you write" in page.inner_text("[data-part=lead]")
        page.click("[data-go=blank]")
        viewer.shows("millrace.running && millrace.source.label === 'Words alone'")
        greyed = "[...millrace.find('kind').options].filter((o) => o.disabled).length"
        assert viewer.ask(greyed) == viewer.ask("millrace.find('kind').options.length") - 1
        assert viewer.problems == []


def test_captions_tell_of_what_is_drawn_where_nothing_is_filmed(browser: Any) -> None:
    of = "fetch(`/api/v1/sessions/${millrace.captions.session}/captions`).then((answer) => "
    of += "answer.json()).then((told) => told.of === '%s')"
    anew = "millrace.captions.session !== %s"  # the session before is gone, and asked of a 404
    desk = CaptionDesk(FakeCaptionHost())
    with serving(Dreaming("video", "text"), captions=desk) as site:
        with closing(Viewer(browser, site)) as viewer:
            viewer.open()
            for kind, told in (("blank", "styled"), ("pattern", "source")):
                before = json.dumps(viewer.ask("millrace.captions.session"))
                viewer.ask(f"millrace.start('{kind}')")
                viewer.shows(anew % before)
                viewer.shows("document.querySelector('.mr-under').dataset.told === 'live'")
                viewer.shows(of % told)
                pressed = "document.querySelector('[data-of=%s]').getAttribute('aria-pressed')"
                assert viewer.ask(pressed % told) == "true"
            assert viewer.problems == []


@pytest.fixture(scope="module")
def dreams() -> Iterator[Site]:
    """The embedded text-to-video model; random weights, whether it has others or not."""
    options = Options(
        "tiny-dream",
        device="cpu",
        dtype="float32",
        threads=1,
        width=64,
        height=64,
        settings={"random_weights": True, "steps": 1},
    )
    with serving(WorkerHost(options), ServerSettings(port=0, width=64, height=64)) as site:
        yield site


def test_words_become_moving_pictures_and_the_page_says_what_it_read(
    browser: Any, dreams: Site
) -> None:
    with closing(Viewer(browser, dreams)) as viewer:
        viewer.open()
        page = viewer.page
        assert viewer.ask("millrace.find('kind').value") == "blank"
        assert viewer.ask(PRESSED) == "text-to-video"
        page.click("[data-act=start]")
        viewer.shows("millrace.find('out').videoWidth > 0")
        assert dreams.host.last is not None and dreams.host.last.config.fps == 24
        viewer.ask("rig.colour = JSON.stringify(rig.returned(8))")
        viewer.shows("JSON.stringify(rig.returned(8)) !== rig.colour")
        understood = "document.querySelector('.mr-understood').textContent"
        viewer.shows(f"{understood} === 'Understood as waves sunset.'")
        page.get_by_label("Prompt").fill("falling snow with a zebra, pencil sketch")
        viewer.shows("millrace.asked > 0 && millrace.applied >= millrace.asked")
        assert viewer.ask(understood) == (
            "Understood as falling snow. Not understood: zebra. Then drawn as sketch."
        )
        page.get_by_role("button", name="Neon rain").click()
        viewer.shows(f"{understood} === 'Understood as rain night. Then drawn as neon.'")
        assert viewer.problems == []
