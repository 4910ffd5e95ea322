"""The HTTP interface under /api/v1, the probes and the files of the page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.resources import files
from typing import Annotated, Any, get_args

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi import Path as PathParameter
from pydantic import BaseModel, ConfigDict, Field

from .. import assets
from ..streaming.controls import ControlError
from ..streaming.host import Host, HostInfo, HostRefused, Session
from ..streaming.pipeline import Source, StreamConfig
from .channel import plain
from .metrics import CONTENT_TYPE, Metrics
from .offers import BadOffer
from .pictures import PictureError, Pictures
from .rtc import Offer, Rtc
from .settings import ServerSettings
from .usual import usual_model
from .viewers import viewer_of

SCRIPTS = (
    "page.js",
    "connection.js",
    "sources.js",
    "stage.js",
    "panel.js",
    "latency.js",
    "recorder.js",
    "words.js",
    "sound.js",
    "captions.js",
    "questions.js",
    "track.js",
    "pickers.js",
    "modes.js",
    "values.js",
    "seen.js",
    "wish.js",
)
STYLES = ("client.css", "controls.css", "panel.css", "captions.css")
CLIENT = dict.fromkeys(SCRIPTS, "text/javascript") | dict.fromkeys(STYLES, "text/css")
"""The only files of this package that are served; a request picks one by name, never by path."""
PICTURES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}
CLIP = "clip.mp4"
DEVICE_FACTS = ("device", "state", "sessions", "reason")
RETRY_S = 5
"""When to try again where the host has no estimate."""

SessionId = Annotated[str, PathParameter(min_length=1, max_length=64, pattern=r"^[\w-]+$")]


class OfferBody(BaseModel):
    """A browser's offer."""

    model_config = ConfigDict(extra="forbid")
    sdp: str = Field(min_length=1, max_length=100_000, description="SDP with all candidates")
    type: str = Field("offer", pattern="^offer$")
    width: int | None = Field(None, ge=16, le=4096, description="picture width in pixels")
    height: int | None = Field(None, ge=16, le=4096, description="picture height in pixels")
    fps: float | None = Field(None, gt=0, le=120)
    controls: dict[str, str | float | int | bool] = Field(default_factory=dict)
    picture: str | None = Field(
        None, max_length=64, description="the model sees this picture in place of the video's"
    )


class AnswerBody(BaseModel):
    """The server's answer."""

    id: str
    sdp: str
    type: str = "answer"
    width: int
    height: int
    state: str = Field(description='"queued" while there is no place yet')


class Failure(BaseModel):
    """Why a request was refused, and what to do."""

    error: str


class ControlsBody(BaseModel):
    """New values for some controls."""

    model_config = ConfigDict(extra="forbid")
    controls: dict[str, str | float | int | bool] = Field(default_factory=dict)
    reset: bool = False


def api(
    host: Host, info: HostInfo, rtc: Rtc, settings: ServerSettings, pictures: Pictures
) -> APIRouter:
    """The routes under /api/v1."""
    router = APIRouter(
        prefix="/api/v1",
        responses={code: {"model": Failure} for code in (400, 404, 422, 503)},
    )

    @router.get("/info")
    async def about() -> dict[str, Any]:
        """What runs here: pipeline, controls, presets, device, and why each choice was made."""
        return {**describe(info, settings), "captions": rtc.captions.describe()}

    @router.post("/sessions", status_code=201)
    async def open_session(body: OfferBody, request: Request) -> AnswerBody:
        """Answer a WebRTC offer with a new session.

        The offer holds one video section and a data channel named `control`; the answer holds all
        candidates of the server.
        """
        viewer = viewer_of(request.scope)
        config = StreamConfig(
            body.width or settings.width,
            body.height or settings.height,
            body.fps or settings.fps,
            user=viewer.user,
            service=viewer.service,
            weight=viewer.weight,
        )
        try:
            check_size(config, info)
            still = None
            if body.picture is not None:
                size = config.width, config.height
                still = await pictures.planes(viewer.user, body.picture, *size)
            answer = await rtc.open(Offer(body.sdp, config, body.controls, still))
        except HostRefused as error:
            wait = math.ceil(error.retry_s or RETRY_S)
            raise HTTPException(503, str(error), {"Retry-After": str(wait)}) from None
        except (BadOffer, ControlError, SizeError, PictureError) as error:
            raise HTTPException(400, str(error)) from None
        return AnswerBody(
            id=answer.id,
            sdp=answer.sdp,
            width=config.width,
            height=config.height,
            state=answer.state,
        )

    @router.get("/sessions")
    async def list_sessions() -> list[dict[str, Any]]:
        """All open sessions."""
        return [summary(session) for session in host.sessions()]

    _one_session(router, host, rtc)
    return router


def _one_session(router: APIRouter, host: Host, rtc: Rtc) -> None:
    def find(id: str) -> Session:
        for session in host.sessions():
            if session.id == id:
                return session
        raise HTTPException(404, "there is no such session; it may have been closed")

    @router.get("/sessions/{id}")
    async def get_session(id: SessionId) -> dict[str, Any]:
        """State, controls and statistics of one session."""
        session, peer = find(id), rtc.peer(id)
        stats = peer.stats() if peer else session.stats()
        return {**summary(session), "stats": plain(stats)}

    @router.patch("/sessions/{id}")
    async def change_session(id: SessionId, body: ControlsBody) -> dict[str, Any]:
        """Change controls; they take effect at the next chunk."""
        session = find(id)
        try:
            epoch = session.change(body.controls) if body.controls else session.controls.epoch
        except ControlError as error:
            raise HTTPException(400, str(error)) from None
        if body.reset:
            epoch = session.reset()
        return {"id": id, "epoch": epoch, "controls": dict(session.controls.values)}

    @router.delete("/sessions/{id}", status_code=204)
    async def close_session(id: SessionId) -> Response:
        """Close a session and its connection."""
        if not await rtc.close(id, "the viewer left"):
            find(id).close("the viewer left")
        return Response(status_code=204)


def probes(host: Host, info: HostInfo, metrics: Metrics) -> APIRouter:
    """Liveness, readiness and metrics."""
    router = APIRouter()

    @router.get("/healthz")
    async def alive() -> dict[str, str]:
        """The web process answers."""
        return {"status": "ok"}

    @router.get("/readyz")
    async def ready(response: Response) -> dict[str, Any]:
        """Sessions can be opened: 200, or 503 while no device is up. `devices` says how each one
        is; `status` is "degraded" while some but not all are up."""
        stats = host.stats()
        state = str(stats.get("worker", {}).get("state", "live"))
        response.status_code = 200 if state == "live" else 503
        devices = stats.get("devices", [])
        if state == "live" and any(device["state"] != "live" for device in devices):
            state = "degraded"
        shown = [{name: device[name] for name in DEVICE_FACTS} for device in devices]
        return {"status": state, "pipeline": info.pipeline.name, "devices": shown}

    @router.get("/metrics")
    async def scrape() -> Response:
        """Prometheus text format."""
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    return router


def page_files(info: HostInfo) -> APIRouter:
    """Scripts and styles of the page, preset pictures and the sample clip, each at a fixed name."""
    router = APIRouter(include_in_schema=False)
    pictures = {p.image for p in info.pipeline.presets if p.image}

    @router.get("/client/{name}")
    async def client(name: str) -> Response:
        if name not in CLIENT:
            raise HTTPException(404, "there is no such file")
        data = files(__package__).joinpath(name).read_bytes()
        return Response(data, media_type=CLIENT[name], headers={"Cache-Control": "no-cache"})

    @router.get("/assets/preset/{name}")
    async def picture(name: str) -> Response:
        kind = PICTURES.get(name.rpartition(".")[2])
        if name not in pictures or kind is None:
            raise HTTPException(404, "there is no such picture")
        return _asset(name, kind)

    @router.get("/assets/clip.mp4")
    async def clip() -> Response:
        return _asset(CLIP, "video/mp4")

    return router


def _asset(name: str, kind: str) -> Response:
    file = files(assets).joinpath(name)
    if not file.is_file():
        raise HTTPException(404, f"this installation lacks {name}")
    return Response(file.read_bytes(), media_type=kind, headers={"Cache-Control": "max-age=3600"})


class SizeError(ValueError):
    """A picture size that the pipeline does not take."""


def check_size(config: StreamConfig, info: HostInfo) -> None:
    """Refuse a size early and in words.

    Raises:
        SizeError: with the nearest size that would do.
    """
    multiple, most = info.pipeline.size_multiple, info.pipeline.max_side
    multiple = multiple if multiple % 2 == 0 else multiple * 2
    for name, side in (("width", config.width), ("height", config.height)):
        if side > most:
            raise SizeError(f"{name}: {side} is above {most}, the most that this pipeline takes")
        if side % multiple:
            near = max(multiple, round(side / multiple) * multiple)
            raise SizeError(f"{name}: {side} is not a multiple of {multiple}; try {near}")


def summary(session: Session) -> dict[str, Any]:
    return {
        "id": session.id,
        "state": session.state,
        "width": session.config.width,
        "height": session.config.height,
        "fps": session.config.fps,
        "controls": dict(session.controls.values),
        "epoch": session.controls.epoch,
    }


def describe(info: HostInfo, settings: ServerSettings) -> dict[str, Any]:
    """`HostInfo` and the settings that a page needs, as plain data."""
    pipeline = info.pipeline
    return {
        "pipeline": {
            "name": pipeline.name,
            "title": pipeline.title,
            "description": pipeline.description,
            "chunk": pipeline.chunk,
            "fps": pipeline.fps,
            "draws_from": list(pipeline.draws_from),
            "elsewhere": {
                s: usual_model(s) for s in get_args(Source) if s not in pipeline.draws_from
            },
        },
        "controls": [_control(c) for c in pipeline.controls],
        "presets": [
            {
                "name": p.name,
                "values": dict(p.values),
                "help": p.help,
                "image": f"/assets/preset/{p.image}" if p.image else "",
            }
            for p in pipeline.presets
        ],
        "size": [settings.width, settings.height],
        "sizes": [list(size) for size in pipeline.sizes],
        "fps": settings.fps,
        "bitrate": settings.video_bitrate(settings.width, settings.height),
        "device": {"name": info.device, "dtype": info.dtype, "threads": info.threads},
        "choices": list(info.choices),
        "ice_servers": [s.for_browser() for s in settings.ice_servers],
        "clip": files(assets).joinpath(CLIP).is_file(),
    }


def _control(control: Any) -> Mapping[str, Any]:
    return {
        "name": control.name,
        "label": control.label,
        "kind": control.kind,
        "default": control.default,
        "minimum": control.minimum,
        "maximum": control.maximum,
        "step": control.step,
        "choices": list(control.choices),
        "help": control.help,
    }
