"""One browser: a peer connection, its session in the engine, and the data channel between them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, Literal

from aiortc import (
    RTCDataChannel,
    RTCPeerConnection,
    RTCSessionDescription,
)
from prometheus_client import Histogram

from ..streaming.clock import Clock
from ..streaming.controls import ControlError
from ..streaming.host import Event, Output, Session
from ..streaming.pacing import Pacer
from . import channel, colour, encoders, rtc_patches
from .audio import Sound
from .audio_rtp import with_stereo
from .caption_desk import CaptionDesk
from .hearing import Hearing
from .manners import FAULTS, FAULTS_S, SILENCE_S, Deafness, Faults, Silence
from .offers import SDP_ERRORS, BadOffer, has_sound, prefer
from .settings import ServerSettings
from .stamps import Stamps
from .tracing import Recorder
from .tracks import Counts, Inbound, OutTrack, Planes, Sent
from .viewer_captions import ViewerCaptions
from .wire import Wire

log = logging.getLogger(__name__)


Cause = Literal[
    "viewer", "lost", "timeout", "engine", "fault", "refused", "shutdown", "deaf", "malformed"
]
"""Why a peer was closed, for counting; the sentence beside it is for people."""
STATS_EVERY = 0.5
"""Seconds between two statistics messages to the page."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all peers of a server share."""

    settings: ServerSettings
    clock: Clock
    chunk: int
    """Pictures that the pipeline gives out at once."""
    latency: Histogram
    """Seconds from a picture's arrival here until the restyled one goes to the encoder."""
    executor: Executor
    """For scaling pictures; encoding has the loop's default executor to itself."""
    recorder: Recorder = field(default_factory=Recorder)
    captions: CaptionDesk = field(default_factory=CaptionDesk)


class Peer:
    """All methods run on the WebRTC loop; `listen` may be called from any thread."""

    def __init__(
        self,
        pc: RTCPeerConnection,
        shared: Surroundings,
        on_closed: Callable[[Peer, Cause, str], None],
    ) -> None:
        self.pc = pc
        self.session: Session | None = None
        self.captions: ViewerCaptions | None = None
        self.sound: Sound | None = None
        self.counts = Counts()
        self._closing: asyncio.Future[None] | None = None
        self._shared = shared
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self._wire = Wire()
        self._send = self._wire.send
        self._inbound: Inbound | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stamps: Stamps | None = None
        pacer: Pacer[Output] = Pacer(shared.settings.fps, shared.chunk)
        self.track = OutTrack(shared.clock, self.counts, pacer, self._on_sent)
        self._faults, self._silence, self._deafness = Faults(), Silence(), Deafness()
        self._received: Callable[[], int] = lambda: 0
        pc.on("connectionstatechange", self._on_state)
        pc.on("datachannel", self._on_channel)

    @property
    def closed(self) -> bool:
        return self._closing is not None

    @property
    def id(self) -> str:
        return self.session.id if self.session else ""

    @property
    def state(self) -> str:
        return str(self.pc.connectionState)

    async def answer(self, offer: str, session: Session, still: Planes | None = None) -> str:
        """Take an offer that passed `check_offer`; the answer holds all candidates of this side.

        Args:
            still: see `tracks.Inbound`.

        Raises:
            BadOffer: aiortc cannot make sense of the offer, or it holds no video both ways.
        """
        self.session = session
        settings, config = self._shared.settings, session.config
        bitrate = settings.video_bitrate(config.width, config.height)
        video: Any = self.pc.addTransceiver(self.track, direction="sendrecv")
        if settings.codec != "auto":
            prefer(video, settings.codec)
        clock = rtc_patches.prepare_receiver(video.receiver)
        if has_sound(offer):
            self.sound = Sound(self._shared.clock, self.track.origin)
            self.sound.join(self.pc, video.sender, clock)
        colours = await self._negotiate(offer, video)
        if video.receiver.track is None:
            raise BadOffer("the video section of the offer sends nothing: it has to be sendrecv")
        rate = encoders.Rate.around(bitrate, config.fps, settings.pin_bitrate)
        encoders.prepare_sender(video.sender, video._codecs[0], rate)
        self._stamps = stamps = Stamps(clock, video.sender)
        if self.sound is not None:
            self.sound.with_pictures(video.sender, lambda: stamps.origin)
            self._spawn(self.sound.run())
        self._inbound = Inbound(
            session, self._shared.clock, self._shared.executor, self.counts, colours, still=still
        )
        self._inbound.on_too_fast = self._too_fast
        self.captions = ViewerCaptions(self._shared.captions, config.user, config.fps, self._send)
        self._inbound.on_picture = functools.partial(self.captions.see, of="source")
        if self.sound is not None and self._shared.captions.speech is not None:
            self.sound.heard_by(Hearing(self._shared.captions.speech, self.captions))
        self._received = rtc_patches.count_reports(video.sender)
        self._spawn(self._inbound.run(video.receiver.track))
        self._spawn(self._report())
        sdp = rtc_patches.with_start_bitrate(self.pc.localDescription.sdp, bitrate)
        return with_stereo(sdp)

    async def _negotiate(self, offer: str, video: Any) -> colour.ColourWatch:
        try:
            await self.pc.setRemoteDescription(RTCSessionDescription(offer, "offer"))
            colours = colour.watch(video.receiver)
            rtc_patches.limit_gathering(self.pc, self._shared.settings.gather_timeout)
            await self.pc.setLocalDescription(await self.pc.createAnswer())
        except SDP_ERRORS as error:
            log.info("offer refused: %r", error)
            raise BadOffer(
                "the SDP offer cannot be used: it is malformed, has no VP8 or H264 video, or "
                "sound that is not Opus"
            ) from None
        return colours

    def listen(self, item: Output | Event) -> None:
        """The session's listener: called on a thread of the host, so it only passes on."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: the server is going down
            self._loop.call_soon_threadsafe(self._take, item)

    def _take(self, item: Output | Event) -> None:
        if self.closed:
            return
        if isinstance(item, Output):
            self.track.offer(item)
            if self.captions is not None and not item.repeated:
                self.captions.see(item.frame, of="styled")
            return
        if item.kind == "notes":
            self._send("notes", data=item.data)
        else:
            self._send("event", event=item.kind, message=item.message, data=item.data)
        if item.kind == "closed":
            self._spawn(self.close("engine", item.message or "the session ended"))

    def _on_sent(self, sent: Sent) -> None:
        """A picture goes to the encoder: note its stamps, tell which change it shows."""
        now = self._shared.clock.now()
        self._shared.latency.observe(now - sent.output.frame.captured_at)
        self._shared.recorder.sent(self.id, sent.output, now)
        if self.sound is not None:
            self.sound.shown(sent)
        if self._stamps is None:
            return
        epoch = self._stamps.note(sent, self._shared.clock.now())
        if epoch is not None:
            self._send("applied", epoch=epoch, rtp=self._stamps.rtp(sent.pts))

    def _on_channel(self, opened: RTCDataChannel) -> None:
        opened.on("message", self._on_message)
        opened.on("close", self._on_channel_closed)
        assert self.session is not None
        config = self.session.config
        self._wire.begin(
            opened,
            session=self.id,
            size=[config.width, config.height],
            fps=config.fps,
            state=self.session.state,
            controls=self.session.controls.values,
            epoch=self.session.controls.epoch,
        )
        if self.captions is not None:
            self.captions.greet()

    def _on_channel_closed(self) -> None:
        if not self.closed:
            self._spawn(self.close("lost", "the browser closed the data channel"))

    def _on_message(self, text: str | bytes) -> None:
        try:
            self._obey(channel.parse(text))
        except (channel.MessageError, ControlError) as error:
            self._send("error", message=str(error))
            if self._faults.another(self._shared.clock.now()):
                reason = f"{FAULTS} bad messages within {FAULTS_S:g} s; the last one: {error}"
                self._end("malformed", reason)

    def _obey(self, message: channel.Message) -> None:
        assert self.session is not None and self._inbound is not None and self.captions is not None
        match message:
            case channel.Change(values, id):
                self._send("changed", epoch=self.session.change(values), id=id)
            case channel.Reset(id):
                self._send("changed", epoch=self.session.reset(), id=id)
            case channel.Ping(t):
                self._send("pong", t=t, server=self._shared.clock.now() * 1000)
            case channel.Pause(on):
                self._inbound.paused = on
                if self.sound is not None:
                    self.sound.paused = on
                self._send("paused", on=on)
            case channel.Captions() | channel.Ask() | channel.Watch() | channel.Unwatch():
                self.captions.obey(message)

    async def _report(self) -> None:
        """Statistics and stamps to the page, until the peer closes."""
        while True:
            await asyncio.sleep(STATS_EVERY)
            self._mind()
            if not self._wire.begun:
                continue
            for name, batch in self._stamps.batches() if self._stamps else ():
                self._send("stamps", clock=name, list=batch)
            self._send("stats", **self.stats())

    def _mind(self) -> None:
        """Tell a client what it does wrong, and give its place back when it takes nothing more."""
        now, inbound, settings = self._shared.clock.now(), self._inbound, self._shared.settings
        if inbound and self._silence.noticed(now, inbound.last, inbound.paused):
            self._warn(
                f"no picture has come from you for {SILENCE_S:g} s; the last one stands still "
                "until the next comes"
            )
        deaf = self._deafness.lasts(now, self._received(), self._wire.waiting)
        if self.counts.sent and deaf > settings.deaf_timeout:
            self._end("deaf", f"you took no picture for {settings.deaf_timeout:g} s")

    def _too_fast(self) -> None:
        assert self.session is not None
        self._warn(
            f"you send more than the {self.session.config.fps:g} pictures a second that were "
            "agreed on; the others are let go"
        )

    def _warn(self, message: str) -> None:
        self._send("event", event="error", message=message, data={})

    def _end(self, cause: Cause, reason: str) -> None:
        """Close because of what the client did, and say so first."""
        if not self.closed:
            self._send("event", event="closed", message=reason, data={})
            self._spawn(self.close(cause, reason))

    def stats(self) -> Mapping[str, Any]:
        """The session's numbers with those of the transport merged in."""
        assert self.session is not None
        numbers = dict(self.session.stats())
        drops = {**numbers.get("drops", {}), **self.counts.drops}
        inbound, now = self._inbound, self._shared.clock.now()
        return {
            **numbers,
            "drops": drops,
            "received": self.counts.received,
            "sent": self.counts.sent,
            "repeated": self.counts.repeated,
            "source_size": inbound.size if inbound else (0, 0),
            "source_fps": round(inbound.rate.per_second(now), 2) if inbound else 0.0,
            "send_ms": self._stamps.send_ms() if self._stamps else 0.0,
            "state": self.session.state,
            "connection": self.state,
            **(self.sound.stats() if self.sound else {}),
            "captions": self.captions.stats() if self.captions else {},
        }

    async def _on_state(self) -> None:
        if self.pc.connectionState in ("failed", "closed"):
            await self.close("lost", "the browser went away")

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("peer %s failed", self.id, exc_info=error)
            if not self.closed:
                self._spawn(self.close("fault", "an error in the server ended this session"))

    async def close(self, cause: Cause, reason: str) -> None:
        """Free the session and the connection. Idempotent; returns when all is done."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close(cause, reason))
        # Whoever asks may be one of the tasks that closing cancels.
        await asyncio.shield(self._closing)

    async def _close(self, cause: Cause, reason: str) -> None:
        if self.session is not None:
            self.session.close(reason)
        if self.captions is not None:
            self.captions.close(reason)
        self._on_closed(self, cause, reason)
        for task in self._tasks:
            task.cancel()
        self.track.stop()
        if self.sound is not None:
            self.sound.close()
        try:
            await self.pc.close()
        except SDP_ERRORS as error:
            # aiortc cannot close a connection whose offer it refused half-way; nothing is open yet.
            log.info("peer %s closed by halves: %r", self.id, error)
