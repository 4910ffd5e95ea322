"""Captions, questions, alerts and thumbnails over HTTP, of the caller's own sessions only."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from ..streaming.captions import track
from ..streaming.captions.host import CaptionRefused
from ..streaming.captions.limits import MAX_CONDITION, MAX_QUESTION, MAX_WISH
from . import channel
from .caption_desk import TooOften
from .replies import Reply, events
from .routes import Failure, SessionId
from .rtc import Rtc
from .viewer_captions import ViewerCaptions
from .viewers import viewer_of

T = TypeVar("T")
STRICT = ConfigDict(extra="forbid")
TOLD = ("state", "message", "on", "of", "instruction")
"""What a session tells of its captions."""
Second = Annotated[float, Field(ge=0, le=1e7, allow_inf_nan=False)]


class CueBody(BaseModel):
    """Some words of the caption track."""

    id: int
    start: float = Field(description="seconds since the first picture that was looked at")
    end: float
    text: str
    kind: Literal["caption", "alert", "speech", "answer"]
    final: bool = Field(description="false for speech that may still change")


class CaptionsBody(BaseModel):
    """State of the captions and the newest part of their track."""

    state: str
    message: str
    on: bool
    of: Literal["source", "styled"]
    instruction: str
    until: float | None = Field(
        description="everything up to this second was looked at, and what there was to tell is told"
    )
    cues: list[CueBody]


class WishBody(BaseModel):
    """What to tell of; what is left out stays as it is."""

    model_config = STRICT
    on: bool | None = None
    of: Literal["source", "styled"] | None = None
    instruction: str | None = Field(None, max_length=MAX_WISH)


class QuestionBody(BaseModel):
    """A question about what was seen."""

    model_config = STRICT
    text: str = Field(min_length=1, max_length=MAX_QUESTION)
    at: Second | None = Field(None, description="the second of the stream that it is about")


class ReplyBody(BaseModel):
    """A whole answer."""

    question: int
    text: str
    span: tuple[float, float] | None = Field(description="seconds that the answer rests on")
    looks: list[float] = Field(description="times of the stored thumbnails within the span")


class AlertBody(BaseModel):
    """ "Tell me when ..."."""

    model_config = STRICT
    text: str = Field(min_length=1, max_length=MAX_CONDITION)


class AlertSet(BaseModel):
    """A standing alert."""

    alert: int
    text: str


Own = Callable[[str, Request], ViewerCaptions]


def caption_api(rtc: Rtc) -> APIRouter:
    """The routes under /api/v1 that are about what was seen."""
    router = APIRouter(
        prefix="/api/v1",
        tags=["captions"],
        responses={code: {"model": Failure} for code in (400, 404, 409, 422, 429)},
    )

    def own(id: str, request: Request) -> ViewerCaptions:
        """Whoever else's session it is gets the same answer as for one that is not there."""
        peer = rtc.peer(id)
        if peer is None or peer.session is None or peer.captions is None:
            raise HTTPException(404, "there is no such session; it may have been closed")
        if peer.session.config.user != viewer_of(request.scope).user:
            raise HTTPException(404, "there is no such session; it may have been closed")
        return peer.captions

    @router.get("/captions")
    async def about(wait: bool = False) -> dict[str, Any]:
        """Whether this server tells about pictures, and which model does. With `wait` the answer
        comes when loading has ended, or after half a minute."""
        if wait:
            await _loaded(rtc)
        return rtc.captions.describe()

    _track(router, rtc, own)
    _questions(router, rtc, own)
    _alerts(router, rtc, own)
    return router


async def _loaded(rtc: Rtc, patience: float = 30.0) -> None:
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        loop.call_soon_threadsafe(changed.set)

    end = rtc.captions.when_changed(wake)
    try:
        if rtc.captions.state == "loading":
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), patience)
    finally:
        end()


async def _on_loop(rtc: Rtc, work: Callable[[], T]) -> T:
    """Do it where the viewer's captions live; refusals become answers in words."""

    async def run() -> T:
        return work()

    try:
        return await rtc.call(run)
    except TooOften as error:
        raise HTTPException(429, str(error), {"Retry-After": str(math.ceil(error.wait))}) from None
    except CaptionRefused as error:
        raise HTTPException(409, str(error)) from None


def _track(router: APIRouter, rtc: Rtc, own: Own) -> None:
    @router.get("/sessions/{id}/captions", response_model=CaptionsBody)
    async def read(
        id: SessionId,
        request: Request,
        format: Literal["json", "vtt", "srt"] = Query("json", description="of the answer"),
    ) -> Any:
        """The caption track so far: its newest part, with the state, or as a file."""
        captions = own(id, request)
        cues = captions.session.cues() if captions.session is not None else ()
        if format != "json":
            write, kind = WRITERS[format]
            name = f'attachment; filename="millrace-{id}.{format}"'
            return Response(write(cues), media_type=kind, headers={"Content-Disposition": name})
        told = await _on_loop(rtc, captions.describe)
        return CaptionsBody(
            **{name: told[name] for name in (*TOLD, "until")},
            cues=[CueBody(**channel.cue(cue)) for cue in cues],
        )

    @router.put("/sessions/{id}/captions")
    async def wish(id: SessionId, body: WishBody, request: Request) -> dict[str, Any]:
        """Turn captions on or off, choose their picture, set a standing wish."""
        captions = own(id, request)
        await _on_loop(rtc, functools.partial(captions.set, body.on, body.of, body.instruction))
        await rtc.call(captions.settled)
        told = await _on_loop(rtc, captions.describe)
        return {name: told[name] for name in TOLD}

    @router.get("/sessions/{id}/thumbnails", response_class=Response)
    async def thumbnail(id: SessionId, time: Annotated[Second, Query()], request: Request) -> Any:
        """JPEG of the stored picture nearest to a second of the stream."""
        session = own(id, request).session
        loop = asyncio.get_running_loop()
        picture = (
            await loop.run_in_executor(rtc.captions.calls, session.thumbnail, time)
            if session is not None
            else None
        )
        if picture is None:
            raise HTTPException(404, "no picture of that time is stored")
        headers = {"Cache-Control": "private, max-age=600"}
        return Response(picture, media_type="image/jpeg", headers=headers)


def _questions(router: APIRouter, rtc: Rtc, own: Own) -> None:
    @router.post(
        "/sessions/{id}/questions",
        response_model=ReplyBody,
        responses={200: {"content": {"text/event-stream": {}}}},
    )
    async def ask(id: SessionId, body: QuestionBody, request: Request, wait: bool = False) -> Any:
        """Ask about what was seen. The answer streams as server-sent events `answer`, each with the
        new words, the last one with `done`; with `wait` it comes whole, as JSON."""
        reply = Reply(asyncio.get_running_loop())
        captions = own(id, request)
        asking = functools.partial(captions.ask, body.text, body.at, hear=reply.hear)
        number = await _on_loop(rtc, asking)
        if not wait:
            return StreamingResponse(
                events(reply),
                media_type="text/event-stream",
                headers={"Cache-Control": "no-store"},
            )
        async for _ in reply.parts():
            pass
        if reply.error:
            raise HTTPException(409, reply.error)
        return ReplyBody(question=number, text=reply.text, span=reply.span, looks=list(reply.looks))


def _alerts(router: APIRouter, rtc: Rtc, own: Own) -> None:
    @router.get("/sessions/{id}/alerts")
    async def alerts(id: SessionId, request: Request) -> list[AlertSet]:
        """The standing alerts."""
        return [
            AlertSet(alert=n, text=text) for n, text in own(id, request).standing.alerts.items()
        ]

    @router.post("/sessions/{id}/alerts", status_code=201)
    async def watch(id: SessionId, body: AlertBody, request: Request) -> AlertSet:
        """ "Tell me when ...". It fires as a message on the data channel and as a cue."""
        number = await _on_loop(rtc, functools.partial(own(id, request).watch, body.text))
        return AlertSet(alert=number, text=own(id, request).standing.alerts[number])

    @router.delete("/sessions/{id}/alerts/{alert}", status_code=204)
    async def unwatch(id: SessionId, alert: int, request: Request) -> Response:
        """Remove an alert."""
        if not await _on_loop(rtc, functools.partial(own(id, request).unwatch, alert)):
            raise HTTPException(404, "there is no such alert")
        return Response(status_code=204)


WRITERS: dict[str, tuple[Callable[..., str], str]] = {
    "vtt": (track.webvtt, "text/vtt; charset=utf-8"),
    "srt": (track.srt, "application/x-subrip; charset=utf-8"),
}
