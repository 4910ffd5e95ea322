"""The sessions of a host, and who may join them. No torch here."""

from __future__ import annotations

import itertools
import threading

from ..clock import Clock
from . import limits
from .host import CaptionConfig, CaptionInfo, CaptionListener, CaptionRefused
from .session import HostedCaptions, Link


class Roster:
    """All sessions of one host, by id.

    Args:
        limit: how many at most.
    """

    def __init__(self, limit: int, clock: Clock) -> None:
        self._limit = limit
        self._clock = clock
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._sessions: dict[str, HostedCaptions] = {}

    def new(
        self, config: CaptionConfig, info: CaptionInfo, listener: CaptionListener, link: Link
    ) -> HostedCaptions:
        """A new session among them.

        Raises:
            CaptionRefused: there are too many, or something in the configuration is impossible.
        """
        if config.memory not in info.policies:
            raise CaptionRefused(
                f"no memory policy is called {config.memory!r}; there are "
                f"{', '.join(info.policies)}"
            )
        limits.wish(config.instruction)
        with self._lock:
            if len(self._sessions) >= self._limit:
                raise CaptionRefused(
                    f"all {self._limit} places for captions are taken; please try again later"
                )
            id = f"c{next(self._ids)}"
            session = HostedCaptions(id, config, info, listener, link, self._clock)
            self._sessions[id] = session
            return session

    def get(self, id: str) -> HostedCaptions | None:
        return self._sessions.get(id)

    def remove(self, id: str) -> None:
        with self._lock:
            self._sessions.pop(id, None)

    def all(self) -> tuple[HostedCaptions, ...]:
        with self._lock:
            return tuple(self._sessions.values())
