"""Captions, questions and alerts as a viewer has them: in a real Chromium, told by a fake."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from millrace.app.caption_desk import CaptionDesk
from millrace.streaming.captions.track import parse_srt, parse_webvtt

from .browser_rig import Site, Viewer, chromium, serving
from .caption_fakes import FakeCaptionHost, FakeCaptions
from .rig import EchoHost

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def shared() -> FakeCaptionHost:
    return FakeCaptionHost(rooms=100)


@pytest.fixture(scope="module")
def site(shared: FakeCaptionHost) -> Iterator[Site]:
    with serving(EchoHost(), captions=CaptionDesk(shared)) as site:
        yield site


@pytest.fixture
def host(shared: FakeCaptionHost) -> FakeCaptionHost:
    """The one that tells, its knobs as at first."""
    shared.answer = "a red circle"
    return shared


@pytest.fixture
def viewer(browser: Any, site: Site) -> Iterator[Viewer]:
    with closing(Viewer(browser, site)) as viewer:
        yield viewer.open()


def begin(viewer: Viewer, host: FakeCaptionHost) -> FakeCaptions:
    viewer.start(pictures=3)
    viewer.shows("document.querySelector('.mr-under').dataset.told === 'live'")
    return host.sessions[-1]


def lines(viewer: Viewer) -> list[str]:
    found: list[str] = viewer.page.locator(".mr-cue").all_inner_texts()
    return [" ".join(line.split()) for line in found]


def saved(viewer: Viewer, name: str) -> str:
    with viewer.page.expect_download() as download:
        viewer.page.get_by_role("button", name=name).click()
    assert download.value.suggested_filename.endswith(name.lower().replace("webvtt", ".vtt")[-4:])
    return Path(download.value.path()).read_text("utf-8")


def test_captions_appear_and_can_be_saved(viewer: Viewer, host: FakeCaptionHost) -> None:
    session = begin(viewer, host)
    session.say("a red circle comes in", 1.0)
    session.say("<img src=x onerror=alert(1)> & --> that was text", 3.0)
    session.say("there is a red circle", 64.0, kind="alert")
    session.say("good", 70.0, id=9, kind="speech", final=False)
    viewer.shows("document.querySelectorAll('.mr-cue').length === 4")
    assert lines(viewer) == [
        "0:01 a red circle comes in",
        "0:03 <img src=x onerror=alert(1)> & --> that was text",
        "1:04 Alert there is a red circle",
        "1:10 Speech good",
    ]
    assert viewer.ask("document.querySelectorAll('.mr-cues img').length") == 0
    interim = viewer.page.locator(".mr-cue[data-interim] .mr-words")
    grey = interim.evaluate("(e) => getComputedStyle(e).color")
    session.say("good morning", 70.0, id=9, kind="speech")
    viewer.shows("!document.querySelector('.mr-cue[data-interim]')")
    assert lines(viewer)[-1] == "1:10 Speech good morning" and len(lines(viewer)) == 4
    last = viewer.page.locator(".mr-cue:last-child .mr-words")
    assert last.evaluate("(e) => getComputedStyle(e).color") != grey
    assert viewer.page.locator("[data-part=told-aloud]").inner_text() == "Speech good morning"

    cues = parse_webvtt(saved(viewer, "WebVTT"))
    assert [(cue.start, cue.text, cue.kind) for cue in cues] == [
        (1.0, "a red circle comes in", "caption"),
        (3.0, "<img src=x onerror=alert(1)> & --> that was text", "caption"),
        (64.0, "there is a red circle", "alert"),
        (70.0, "good morning", "speech"),
    ]
    assert [cue.kind for cue in parse_srt(saved(viewer, "SRT"))][2:] == ["alert", "speech"]
    assert viewer.problems == [] and viewer.foreign == []


def test_the_list_follows_the_newest_unless_it_was_scrolled_up(
    viewer: Viewer, host: FakeCaptionHost
) -> None:
    session = begin(viewer, host)
    for second in range(40):
        session.say(f"something happens for the {second}th time", second)
    viewer.shows("document.querySelectorAll('.mr-cue').length === 40")
    end = "(() => { const l = document.querySelector('.mr-cues');"
    end += "return l.scrollHeight - l.scrollTop - l.clientHeight; })()"
    assert viewer.ask(end) < 2
    viewer.ask("document.querySelector('.mr-cues').scrollTop = 0")
    session.say("the newest", 40)
    viewer.shows("document.querySelectorAll('.mr-cue').length === 41")
    assert viewer.ask("document.querySelector('.mr-cues').scrollTop") == 0
    newest = viewer.page.get_by_role("button", name="Newest")
    newest.click()
    assert viewer.ask(end) < 2 and not newest.is_visible()


def test_a_question_is_answered_and_its_time_shows_the_picture(
    viewer: Viewer, host: FakeCaptionHost
) -> None:
    host.answer = None
    session = begin(viewer, host)
    chips = viewer.page.get_by_role("group", name="Examples of questions").get_by_role("button")
    assert chips.all_inner_texts() == ["What is there?", "What happened 10 seconds ago?"]
    box = viewer.page.get_by_label("Your question")
    box.fill("What is <b>there</b>?")
    box.press("Enter")
    viewer.shows("document.querySelector('.mr-answer[data-open]')")
    assert session.wait_asked(1) == [("What is <b>there</b>?", None)]
    session.reply(1, "a red circle")
    viewer.shows("document.querySelector('.mr-span')")
    assert viewer.page.locator(".mr-question").inner_text() == "What is <b>there</b>?"
    assert viewer.page.locator(".mr-answer").inner_text() == "a red circle"
    assert viewer.page.locator("[data-part=answer-aloud]").inner_text() == "a red circle"
    span = viewer.page.locator(".mr-span")
    assert span.inner_text() == "0:02 – 0:04"
    span.press("Enter")
    pictures = "[...document.querySelectorAll('.mr-looks img')]"
    viewer.shows(f"{pictures}.filter((image) => image.naturalWidth === 64).length === 3")
    assert span.get_attribute("aria-expanded") == "true"

    session.say("a red circle", 5.0)
    session.say("long ago", 500.0)
    viewer.shows("document.querySelectorAll('.mr-time').length === 2")
    viewer.page.locator(".mr-time").first.click()
    viewer.shows("document.querySelector('.mr-cue img')?.naturalWidth === 64")
    viewer.page.locator(".mr-time").last.click()
    viewer.shows("document.querySelector('.mr-cue:last-child .mr-soft')")
    assert "no longer stored" in lines(viewer)[-1]
    chips.first.click()
    viewer.shows("document.querySelectorAll('.mr-turn').length === 2")
    assert session.wait_asked(2)[-1] == ("What is there?", None)
    viewer.page.get_by_role("button", name="Stop").click()
    viewer.shows("document.querySelector('.mr-turn:last-child .mr-answer[data-bad]')")
    assert box.is_disabled()
    assert [problem for problem in viewer.problems if "404" not in problem] == []


def test_tell_me_when(viewer: Viewer, host: FakeCaptionHost) -> None:
    session = begin(viewer, host)
    box = viewer.page.get_by_label("Your question")
    box.fill("Tell me when there is a red circle!")
    box.press("Enter")
    viewer.shows("document.querySelector('.mr-answer')?.textContent.startsWith('You are told')")
    viewer.shows("document.querySelectorAll('.mr-alert').length === 1")
    assert list(session.watched.values()) == ["there is a red circle"]
    tab = viewer.page.get_by_role("tab", name="Tell me when")
    viewer.page.get_by_role("tab", name="Ask").focus()
    viewer.page.keyboard.press("ArrowRight")
    assert tab.get_attribute("aria-selected") == "true"
    session.fire(next(iter(session.watched)), 65.0)
    viewer.shows("document.querySelector('.mr-alert small')?.textContent === 'at 1:05'")
    viewer.shows("document.querySelector('.mr-notice p').textContent.includes('(1:05)')")
    watch = viewer.page.get_by_label("Tell me when").last
    for words in ("a cat comes", "a dog comes"):
        watch.fill(words)
        watch.press("Enter")
    viewer.shows("!document.querySelector('[data-part=watch-note]').hidden")
    assert "remove one first" in viewer.page.locator("[data-part=watch-note]").inner_text()
    viewer.page.get_by_role("button", name="Do not watch for: there is a red circle").click()
    viewer.shows("document.querySelectorAll('.mr-alert').length === 1")
    assert list(session.watched.values()) == ["a cat comes"]


def test_the_viewer_chooses_the_picture_and_turns_captions_off_for_good(
    viewer: Viewer, host: FakeCaptionHost
) -> None:
    session = begin(viewer, host)
    session.say("a red circle", 1.0)
    viewer.page.get_by_role("button", name="Restyled").click()
    viewer.page.get_by_role("switch", name="Captions").click()
    viewer.shows("document.querySelector('.mr-under').dataset.told === 'off'")
    assert len(lines(viewer)) == 1, "what was said stays"
    assert "off" in viewer.page.locator("[data-part=told-note]").inner_text()
    viewer.page.reload()
    viewer.page.wait_for_selector("html[data-millrace=ready]")
    switch = viewer.page.get_by_role("switch", name="Captions")
    assert switch.get_attribute("aria-checked") == "false"
    restyled = viewer.page.get_by_role("button", name="Restyled")
    assert restyled.get_attribute("aria-pressed") == "true"


def test_a_standing_wish_is_used_shown_and_ended(viewer: Viewer, host: FakeCaptionHost) -> None:
    session = begin(viewer, host)
    sign = viewer.page.locator("[data-part=wish-active]")
    assert not sign.is_visible()
    viewer.page.get_by_role("button", name="Tell only of").click()
    chips = viewer.page.get_by_role("group", name="Examples of wishes").get_by_role("button")
    assert chips.all_inner_texts() == ["only motion", "only the light"]
    chips.first.click()
    shown = "document.querySelector('[data-part=wish-active]').textContent"
    viewer.shows(f"{shown} === 'only motion ✕'")
    assert session.wishes == ["only motion"]
    assert not viewer.page.locator("#mr-told-wish").is_visible()
    viewer.page.get_by_role("button", name="Tell only of").click()
    assert chips.first.get_attribute("aria-pressed") == "true"
    box = viewer.page.get_by_label("Your wish")
    assert box.input_value() == "only motion"
    box.fill("tell me <b>what moves</b>")
    box.press("Enter")
    viewer.shows(f"{shown}.includes('<b>')")
    assert session.wishes[-1] == "tell me <b>what moves</b>"
    sign.click()
    viewer.shows("document.querySelector('[data-part=wish-active]').hidden")
    assert session.wishes[-1] == ""
    assert viewer.problems == []


def test_it_says_up_to_when_everything_was_looked_at(viewer: Viewer, host: FakeCaptionHost) -> None:
    session = begin(viewer, host)
    sign = viewer.page.locator("[data-part=told-seen]")
    assert not sign.is_visible()
    session.say("a red circle", 1.0)
    shown = "document.querySelector('[data-part=told-seen]')"
    for until in (2.5, 3.5):
        session.know(until)
        viewer.shows(f"{shown}.textContent === 'up to 0:0{int(until)}'")
    assert len(lines(viewer)) == 1, "nothing new is said"
    viewer.shows(f"'late' in {shown}.dataset")
    session.know(9.5)
    viewer.shows(f"!('late' in {shown}.dataset)")
    session.interrupt(down=True)
    viewer.shows(f"{shown}.hidden")


def test_states_are_told_in_words(viewer: Viewer, host: FakeCaptionHost) -> None:
    session = begin(viewer, host)
    session.interrupt(down=True)
    viewer.shows("document.querySelector('.mr-under').dataset.told === 'interrupted'")
    assert "started again" in viewer.page.locator("[data-part=told-empty]").inner_text()
    session.interrupt(down=False)
    viewer.shows("document.querySelector('.mr-under').dataset.told === 'live'")
    viewer.page.get_by_role("button", name="What “fake” can tell").click()
    about = viewer.page.locator("#mr-told-about")
    assert "It cannot read." in about.inner_text() and "last 5 minutes" in about.inner_text()
    viewer.page.keyboard.press("Escape")
    assert not about.is_visible()


def test_a_recording_comes_with_its_captions(viewer: Viewer, host: FakeCaptionHost) -> None:
    session = begin(viewer, host)
    viewer.shows("millrace.captions.zero && millrace.meter.offsetMs !== null")
    files: list[Any] = []
    viewer.page.on("download", lambda file: files.append(file))
    viewer.page.get_by_role("button", name="Record").click()
    zero = "(millrace.captions.zero - millrace.meter.offsetMs)"
    now = viewer.ask(f"(performance.now() - {zero}) / 1000")
    session.say("before the recording", max(now - 60, 0), id=1)
    session.say("within the recording", now, id=2)
    viewer.shows("millrace.recorder.size > 0 && document.querySelectorAll('.mr-cue').length === 2")
    viewer.page.get_by_role("button", name="Record").click()
    while len(files) < 2:
        viewer.page.wait_for_event("download")
    video, track = sorted(files, key=lambda file: file.suggested_filename.endswith(".vtt"))
    assert track.suggested_filename == Path(video.suggested_filename).stem + ".vtt"
    cues = parse_webvtt(Path(track.path()).read_text("utf-8"))
    within = [cue for cue in cues if cue.text == "within the recording"]
    # The picture comes later than its capture, and so do its words.
    assert len(within) == 1 and 0 <= within[0].start < 3


@pytest.mark.parametrize(
    ("host", "words"),
    [
        (None, "millrace serve --captions"),
        (FakeCaptionHost(broken="no weights at /nowhere"), "No weights at"),
        (FakeCaptionHost(hold=True), "being loaded"),
    ],
)
def test_a_page_without_captions_says_why(
    browser: Any, host: FakeCaptionHost | None, words: str
) -> None:
    with serving(EchoHost(), captions=CaptionDesk(host)) as site:
        with closing(Viewer(browser, site)) as viewer:
            viewer.open().start(pictures=3)
            viewer.shows(
                f"document.querySelector('[data-part=told-empty]').textContent.includes({words!r})"
            )
            assert viewer.page.get_by_label("Your question").is_disabled()
            if host is not None and not host.loaded.is_set():
                host.loaded.set()
                viewer.shows("document.querySelector('.mr-under').dataset.told === 'live'")
            assert viewer.problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_and_every_control_has_a_name(
    browser: Any, site: Site, host: FakeCaptionHost, width: int, scheme: str
) -> None:
    size = {"viewport": {"width": width, "height": 740}, "color_scheme": scheme}
    with closing(Viewer(browser, site, **size)) as viewer:
        viewer.open()
        session = begin(viewer, host)
        session.say("averyveryverylongwordthathasnoendbutgoesonandonandonandonandonandon " * 3, 1.0)
        viewer.ask("millrace.questions.ask('tell me when ' + 'x'.repeat(150))")
        viewer.shows("document.querySelectorAll('.mr-cue, .mr-alert').length >= 2")
        assert viewer.ask("document.documentElement.scrollWidth") <= width
        overhang = "(({ scrollWidth, clientWidth }) => scrollWidth - clientWidth)"
        assert viewer.ask(f"{overhang}(document.querySelector('.mr-cues'))") <= 0
        nameless = viewer.ask(
            "[...document.querySelectorAll('.mr-under :is(button, input)')]"
            ".filter((e) => !(e.labels?.length || e.textContent.trim() ||"
            " e.getAttribute('aria-label') || e.getAttribute('aria-labelledby')))"
            ".map((e) => e.outerHTML)"
        )
        assert nameless == []
