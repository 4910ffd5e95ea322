"""The captions of a whole server: one host for all viewers, its state in words, and what it counts.

The host loads its model while the video is served already, so all that a viewer asks of the desk
has an answer at once: "loading" is one of the states.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ..streaming.captions.host import (
    CaptionConfig,
    CaptionHost,
    CaptionInfo,
    CaptionListener,
    CaptionRefused,
    CaptionSession,
)
from ..streaming.captions.speech_host import SpeechHost
from ..streaming.captions.speech_model import HOW_TO as NO_SPEECH
from ..streaming.clock import Clock, SystemClock
from .caption_tally import CaptionTally

log = logging.getLogger(__name__)

DeskState = Literal["none", "loading", "ready", "failed"]
HOW_TO = "This server runs without captions. Start it with millrace serve --captions to have them."
BURST = 5
"""So many questions may come at once,"""
EVERY_S = 4.0
"""and then one in so many seconds."""
MOST_ASKERS = 1024


@dataclass
class Ration:
    """How many questions a user has left (token bucket)."""

    left: float = BURST
    last: float = 0.0

    def wait(self, now: float) -> float:
        """Seconds until the next question may come; 0 takes one now."""
        self.left = min(BURST, self.left + (now - self.last) / EVERY_S)
        self.last = now
        if self.left < 1.0:
            return (1.0 - self.left) * EVERY_S
        self.left -= 1.0
        return 0.0


@dataclass(eq=False)
class CaptionDesk:
    """What all viewers' captions share. `start` and `stop` belong to the server; the rest may be
    called from any thread.

    Args:
        host: who tells about the pictures; None serves without captions.
        clock: as everywhere.
    """

    host: CaptionHost | None = None
    clock: Clock = field(default_factory=SystemClock)
    tally: CaptionTally = field(default_factory=CaptionTally)
    speech: SpeechHost | None = None
    """Who hears what is said in the viewers' sound."""

    def __post_init__(self) -> None:
        self.state: DeskState = "none" if self.host is None else "loading"
        self.message = HOW_TO if self.host is None else ""
        self.info: CaptionInfo | None = None
        self._lock = threading.Lock()
        self._watchers: list[Callable[[], None]] = []
        self._rations: dict[str, Ration] = {}
        self._waiting: threading.Thread | None = None
        self.calls = ThreadPoolExecutor(2, thread_name_prefix="captions-call")
        """Where the host is asked what may take it a moment."""

    def start(self) -> None:
        """Begin loading; returns at once."""
        if self.host is None or self._waiting is not None:
            return
        self.host.start()
        if self.speech is not None:
            self.speech.start()
        self._waiting = threading.Thread(target=self._await, name="captions-ready", daemon=True)
        self._waiting.start()

    def _await(self) -> None:
        assert self.host is not None
        try:
            info = self.host.ready()
        except (RuntimeError, TimeoutError) as error:
            log.error("captions did not start: %s", error)
            self._become("failed", str(error), None)
        else:
            self._become("ready", "", info)

    def _become(self, state: DeskState, message: str, info: CaptionInfo | None) -> None:
        with self._lock:
            self.state, self.message, self.info = state, message, info
            watchers = tuple(self._watchers)
        for changed in watchers:
            changed()

    def when_changed(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back, from any thread, at each change of `state`. Returns how to end that."""
        with self._lock:
            self._watchers.append(callback)

        def end() -> None:
            with self._lock:
                if callback in self._watchers:
                    self._watchers.remove(callback)

        return end

    def open(self, config: CaptionConfig, listener: CaptionListener) -> CaptionSession:
        """A viewer's captions.

        Raises:
            CaptionRefused: there are none now, or no more.
        """
        if self.host is None or self.state != "ready":
            raise CaptionRefused(self.message or "the language model is still being loaded")
        return self.host.open(config, listener)

    def ration(self, user: str) -> None:
        """Take one question of a user's ration.

        Raises:
            CaptionRefused: asked too often; says when to ask again.
        """
        now = self.clock.now()
        with self._lock:
            # The one who asked least lately goes: a full ration is what a new one has, too.
            while len(self._rations) >= MOST_ASKERS and user not in self._rations:
                del self._rations[next(iter(self._rations))]
            ration = self._rations.pop(user, None) or Ration(last=now)
            self._rations[user] = ration
            wait = ration.wait(now)
        if wait:
            raise TooOften(wait)

    def describe(self) -> dict[str, Any]:
        """State and model, as plain data."""
        with self._lock:
            info = asdict(self.info) if self.info else None
        if info is not None:
            info["speech"] = self.speech.sentence if self.speech else NO_SPEECH
        return {"state": self.state, "message": self.message, "info": info}

    def stats(self) -> Mapping[str, Any]:
        return self.host.stats() if self.host is not None and self.state == "ready" else {}

    def stop(self) -> None:
        """End the host. Idempotent."""
        if self.host is not None:
            self.host.stop()
        if self.speech is not None:
            self.speech.stop()
        if self._waiting is not None:
            self._waiting.join(5.0)
        self.calls.shutdown(wait=False)


class TooOften(CaptionRefused):
    """More questions than the ration."""

    def __init__(self, wait: float) -> None:
        super().__init__(f"that was too many questions at once; ask again in {wait:.0f} s")
        self.wait = wait
