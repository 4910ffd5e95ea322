"""WebRTC in a loop and thread of its own, so that no page, request or Gradio event delays media."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiortc import RTCPeerConnection
from prometheus_client import Histogram

from ..streaming.clock import Clock, SystemClock
from ..streaming.host import Host
from ..streaming.pipeline import StreamConfig
from . import colour
from .caption_desk import CaptionDesk
from .ice import peer_configuration
from .offers import check_offer
from .peer import Cause, Peer, Surroundings
from .settings import ServerSettings
from .tracks import Counts, Planes

log = logging.getLogger(__name__)
T = TypeVar("T")
LATENCIES = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.2, 2.0, 5.0)
"""Upper bounds of the latency histogram, seconds; fine where the goal (400 ms) lies."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a browser asks for."""

    sdp: str
    config: StreamConfig
    changes: Mapping[str, object] = field(default_factory=dict)
    still: Planes | None = None
    """A picture that the session sees in place of the browser's; see `tracks.Inbound`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What it gets."""

    id: str
    sdp: str
    state: str = "opening"


class Rtc:
    """All peer connections of this server. Methods may be awaited from any event loop.

    The loop's default executor encodes video and does nothing else (aiortc runs encoders there);
    scaling and the host's blocking calls have executors of their own.
    """

    def __init__(
        self,
        host: Host,
        settings: ServerSettings,
        chunk: int = 1,
        clock: Clock | None = None,
        captions: CaptionDesk | None = None,
    ) -> None:
        colour.negotiate()
        self._host = host
        self._settings = settings
        self._encode = ThreadPoolExecutor(settings.encode_threads, thread_name_prefix="encode")
        self._scale = ThreadPoolExecutor(1, thread_name_prefix="scale")
        self._calls = ThreadPoolExecutor(2, thread_name_prefix="host-call")
        self.latency = Histogram(
            "millrace_frame_latency_seconds",
            "From a picture's arrival until the restyled one goes to the encoder.",
            buckets=LATENCIES,
            registry=None,
        )
        self.captions = captions or CaptionDesk()
        self._shared = Surroundings(
            settings,
            clock or SystemClock(),
            chunk,
            self.latency,
            self._scale,
            captions=self.captions,
        )
        self.recorder = self._shared.recorder
        self._peers: dict[str, Peer] = {}
        self._unfinished: set[Peer] = set()
        """Peers that are open or still closing."""
        self._past = Counts()
        self.opened = 0
        self.closed: dict[Cause, int] = {}
        self.loop = asyncio.new_event_loop()
        self.loop.set_default_executor(self._encode)
        self._thread = threading.Thread(target=self._run, name="webrtc", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        # Connections that were closed while they were being made leave tasks that wait for ever.
        for task in (left := asyncio.all_tasks(self.loop)):
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self.loop.close()

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run a coroutine on the WebRTC loop and wait for it here."""

        async def run() -> T:
            return await work()

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(run(), self.loop))

    async def open(self, offer: Offer) -> Answer:
        """Answer an offer with a new session.

        Raises:
            BadOffer: the SDP is of no use.
            HostRefused, ControlError: from the host; nothing is left behind.
        """
        return await self.call(functools.partial(self._open, offer))

    async def _open(self, offer: Offer) -> Answer:
        check_offer(offer.sdp)
        pc = RTCPeerConnection(peer_configuration(self._settings.ice_servers))
        peer = Peer(pc, self._shared, self._forget)
        self._unfinished.add(peer)
        async with contextlib.AsyncExitStack() as unless_all_goes_well:
            unless_all_goes_well.push_async_callback(peer.close, "refused", "the offer was refused")
            session = await self.loop.run_in_executor(
                self._calls, self._host.open, offer.config, peer.listen, offer.changes
            )
            sdp = await peer.answer(offer.sdp, session, offer.still)
            unless_all_goes_well.pop_all()
        self._peers[peer.id] = peer
        self.opened += 1
        self.loop.call_later(self._settings.connect_timeout, self._expire, peer)
        return Answer(peer.id, sdp, session.state)

    def _expire(self, peer: Peer) -> None:
        if not peer.closed and peer.state in ("new", "connecting"):
            log.info("peer %s never connected", peer.id)
            self.loop.create_task(peer.close("timeout", "no connection in time"))

    def _forget(self, peer: Peer, cause: Cause, reason: str) -> None:
        """A peer begins to close: it counts no longer, but `stop` still waits for it."""
        closing = asyncio.current_task()
        assert closing is not None
        closing.add_done_callback(lambda _: self._unfinished.discard(peer))
        if self._peers.pop(peer.id, None) is not None:
            self._past.add(peer.counts)
            self.closed[cause] = self.closed.get(cause, 0) + 1
            log.info("session %s closed: %s", peer.id, reason)

    def peers(self) -> tuple[Peer, ...]:
        return tuple(self._peers.values())

    def peer(self, id: str) -> Peer | None:
        return self._peers.get(id)

    async def close(self, id: str, reason: str) -> bool:
        """Close one session because its viewer wants it. Returns whether there was one."""
        peer = self._peers.get(id)
        if peer is None:
            return False
        await self.call(functools.partial(peer.close, "viewer", reason))
        return True

    async def stop(self) -> None:
        """Close all peers and end the thread."""
        await self.call(self._close_all)
        self.loop.call_soon_threadsafe(self.loop.stop)
        await asyncio.to_thread(self._thread.join, 5.0)
        for pool in (self._encode, self._scale, self._calls):
            pool.shutdown(wait=False)

    async def _close_all(self) -> None:
        await asyncio.gather(
            *(peer.close("shutdown", "the server is shutting down") for peer in self._unfinished)
        )

    def totals(self) -> Counts:
        """Frames of all peers since the start, closed ones included."""
        total = Counts()
        for counts in (self._past, *(peer.counts for peer in self.peers())):
            total.add(counts)
        return total

    def stats(self) -> dict[str, Any]:
        """Numbers of all peers together, for /metrics."""
        states: dict[str, int] = {}
        for peer in self.peers():
            states[peer.state] = states.get(peer.state, 0) + 1
        return {"peers": states, "opened": self.opened, "closed": dict(self.closed)}
