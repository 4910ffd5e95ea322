"""A model that draws from words, at several sizes: what the page offers of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from millrace.app.routes import describe
from millrace.app.settings import ServerSettings
from millrace.streaming.host import HostInfo

from .browser_rig import Viewer, chromium, serving
from .rig import INFO, EchoHost

SIZES = ((96, 64), (64, 96))


def dreamer(*draws_from: Any) -> HostInfo:
    return replace(INFO, pipeline=replace(INFO.pipeline, draws_from=draws_from, sizes=SIZES))


class Dreaming(EchoHost):
    def __init__(self, *draws_from: Any) -> None:
        super().__init__()
        self.info = dreamer(*draws_from)

    def ready(self, timeout: float | None = None) -> HostInfo:
        return self.info


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


def test_what_a_page_is_told() -> None:
    told = describe(dreamer("video", "text"), ServerSettings(width=64, height=64))
    assert told["pipeline"]["draws_from"] == ["video", "text"]
    assert (told["size"], told["sizes"]) == ([64, 64], [[96, 64], [64, 96]])
    assert describe(INFO, ServerSettings())["sizes"] == []


@pytest.mark.browser
def test_words_alone_need_no_camera_and_the_size_is_chosen(browser: Any) -> None:
    host = Dreaming("text")
    with serving(host, ServerSettings(port=0, width=64, height=64)) as site:
        with closing(Viewer(browser, site)) as viewer:
            viewer.open()
            assert viewer.ask("millrace.find('kind').value") == "blank"
            viewer.page.click("[data-act=start]")
            viewer.shows("millrace.running && millrace.connection.state === 'live'")
            (first,) = host.sessions()
            assert (first.config.width, first.config.height) == (64, 64)
            assert viewer.ask("millrace.source.label") == "Words alone"
            host.opened.clear()
            viewer.page.select_option("[data-part=size]", "96x64")
            assert host.opened.wait(30)
            viewer.shows("millrace.running && millrace.connection.state === 'live'")
            assert {(s.config.width, s.config.height) for s in host.sessions()} >= {(96, 64)}
            assert viewer.problems == []
