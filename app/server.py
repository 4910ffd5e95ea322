"""The web server: HTTP interface, page and WebRTC around one `Host`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from .. import __version__
from ..streaming import cores
from ..streaming.host import Host, HostInfo
from .caption_desk import CaptionDesk
from .caption_routes import caption_api
from .metrics import Metrics
from .picture_routes import picture_api
from .pictures import Pictures
from .routes import api, page_files, probes
from .rtc import Rtc
from .security import Gate
from .settings import ServerSettings
from .tracing import trace_routes
from .viewers import Viewers

log = logging.getLogger(__name__)
METHODS = ["DELETE", "GET", "PATCH", "POST", "PUT"]


def create_app(
    host: Host,
    settings: ServerSettings,
    info: HostInfo | None = None,
    captions: CaptionDesk | None = None,
) -> FastAPI:
    """The whole web application around a started host.

    Waits until the host is ready unless its `info` is given. The app owns the WebRTC thread for the
    length of its lifespan; the host belongs to the caller. Captions begin to load here, so that the
    picture comes first; stopping them is the caller's.

    Raises:
        TimeoutError, RuntimeError: the host did not come up (see `Host.ready`).
    """
    # Gradio takes two seconds to import; a worker that starts meanwhile loses none of them.
    from . import ui

    info = info or host.ready()
    captions = captions or CaptionDesk()
    captions.start()
    rtc = Rtc(host, settings, info.pipeline.chunk, captions=captions)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        rtc.start()
        try:
            yield
        finally:
            await rtc.stop()

    app = FastAPI(
        title="Millrace",
        version=__version__,
        description="Live video through a model: sessions over WebRTC.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
    )
    pictures = Pictures()
    app.include_router(api(host, info, rtc, settings, pictures))
    app.include_router(picture_api(pictures, "image" in info.pipeline.draws_from))
    app.include_router(caption_api(rtc))
    app.include_router(probes(host, info, Metrics(host, rtc)))
    app.include_router(page_files(info))
    app.include_router(trace_routes(host, rtc.recorder))
    app.add_api_route("/api/v1/{rest:path}", _nothing, methods=METHODS, include_in_schema=False)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_middleware(Viewers)
    app.add_middleware(Gate, settings=settings)
    app.state.rtc = rtc
    ui.mount(app, info)
    return app


async def _nothing(rest: str, request: Request) -> JSONResponse:
    """What no route took: the page behind them would answer in a form of its own."""
    what = f"{request.method} /api/v1/{rest[:80]}"
    told = f"there is no {what}; {request.app.openapi_url} lists what there is"
    return JSONResponse({"error": told}, 404)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """Which field is wrong and why, without sending the input back."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("body", "path"))
    return JSONResponse({"error": f"{where or 'body'}: {first['msg']}"}, 422)


class PortInUse(RuntimeError):
    """Nothing can listen at the address; the message says what to do."""


def bind(settings: ServerSettings) -> socket.socket:
    """Take the port before anything slow begins.

    Raises:
        PortInUse: another program has it, or the address is not of this machine.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host.strip("[]"), settings.port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise PortInUse(
            f"cannot listen on {settings.host}:{settings.port} ({error}); "
            f"stop what runs there or choose another port with --port"
        ) from None
    return listener


def address(settings: ServerSettings, listener: socket.socket) -> str:
    """The page's URL."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{listener.getsockname()[1]}/"


def serve(
    host: Host,
    settings: ServerSettings,
    on_ready: Callable[[str], None] = lambda url: None,
    captions: CaptionDesk | None = None,
) -> None:
    """Run until interrupted. Starts and stops the host and the captions.

    Args:
        on_ready: called once with the URL when the page can be opened.

    Raises:
        PortInUse: before anything was started.
        TimeoutError, RuntimeError: the host did not come up.
    """
    listener = bind(settings)
    try:
        host.start()
        with collector_at_rest():
            app = create_app(host, settings, captions=captions)
        if left := host.ready().left_cores:
            cores.keep_to(left)
        url = address(settings, listener)
        asyncio.run(_Server(app, lambda: on_ready(url)).serve(sockets=[listener]))
    finally:
        listener.close()
        if captions is not None:
            captions.stop()
        host.stop()


@contextlib.contextmanager
def collector_at_rest() -> Iterator[None]:
    """No garbage collection while everything is loaded, and none of what was loaded afterwards.

    Collecting finds nothing while modules are being made and takes a fifth of the start. Later each
    full collection would walk Gradio's hundred thousand objects and stop the media meanwhile.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


class _Server(uvicorn.Server):
    """Says when it accepts connections."""

    def __init__(self, app: FastAPI, on_ready: Callable[[], None]) -> None:
        # Websockets are Gradio's; browsers hold them open, so a stop does not wait for them long.
        super().__init__(
            uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2, lifespan="on")
        )
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()
