"""The sessions of an engine: where they come in from any thread, and who is there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from .host import HostRefused
from .session import EngineSession


class Door:
    """Sessions that wait to be let in, at most as many as there are places, and those inside.

    `come` and `everybody` may be called from any thread; the rest from the engine's own.
    """

    def __init__(self, places: int) -> None:
        self._places, self._lock = places, threading.Lock()
        self._waiting: list[EngineSession] = []
        self._inside: dict[str, EngineSession] = {}
        self._came = 0

    def come(self, make: Callable[[int], EngineSession]) -> EngineSession:
        """A new session waits to be let in.

        Args:
            make: makes it, given how many came before and itself.

        Raises:
            HostRefused: all places are taken.
        """
        with self._lock:
            if len(self._inside) + len(self._waiting) >= self._places:
                raise HostRefused(
                    f"all {self._places} places are taken; please try again when somebody left"
                )
            self._came += 1
            session = make(self._came)
            self._waiting.append(session)
        return session

    def let_in(self) -> list[EngineSession]:
        """All who waited; they are inside now."""
        with self._lock:
            arrivals, self._waiting = self._waiting, []
            for session in arrivals:
                self._inside[session.id] = session
        return arrivals

    def leave(self, session: EngineSession) -> bool:
        """Whether the session was inside until now."""
        with self._lock:
            return self._inside.pop(session.id, None) is not None

    def everybody(self) -> list[EngineSession]:
        """Those inside and then those who wait."""
        with self._lock:
            return [*self._inside.values(), *self._waiting]

    def inside(self) -> list[EngineSession]:
        """Those who were let in."""
        with self._lock:
            return list(self._inside.values())

    def __iter__(self) -> Iterator[EngineSession]:
        return iter(self.inside())

    def __contains__(self, session: EngineSession) -> bool:
        return session.id in self._inside
