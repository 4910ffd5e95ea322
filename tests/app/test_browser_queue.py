"""The page of a viewer for whom there is no place yet, and of one whose model went down."""

from __future__ import annotations

from contextlib import closing

import pytest
from millrace.streaming.config import Options
from millrace.streaming.fleet import Fleet

from .browser_rig import MILD, Viewer, chromium, serving

pytestmark = pytest.mark.browser


def test_a_queued_viewer_sees_the_position_and_then_the_picture() -> None:
    options = Options(MILD, dtype="float32", threads=1, devices=("cpu",), max_sessions=1, queue=1)
    with chromium() as browser, serving(Fleet(options, spare=False)) as site:
        with closing(Viewer(browser, site)) as second, closing(Viewer(browser, site)) as third:
            with closing(Viewer(browser, site)) as first:
                first.open().start(pictures=3)
                second.open().ask("millrace.use(rig.source())")
                second.shows("document.querySelector('.mr-status').dataset.state === 'queued'")
                words = second.page.inner_text(".mr-notice p")
                assert words.startswith("The place is taken; 1st in the queue, about")
                assert second.page.inner_text("[data-part=status]") == "In the queue"
                third.open().ask("millrace.use(rig.source())")
                third.shows("!document.querySelector('.mr-notice').hidden")
                words = third.page.inner_text(".mr-notice p")
                assert "a viewer waits already. Trying again in" in words
                ours = {cookie["name"] for cookie in second.context.cookies()}
                assert "millrace_viewer" in ours
                assert second.ask("document.cookie") == "", "no script can read it"
            second.shows("document.querySelector('.mr-status').dataset.state === 'live'")
            second.shows("document.querySelector('.mr-notice').hidden")
            second.ask("rig.watch()")
            second.until("rig.seen.length >= 3")
            assert second.problems == []
