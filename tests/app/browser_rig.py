"""The whole server in this process, its model in a worker, and a real Chromium in front of it."""

from __future__ import annotations

import asyncio
import shutil
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from millrace.app.caption_desk import CaptionDesk
from millrace.app.server import bind, create_app
from millrace.app.settings import ServerSettings
from millrace.streaming.host import Host, HostInfo, Listener
from millrace.streaming.pipeline import StreamConfig

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream=device-count=1,fps=30",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-dev-shm-usage",
]
RIG = (Path(__file__).parent / "rig.js").read_text("utf-8")
MILD = "mild:Mild"


class WatchedSession:
    """A session that says when it was closed."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.freed = threading.Event()

    def close(self, reason: str = "") -> None:
        self._session.close(reason)
        self.freed.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


class WatchedHost:
    """A host whose sessions can be waited for."""

    def __init__(self, host: Host) -> None:
        self.host: Any = host
        self.last: WatchedSession | None = None

    def open(
        self, config: StreamConfig, listener: Listener, changes: Mapping[str, object] | None = None
    ) -> WatchedSession:
        self.last = WatchedSession(self.host.open(config, listener, changes))
        return self.last

    def __getattr__(self, name: str) -> Any:
        return getattr(self.host, name)


@dataclass
class Site:
    """A running server."""

    url: str
    host: WatchedHost
    info: HostInfo


@contextmanager
def serving(
    inner: Host, settings: ServerSettings | None = None, captions: CaptionDesk | None = None
) -> Iterator[Site]:
    """A server on a free port; a worker finds the pipelines of this folder."""
    settings = settings or ServerSettings(port=0)
    sys.path.insert(0, str(Path(__file__).parent))
    host = WatchedHost(inner)
    listener = bind(settings)
    host.start()
    try:
        info = host.ready(60)
        with _running(create_app(host, settings, info, captions), listener):
            yield Site(f"http://127.0.0.1:{listener.getsockname()[1]}/", host, info)
    finally:
        if captions is not None:
            captions.stop()
        host.stop()
        listener.close()
        sys.path.remove(str(Path(__file__).parent))


@contextmanager
def _running(app: Any, listener: Any) -> Iterator[None]:
    started = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            started.set()

    server = Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    assert started.wait(30)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(20)


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless Chromium with a fake camera that nobody has to allow."""
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine (apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield browser
        browser.close()


class Viewer:
    """One tab of the page under test, with the counting source in it."""

    def __init__(self, browser: Any, site: Site, **context: Any) -> None:
        self.context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 800}, **context}
        )
        self.page = self.context.new_page()
        self.problems: list[str] = []
        self.foreign: list[str] = []
        self._home = site.url
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", self._on_console)
        self.page.on("request", self._on_request)

    def open(self, path: str = "") -> Viewer:
        self.page.goto(self._home + path)
        self.page.wait_for_selector("html[data-millrace=ready]", timeout=30_000)
        self.page.evaluate(RIG)
        return self

    def start(self, pictures: int = 1) -> Viewer:
        """Send the counting canvas and wait for the first numbers to come back."""
        self.page.evaluate("rig.watch(); millrace.use(rig.source())")
        return self.until(f"rig.seen.length >= {pictures}")

    def until(self, test: str, seconds: float = 45) -> Viewer:
        """Wait until an expression holds, looked at after every picture."""
        self.page.evaluate(f"rig.until((rig) => {test}, {seconds})")
        return self

    def shows(self, test: str) -> Viewer:
        """Wait until an expression over the page holds."""
        self.page.wait_for_function(test, timeout=45_000)
        return self

    def ask(self, expression: str) -> Any:
        return self.page.evaluate(expression)

    def close(self) -> None:
        self.context.close()

    def _on_console(self, message: Any) -> None:
        if message.type == "error":
            self.problems.append(f"{message.text} {message.location['url']}")

    def _on_request(self, request: Any) -> None:
        if not request.url.startswith((self._home, "data:", "blob:")):
            self.foreign.append(request.url)
